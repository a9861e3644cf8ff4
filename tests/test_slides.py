"""The script that makes slides of executed chapters."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from slides import page, slides

PICTURE = new_output("display_data", {"image/png": "aGVs"}, metadata={"image/png": {"alt": "Three bars."}})
WIDGET = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "a slider"})
STDOUT, STDERR = (new_output("stream", name=name, text="the output") for name in ("stdout", "stderr"))


def text(source, *tags):
    return new_markdown_cell(source, metadata={"tags": list(tags)})


def code(source, *outputs, tags=()):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("# One: two?\n\n[![Open in Colab](x)](y)\n\n**Time:** long", ["slide", "skip", "skip"]),
        ("A short line.\n\n" + "A long one. " * 20, ["-", "notes"]),
        ("**Predict first:** why?\n\n$$\na\n\nb\n$$\n\n| a |", ["fragment", "-", "-"]),
        ("**Exercise 1.** How?\n\n<details><summary>Hint</summary>\n\nTwice.\n\n</details>", ["subslide", "notes"]),
        ("<details><summary>Quick question: why?</summary>\n\nSo.\n</details>", ["subslide", "notes"]),
        ("## Setup\n\nThe same cell.", []),
    ],
)
def test_how_a_paragraph_begins_makes_its_slide(source, expected):
    deck = slides(new_notebook(cells=[text(source)]))
    assert [cell.metadata.slideshow.slide_type for cell in deck.cells] == expected


def test_a_deck_shows_pictures_with_alt_texts_and_hides_long_code_and_what_needs_a_kernel():
    cells = [text("## One"), code("figures.bars()", STDOUT, PICTURE), code("short_code()", PICTURE)]
    hidden = [code(tag, PICTURE, tags=[tag]) for tag in ("setup", "parameters", "exercise", "solution")]
    cells += [*hidden, code("x = 1"), code("widgets.z", WIDGET), code("w", STDERR), text("They forget.", "instructor")]
    kinds = [cell.metadata.slideshow.slide_type for cell in slides(new_notebook(cells=cells)).cells]
    assert kinds == ["slide", "subslide", "subslide", "skip", "skip", "skip", "notes"]
    shown = page(new_notebook(cells=cells), {"reveal_url_prefix": "scripts/reveal.js"})
    assert 'alt="Three bars."' in shown and "No description" not in shown
    assert "the output" in shown and "figures" not in shown and "short_code" in shown
    assert "scripts/reveal.js/dist/reveal.js" in shown and "max-height" in shown
