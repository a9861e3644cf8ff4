"""Explorers and the drop page in JupyterLab: moved with the keyboard, readable in a narrow window, no console error."""

from pathlib import Path

import pytest

pytest.importorskip("jupyterlab")

SCREENSHOTS = Path(__file__).parents[2] / "outputs" / "screenshots"
SETUP = """
import numpy as np
import pandas as pd
import dmws_lite as dm
from dmws_lite.training.fit import Run
from dmws_lite.views.drop_page import drop_page

splits = dm.phantoms("chest_xray", train=24, val=12, test=6, size=32)
rng = np.random.default_rng(0)
names = ("teacher", "main", "auxiliary")
probabilities = {name: rng.dirichlet(np.ones(3), 6) for name in names}
maps = {name: rng.random((6, 4, 4)) for name in names}
masks = np.zeros((6, 32, 32), bool)
masks[:, 8:16, 4:12] = True
rows = [
    {"data": "ct", "fraction": 0.1, "method": name, "label": name, "seed": seed, "accuracy": k / 10 + seed / 50}
    for k, name in enumerate(("default", "single selection", "dual selection + SKD"))
    for seed in range(3)
]
teacher = dm.load_teacher("embedded_vit_96")
students = dm.make_students(teacher, "embedded_vit_48", num_classes=3, image_size=32)
run = Run(students.main, None, name="embedded_vit_48", classes=splits.classes, image_size=32)
"""
CELLS = {
    "selection": "dm.widgets.selection_explorer()",
    "soft_targets": "dm.widgets.soft_target_explorer(classes=splits.classes)",
    "ema": "dm.widgets.ema_explorer()",
    "results": "dm.widgets.results_explorer(pd.DataFrame(rows))",
    "images": "dm.widgets.image_inspector(splits.test, probabilities, maps, masks)",
    "dashboard": """dm.widgets.training_dashboard(
    students, splits, dm.Training(steps=6, batch_size=6, evaluations=3), device="cpu"
)""",
    "drop_page": "drop_page(run.save('student'), splits.test)",
}
MOVES = {"selection": ("students", "ArrowRight"), "results": ("difference to", "ArrowDown")}
MOVES |= {"soft_targets": ("temperature T", "ArrowRight"), "images": ("number", "ArrowRight")}
TOO_WIDE = """output => [...output.querySelectorAll('label, select, button, img, .widget-slider')].filter(
    e => e.scrollWidth > e.clientWidth + 1 && e.tagName === 'LABEL'
        || e.getBoundingClientRect().right > output.getBoundingClientRect().right + 1
).map(e => e.outerHTML.slice(0, 200))"""


@pytest.fixture
def explorers(page, open_notebook):
    """The output of each explorer, by name, all in one notebook."""
    open_notebook([SETUP, *CELLS.values()])
    outputs = page.locator(".jp-Notebook-cell .jp-OutputArea-output")
    outputs.nth(len(CELLS) - 1).wait_for()
    return {name: outputs.nth(k) for k, name in enumerate(CELLS)}


def control(output, label):
    """What has the keyboard of a control: a slider's handle, or a list."""
    box = output.locator(".widget-inline-hbox", has=output.page.get_by_text(label, exact=True))
    return box.locator("[role=slider], select")


def expect(locator):
    """Playwright's `expect`, which waits long enough for a busy machine that trains and draws."""
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)
    return expect(locator)


def photograph(output, name):
    output.scroll_into_view_if_needed()
    output.screenshot(path=SCREENSHOTS / f"explorer_{name}.png")


def test_explorers_answer_the_keyboard_and_fit_a_narrow_window(page, explorers):
    frame = page.frame_locator("iframe[title='Classify an image']")
    frame.locator("#examples button").nth(1).click()
    expect(frame.locator("#said")).to_contain_text("Example 2")
    inside = next(frame for frame in page.frames if frame.parent_frame and frame.query_selector("#examples"))
    assert inside.evaluate("() => { try { return parent.document.title } catch { return 'no access' } }") == "no access"

    blank = "lists => lists.filter(e => !e.multiple && e.options.length && e.selectedIndex < 0).length"
    assert page.locator(".jp-OutputArea-output select").evaluate_all(blank) == 0
    control(explorers["selection"], "tensor").focus()
    page.keyboard.press("Tab")
    expect(control(explorers["selection"], "elements")).to_be_focused()
    for name, (label, key) in MOVES.items():
        picture = explorers[name].locator("img")
        before = picture.get_attribute("src")
        control(explorers[name], label).focus()
        page.keyboard.press(key)
        expect(picture).not_to_have_attribute("src", before)
        photograph(explorers[name], name)

    status, go = explorers["dashboard"].locator("p"), explorers["dashboard"].get_by_role("button")
    expect(status).to_have_text("ready: nothing is trained yet. Press Start")
    go.nth(0).focus()
    page.keyboard.press("Enter")
    expect(status).to_contain_text("ended: step 6 of 6")
    go.nth(2).focus()
    page.keyboard.press("Enter")
    expect(status).to_contain_text("paused: step 4 of 6")
    photograph(explorers["dashboard"], "dashboard")

    page.set_viewport_size({"width": 512, "height": 720})  # a window of 640 pixels at 125 %
    for name, output in explorers.items():
        output.scroll_into_view_if_needed()
        assert output.evaluate(TOO_WIDE) == [], name
        photograph(output, f"{name}_narrow")
