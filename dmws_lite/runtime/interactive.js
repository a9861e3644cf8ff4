// Draws a page's plotly figures in place of the pictures before them, which print and screen readers keep.
(() => {
  const style = document.createElement('style');
  style.textContent = `.plotly-place { background: #fff; border-radius: .3rem; overflow: hidden; }
    @media screen { .plotly-twin { position: absolute; width: 1px; height: 1px; clip-path: inset(50%); } }
    @media print { .plotly-place { display: none; } }`;
  document.head.append(style);
  const figures = () => document.querySelectorAll('script[type="application/vnd.plotly.v1+json"]');
  const draw = async () => {
    for (const script of figures()) {
      const { data, layout, frames, config } = JSON.parse(script.textContent);
      const before = [...document.images].filter(
        image => image.compareDocumentPosition(script) & Node.DOCUMENT_POSITION_FOLLOWING);
      const place = document.createElement('div');
      place.className = 'plotly-place';
      place.ariaHidden = 'true';
      before.at(-1).after(place);
      await Plotly.newPlot(place, data, layout, config);
      if (frames) await Plotly.addFrames(place, frames);
      before.at(-1).classList.add('plotly-twin');
    }
    document.documentElement.dataset.plotly = 'drawn';
  };
  if (!figures().length) return;
  if (window.Plotly) return draw();
  const library = document.createElement('script');  // on the site, beside this file
  library.src = new URL('plotly.min.js', document.currentScript.src);
  library.onload = draw;
  document.head.append(library);
})();
