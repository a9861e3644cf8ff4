"""Executed notebooks as pages."""

import copy
import hashlib
from base64 import b64encode

import nbformat.v4 as nb
import pytest

pytest.importorskip("myst_nb", reason='needs the site\'s packages: pip install -e ".[site]"')
NAME = "notebooks/03_weight_selection.ipynb"
TITLE = "# Title\n\n[![Open in Colab](https://x.org/badge.svg)](https://colab.research.google.com/y)\n\nText."
WIDGET = nb.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})
PNG = b"not really a picture"


def chapter(*code, injected=None):
    cells = [nb.new_markdown_cell(TITLE), *code]
    if injected:
        cells.append(nb.new_code_cell(injected, metadata={"tags": ["injected-parameters"]}))
    return nb.new_notebook(cells=cells)


def run(source, *outputs, **metadata):
    return nb.new_code_cell(source, outputs=list(outputs), metadata=metadata)


def printed(text="1"):
    return nb.new_output("stream", name="stdout", text=text)


def page(notebook):
    import chapters

    before = copy.deepcopy(notebook)
    made = chapters.page(notebook, NAME)
    assert notebook == before
    return made


def test_a_widget_gives_way_to_a_note_and_other_outputs_stay():
    cells = page(chapter(run("dm.widgets.ema_explorer()", WIDGET, printed("twin")))).cells
    assert [output.get("text") for output in cells[1].outputs] == ["twin"]
    assert "without a kernel" in cells[2].source


def test_a_progress_bar_leaves_nothing_behind():
    cells = page(chapter(run("dm.fit(...)", WIDGET, printed("done")))).cells
    assert len(cells) == 2 and [output.get("text") for output in cells[1].outputs] == ["done"]


def test_the_selection_explorer_is_linked():
    cells = page(chapter(run("dm.widgets.selection_explorer()", WIDGET))).cells
    assert "(../explorer.md)" in cells[2].source


def test_alt_texts_are_found_by_the_picture_s_bytes():
    import chapters

    image = nb.new_output(
        "execute_result", {"image/png": b64encode(PNG).decode()}, metadata={"image/png": {"alt": "words"}}
    )
    assert chapters.alt_texts(chapter(run("x", image))) == {hashlib.sha256(PNG).hexdigest(): "words"}


def test_badges_are_links_without_pictures_and_lead_to_the_files():
    opening = page(chapter(run("1", printed()))).cells[0].source
    assert "badge.svg" not in opening
    assert "[Open in Colab](https://colab.research.google.com/y){.badge}" in opening
    assert f"blob/main/{NAME})" in opening
    assert "blob/main/notebooks/solutions/03_weight_selection.ipynb)" in opening


def test_a_page_says_when_it_is_no_full_run():
    assert "quick check" in page(chapter(run("1", printed()), injected="# Parameters\nsmoke = True")).cells[0].source
    assert "without its results" in page(chapter(run("1"))).cells[0].source
    assert ":::" not in page(chapter(run("1", printed()), injected="# Parameters\nseed = 1")).cells[0].source


def test_the_setup_cell_is_folded():
    cells = page(chapter(run("import x", printed(), tags=["setup"]), run("2", printed(), tags=["exercise"]))).cells
    assert [cell.metadata.get("tags", []) for cell in cells[1:]] == [["hide-input"], []]
