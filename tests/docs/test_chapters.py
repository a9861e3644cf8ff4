"""Executed notebooks as pages."""

import copy

import chapters
import nbformat.v4 as nb

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


def test_a_widget_gives_way_to_a_note_and_other_outputs_stay():
    for source, notes in (("dm.widgets.ema_explorer()", ["without a kernel"]), ("dm.fit(...)", [])):  # a progress bar
        (cell, *others), _ = page(code(source, WIDGET, PRINTED))
        assert [output.text for output in cell.outputs] == ["printed"] and len(others) == len(notes)
        assert all(note in other.source for note, other in zip(notes, others, strict=True))


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
