"""Executed notebooks as pages."""

import copy
import hashlib
from base64 import b64encode

import chapters
import nbformat.v4 as nb
import pytest

NAME = "notebooks/03_weight_selection.ipynb"
TITLE = "# Title\n\n[![Open in Colab](https://x.org/badge.svg)](https://colab.research.google.com/y)\n\nText."
WIDGET = nb.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})
PRINTED = nb.new_output("stream", name="stdout", text="printed")


def code(source, *outputs, tags=()):
    return nb.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


def page(*cells):
    """The cells of a chapter's page after its title, and the title's text."""
    notebook = nb.new_notebook(cells=[nb.new_markdown_cell(TITLE), *cells])
    before = copy.deepcopy(notebook)
    first, *others = chapters.page(notebook, NAME).cells
    assert notebook == before
    return others, first.source


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ("dm.widgets.ema_explorer()", "without a kernel"),
        ("dm.widgets.selection_explorer()", "(../explorer.md)"),
        ("dm.fit(...)", None),  # a progress bar leaves nothing behind
    ],
)
def test_a_widget_gives_way_to_a_note_and_other_outputs_stay(source, note):
    (cell, *notes), _ = page(code(source, WIDGET, PRINTED))
    assert [output.text for output in cell.outputs] == ["printed"]
    assert note in notes[0].source if note else not notes


def test_alt_texts_are_found_by_the_picture_s_bytes():
    data = {"image/png": b64encode(b"a picture").decode()}
    image = nb.new_output("execute_result", data, metadata={"image/png": {"alt": "words"}})
    notebook = nb.new_notebook(cells=[code("x", image)])
    assert chapters.alt_texts(notebook) == {hashlib.sha256(b"a picture").hexdigest(): "words"}


def test_badges_are_links_without_pictures_and_the_setup_cell_is_folded():
    cells, opening = page(code("import x", PRINTED, tags=["setup"]), code("2", PRINTED, tags=["exercise"]))
    assert [cell.metadata.get("tags", []) for cell in cells] == [["hide-input"], []]
    assert "badge.svg" not in opening and "[Open in Colab](https://colab.research.google.com/y){.badge}" in opening
    assert f"blob/main/{NAME})" in opening
    assert "blob/main/notebooks/solutions/03_weight_selection.ipynb)" in opening


def test_a_page_says_when_it_is_no_full_run():
    smoke, seed = (code(f"# Parameters\n{text}", tags=["injected-parameters"]) for text in ("smoke = True", "seed = 1"))
    assert "quick check" in page(code("1", PRINTED), smoke)[1]
    assert "without its results" in page(code("1"))[1]
    assert ":::" not in page(code("1", PRINTED), seed)[1]
