// Shows, inside a plotly figure whose layout.meta has thumbnails, that of the point under the mouse.
// It waits for the mouse, since pages and JupyterLab draw a figure long after this has run.
document.addEventListener('mouseover', ({ target }) => {
  const plot = target.closest('.js-plotly-plot'), { sprite, columns, side } = plot?.layout?.meta?.thumbnails ?? {};
  if (!sprite || plot.beside) return;
  const view = plot.beside = document.createElement('figure');  // under the mouse only: nothing for readers
  view.ariaHidden = 'true';
  view.className = 'thumbnail-beside';
  view.style.cssText = 'position: absolute; right: 8px; top: 92px; margin: 0; font: 12px sans-serif; color: #222; pointer-events: none';
  const tile = view.appendChild(document.createElement('div'));
  tile.style.cssText = `width: ${side}px; height: ${side}px; background-image: url(${sprite}); background-size: ${side * columns}px`;
  const words = view.appendChild(document.createElement('figcaption'));
  plot.on('plotly_hover', ({ points: [{ customdata: [, number] }] }) => {
    tile.style.backgroundPosition = `${-side * (number % columns)}px ${-side * Math.floor(number / columns)}px`;
    words.textContent = `image ${number}`;
    plot.querySelector('.svg-container').append(view);
  });
});
