"""Figures to explore in the HTML page of a run, without a network: drawn, hovered, moved; wide and narrow, dark too."""

import io

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import dmws_lite as dm
from dmws_lite.data.phantoms import write_volume
from dmws_lite.runtime.notebooks import write_html

BADGE = "[![Open in Colab](https://example.org/badge.svg)](https://example.org/notebook)"
PAIR = ("embedded_vit_96", "embedded_vit_48")
HOVERS = {  # what is pointed at, and a part of what is then told
    "elements": (".nsewdrag", "goes to: "),
    "coverage": (".trace.treemap .slice >> nth=40", "elements"),
    "flow": (".sankey-link >> nth=1", "2 tensors, 9,264 elements copied"),
    "costs": (".scatterlayer .point >> nth=4", "learning_rate 0.001"),
    "features": (".scatterlayer .point >> nth=4", "says: "),
    "ridge": (".scatterlayer .point >> nth=0", "error=0.002"),
    "slices": (".nsewdrag", "row "),
}
SLIDERS = {
    "elements": "blocks.0.mlp.fc1.weight",
    "features": "training step: 0",
    "ridge": "fitted on 8 images",
    "slices": "slice (of 15): 1",
}

FEATURES = """
import numpy as np
import pandas as pd
import dmws_lite as dm
from dmws_lite.data.sets import ImageSet

rng = np.random.default_rng(0)
points = [
    {"network": network, "step": step, "image": i, "x": rng.normal(), "y": rng.normal(), "file": f"{i}.png"}
    | {"class": "ab"[i % 2], "answer": "ab"[i // 2 % 2]}
    for network, step in (("teacher", np.nan), ("main", 0), ("main", 50))
    for i in range(20)
]
gray = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None] * 12, (20, 1, 8, 8))  # told apart by gray
images = ImageSet(gray, np.arange(20) % 2, ("a", "b"), tuple(f"{i}.png" for i in range(20)))
"""


def explored(folder):
    plans = {name: dm.complementary_plans(*PAIR, elements=name) for name in ("uniform", "consecutive")}
    rng = np.random.default_rng(0)
    runs = [
        {"key": f"{name}{seed}", "method": name, "label": f"{name} weights", "seed": seed, "accuracy": rng.random()}
        | {"seconds": 9 + rng.random(), "flops_per_step": 4e9, "settings": "learning_rate 0.001", "data": "a"}
        | {"ece": np.nan if seed else 0.1}
        for name in ("random", "selected")
        for seed in range(3)
    ]
    made = {}
    exec(FEATURES, made)
    fits = [{"images": n, "ridge": r, "fitted": n * r, "others": 1 / n} for n in (2, 8) for r in (1e-3, 1.0)]
    return {
        "elements": dm.explore_elements(plans, ["blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight", "norm.bias"]),
        "coverage": dm.explore_coverage(plans["uniform"]),
        "flow": dm.explore_flow({rule: dm.plan(*PAIR, layers=rule) for rule in ("first", "last")}),
        "costs": dm.explore_costs(pd.DataFrame(runs)),
        "runs": dm.explore_runs(pd.DataFrame(runs)),
        "features": dm.explore_features(pd.DataFrame(made["points"]), made["images"]),
        "ridge": dm.explore_ridge(pd.DataFrame(fits), 0.9),
        "slices": dm.explore_slices(write_volume(folder / "volume.tiff")),
    }


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    cells = [new_markdown_cell(f"# Title\n\n{BADGE}\n\n$$\\frac{{a}}{{2}}$$")]
    for name, figure in explored(folder).items():
        outputs = [new_output("display_data", data, metadata=facts) for data, facts in figure.bundles()]
        cells.append(new_code_cell(name, outputs=outputs))
    nbformat.write(new_notebook(cells=cells), folder / "page.ipynb")
    return write_html(folder / "page.ipynb")


def image_beside(page):
    """The number of the image beside a figure, by its words and by its gray."""
    view = page.locator(".thumbnail-beside")
    number = round(np.median(np.asarray(Image.open(io.BytesIO(view.locator("div").screenshot())).convert("L"))) / 12)
    assert view.get_by_text(f"image {number}", exact=True).is_visible()
    return number


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (640, "dark")])
def test_figures_are_drawn_hovered_and_moved_without_a_network(page, html, screenshot, width, scheme):
    asked = []
    page.route("http**", lambda route: (asked.append(route.request.url), route.fulfill(body="")))
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(html.as_uri(), timeout=120_000)  # five megabytes of script on a busy machine
    page.wait_for_selector("html[data-plotly=drawn]", state="attached", timeout=60_000)
    assert not asked and page.locator("mfrac").is_visible()
    assert html.read_text().count("plotly.js v") == 1
    places = page.locator(".plotly-place")
    assert places.count() == page.locator("img.plotly-twin[alt]").count() == len(HOVERS) + 1
    for number, (name, (target, told)) in enumerate(HOVERS.items()):
        place = places.nth(number + (number > 3))  # parallel coordinates have no hover
        place.scroll_into_view_if_needed()
        box = place.locator(target).first.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.51, box["y"] + box["height"] * 0.51)
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
        place.locator(".hoverlayer text, .hoverlayer .hovertext").first.wait_for(timeout=5_000)
        assert told in place.locator(".hoverlayer").text_content().replace("\xa0", " "), name
        if name in SLIDERS:
            rail = place.locator(".slider-rail-touch-rect").bounding_box()
            share = {"elements": 0.5, "ridge": 1.0}.get(name, 0.0)
            page.mouse.click(rail["x"] + 8 + share * (rail["width"] - 16), rail["y"] + rail["height"] / 2)
            place.get_by_text(SLIDERS[name]).first.wait_for(timeout=5_000)
        assert place.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), name
        screenshot(f"explored_{name}_{width}")
    assert page.locator(".thumbnail-beside").count() == 1 and image_beside(page) == 8
    assert "mlp/0" in places.nth(0).text_content()
    places.nth(4).scroll_into_view_if_needed()
    assert places.nth(4).locator(".parcoords .axis-title").count() == 5
    screenshot(f"explored_runs_{width}")
    page.emulate_media(media="print")
    assert not places.nth(0).is_visible() and page.locator("img.plotly-twin").first.is_visible()


def test_jupyterlab_draws_them_when_the_mouse_comes_and_shows_the_image_of_a_point(page, open_notebook, screenshot):
    open_notebook([FEATURES, "dm.explore_features(pd.DataFrame(points), images)"])
    page.locator(".jp-RenderedPlotly img").dispatch_event("mouseenter", timeout=60_000)
    page.locator(".jp-RenderedPlotly .scatterlayer .point >> nth=4").hover(timeout=60_000, force=True)
    page.locator(".thumbnail-beside").wait_for(timeout=10_000)
    assert image_beside(page) == 8 and page.locator(".jp-RenderedPlotly img:visible").count() == 0
    screenshot("explored_features_lab")
