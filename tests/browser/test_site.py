"""The site in Chromium: on a desk and on a phone, light and dark, without a network; and the selection explorer."""

import numpy as np
import pytest

from dmws_lite.method.selection import complementary_plans

pytestmark = pytest.mark.site
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
    words = explorer.locator("#selection-explorer svg[role=img]").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert len(words) == 3 and all(len(text) > 40 for text in words)
    assert explorer.evaluate("[...document.querySelectorAll('#selection-explorer [name]')].every(e => e.labels.length)")
    name = "blocks.3.attn.qkv.weight"
    choose(explorer, pair="embedded ViT, 96 → 48", strategy="heads", layers="last", students="3", tensor=name)
    plans = complementary_plans("embedded_vit_96", "embedded_vit_48", 3, "heads", "last")
    used = np.zeros((288, 96), bool)
    for plan in plans:
        used[np.ix_(*next(a for a in plan.assignments if a.teacher == name).indices)] = True
    cells = " ".join(explorer.locator(".explorer-table").first.inner_text().split())
    share = plans[0].coverage().tensors[name]
    assert f"main {100 * share:.2f} % {round(share * used.size):,} of {used.size:,}" in cells
    assert f"together {100 * used.mean():.2f} % {used.sum():,} of {used.size:,}" in cells
    assert "2, 3, 4, 5" in explorer.locator(".explorer-layers").inner_text()


def test_keys_are_enough(explorer):
    reached, before = [], summary(explorer)
    while "Index sets" not in reached and len(reached) < 60:
        explorer.keyboard.press("Tab")
        reached.append(explorer.evaluate("document.activeElement.name || document.activeElement.ariaLabel"))
        if reached[-1] == "students":
            explorer.keyboard.press("ArrowDown")
    assert [name for name in reached if name in CONTROLS] == CONTROLS
    assert summary(explorer) != before and "auxiliary 2" in summary(explorer)
    assert explorer.locator(".explorer-summary").get_attribute("aria-live") == "polite"


def test_a_refused_phase_says_why_and_another_choice_brings_back_the_map_of_who_receives_what(explorer):
    choose(explorer, students="1", phase="3")
    assert "Not possible" in summary(explorer) and "2 disjoint subset" in summary(explorer)
    assert not explorer.locator(".explorer-view").is_visible()
    choose(explorer, phase="1")
    assert explorer.locator(".explorer-view").is_visible()
    # the cells that are drawn, read back from the paths, are the plans' elements
    choose(explorer, pair="embedded ViT, 96 → 48", tensor="blocks.0.mlp.fc1.weight", students="2")
    for number, plan in enumerate(complementary_plans("embedded_vit_96", "embedded_vit_48"), 1):
        path = explorer.locator(f".explorer-map .role-{number}").get_attribute("d")
        cells = {tuple(int(float(x)) for x in part.split("h")[0].split()) for part in path.split("M")[1:]}
        a = next(a for a in plan.assignments if a.teacher == "blocks.0.mlp.fc1.weight")
        rows, columns = ([int(i) for i in index if i < 24] for index in a.indices)
        assert cells == {(column, row) for row in rows for column in columns}


def test_no_page_is_wider_than_a_phone_or_leaves_the_machine(offline, site, serve, screenshot):
    address = serve(site.folder)
    offline.set_viewport_size({"width": 375, "height": 900})
    wide = []
    for path in sorted(site.folder.rglob("*.html")):
        name = path.relative_to(site.folder).as_posix()
        offline.goto(f"{address}/{name}")
        width, screen = offline.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        wide += [f"{name}: {width} > {screen}"] if width > screen else []
    assert wide == []
    screenshot("site_phone")


def test_the_explorer_opened_as_a_file_works(offline, site):
    offline.unroute_all()
    offline.goto((site.folder / "explorer.html").as_uri())
    assert summary(offline).startswith("Of the teacher: main 25.50 %")
