"""The site in Chromium: on a desk and on a phone, light and dark, without a network; and the selection explorer."""

import itertools

import numpy as np
import pytest

from dmws_lite.method.selection import complementary_plans

WIDTHS = {"desk": 1280, "phone": 375}
CONTROLS = ["pair", "strategy", "students", "layers", "tensor", "window", "Index sets"]


@pytest.fixture
def offline(page):
    """The page, which notes every request that leaves this machine and lets none through."""
    page.left = []

    def stop(route):
        page.left.append(route.request.url)
        route.abort()

    page.route(lambda url: not url.startswith(("http://127.0.0.1", "data:", "blob:")), stop)
    yield page
    assert page.left == []


# --- the explorer's page ---------------------------------------------------------------------------------------------


@pytest.fixture
def explorer(offline, site, serve):
    offline.goto(f"{serve(site.folder)}/explorer.html")
    return offline


def choose(page, **choices):
    for name, value in choices.items():
        page.locator(f"#selection-explorer [name={name}]").select_option(value)


def summary(page):
    return page.locator(".explorer-summary").inner_text()


def test_the_explorer_says_what_the_package_says(explorer):
    main, auxiliary = complementary_plans("vit_small_patch16_224", "vit_tiny_patch16_224")
    assert f"main {100 * main.coverage().total:.2f} %" in summary(explorer)
    assert f"(overlap) {100 * main.overlap(auxiliary).total:.2f} %" in summary(explorer)
    choose(explorer, pair="embedded ViT, 96 → 48", strategy="heads", layers="last", tensor="blocks.3.attn.qkv.weight")
    plans = complementary_plans("embedded_vit_96", "embedded_vit_48", elements="heads", layers="last")
    cells = explorer.locator(".explorer-table").first.inner_text()
    share = plans[0].coverage().tensors["blocks.3.attn.qkv.weight"]
    assert f"{100 * share:.2f} % {round(share * 288 * 96):,} of {288 * 96:,}" in " ".join(cells.split())
    assert "2, 3, 4, 5" in explorer.locator(".explorer-layers").inner_text()


def test_keys_are_enough(explorer):
    reached, before = [], summary(explorer)
    for _ in range(60):
        explorer.keyboard.press("Tab")
        reached.append(explorer.evaluate("document.activeElement.name || document.activeElement.ariaLabel"))
        if reached[-1] == "students":
            explorer.keyboard.press("ArrowDown")
        if reached[-1] == "Index sets":
            break
    assert [name for name in reached if name in CONTROLS] == CONTROLS
    assert summary(explorer) != before and "auxiliary 2" in summary(explorer)
    assert explorer.locator(".explorer-summary").get_attribute("aria-live") == "polite"


def test_a_refused_phase_says_why_and_another_choice_brings_the_pictures_back(explorer):
    choose(explorer, students="1", phase="3")
    assert "Not possible" in summary(explorer) and "2 disjoint subsets" in summary(explorer)
    assert not explorer.locator(".explorer-view").is_visible()
    choose(explorer, phase="1")
    assert explorer.locator(".explorer-view").is_visible()


def test_every_control_has_a_label_and_every_picture_words(explorer):
    assert explorer.evaluate("[...document.querySelectorAll('#selection-explorer [name]')].every(e => e.labels.length)")
    words = explorer.locator("#selection-explorer svg[role=img]").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert len(words) == 3 and all(len(text) > 40 for text in words)


def test_a_choice_is_answered_at_once(explorer):
    times = []
    for students, strategy in itertools.product("1234", ("uniform", "consecutive", "heads", "random")):
        choose(explorer, students=students, strategy=strategy)
        times.append(float(explorer.evaluate("document.getElementById('selection-explorer').dataset.milliseconds")))
    assert np.median(times) < 50, times


def test_the_map_shows_who_receives_what(explorer):
    """The cells that are drawn, read back from the paths, are the plans' elements."""
    choose(explorer, pair="embedded ViT, 96 → 48", tensor="blocks.0.mlp.fc1.weight", students="2")
    for number, plan in enumerate(complementary_plans("embedded_vit_96", "embedded_vit_48"), 1):
        path = explorer.locator(f".explorer-map .role-{number}").get_attribute("d")
        drawn = {tuple(int(float(x)) for x in part.split("h")[0].split()) for part in path.split("M")[1:]}
        a = next(a for a in plan.assignments if a.teacher == "blocks.0.mlp.fc1.weight")
        rows, columns = ([int(i) for i in index if i < 24] for index in a.indices)
        assert drawn == {(column, row) for row in rows for column in columns}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", WIDTHS)
def test_the_explorer_fits(explorer, screenshot, device, scheme):
    explorer.set_viewport_size({"width": WIDTHS[device], "height": 900})
    explorer.emulate_media(color_scheme=scheme)
    choose(explorer, pair="ViT-B → ViT-T (768 → 192 channels)", students="4", strategy="random")
    assert explorer.evaluate("document.documentElement.scrollWidth <= innerWidth")
    screenshot(f"site_explorer_{device}_{scheme}", full_page=True)


# --- all pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", WIDTHS)
def test_no_page_is_wider_than_the_screen_or_leaves_the_machine(offline, site, serve, device):
    address = serve(site.folder)
    offline.set_viewport_size({"width": WIDTHS[device], "height": 900})
    wide = []
    for path in sorted(site.folder.rglob("*.html")):
        name = path.relative_to(site.folder).as_posix()
        offline.goto(f"{address}/{name}")
        width, screen = offline.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        if width > screen:
            wide.append(f"{name}: {width} > {screen}")
    assert wide == []


def test_the_dark_mode_is_a_click_away(offline, site, serve):
    offline.emulate_media(color_scheme="light")
    offline.goto(f"{serve(site.folder)}/index.html")
    colour = "getComputedStyle(document.body).backgroundColor"
    seen = [offline.evaluate(colour)]
    for _ in range(3):
        offline.locator(".theme-toggle:visible").first.click()
        seen.append(offline.evaluate(colour))
    assert "rgb(255, 255, 255)" in seen and len(set(seen)) == 2


def test_the_search_works_without_a_network(offline, site, serve, screenshot):
    offline.goto(f"{serve(site.folder)}/index.html")
    offline.locator("input[name=q]:visible").fill("complementary")
    offline.keyboard.press("Enter")
    offline.wait_for_selector("#search-results li a")
    offline.wait_for_function("document.querySelector('#search-results .search-summary, #search-results p')")
    found = offline.locator("#search-results li a").all_inner_texts()
    assert len(found) > 3 and any("complementary_plans" in text for text in found)
    screenshot("site_search")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("index", "index.html"),
        ("chapter", "notebooks/03_weight_selection.html"),
        ("formula", "notebooks/07_study.html"),
        ("card", "data_cards/phantom_chest_xray.html"),
        ("results", "benchmarks/studies/parts.html"),
        ("reference", "reference/method.html"),
    ],
)
def test_screenshots(offline, site, serve, screenshot, name, path):
    address = serve(site.folder)
    for (device, width), scheme in zip(WIDTHS.items(), ("light", "dark"), strict=True):
        offline.set_viewport_size({"width": width, "height": 900})
        offline.emulate_media(color_scheme=scheme)
        offline.goto(f"{address}/{path}")
        screenshot(f"site_{name}_{device}")


def test_pages_opened_as_files_work(offline, site):
    offline.unroute_all()
    offline.goto((site.folder / "explorer.html").as_uri())
    assert summary(offline).startswith("Of the teacher: main 25.50 %")
