"""The script that makes slides of executed chapters."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from slides import page, slides

PICTURE = new_output("display_data", {"image/png": "aGVs"}, metadata={"image/png": {"alt": "Three bars."}})
WIDGET = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "a slider"})


def text(source, *tags):
    return new_markdown_cell(source, metadata={"tags": list(tags)})


def code(source, *outputs, tags=()):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


def kinds(*cells):
    deck = slides(new_notebook(cells=list(cells)))
    return [(cell.metadata.slideshow.slide_type, cell.source.split("\n")[0]) for cell in deck.cells]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("# One: two?\n\n[![Open in Colab](x)](y)\n\n**Time:** long", ["slide", "skip", "skip"]),
        ("## Aims\n\nYou will be able to\n\n- a\n- b", ["slide", "-", "-"]),
        ("A short line.\n\n" + "A long one. " * 20, ["-", "notes"]),
        ("**Predict first:** why?\n\n$$\na\n\nb\n$$\n\n| a |", ["fragment", "-", "-"]),
        ("**Exercise 1.** How?\n\n<details><summary>Hint</summary>\n\nTwice.\n\n</details>", ["subslide", "notes"]),
        ("<details><summary>Quick question: why?</summary>\n\nSo.\n</details>", ["subslide", "notes"]),
        ("**Next:** [why?](01.ipynb)\n\nSources: books.", ["-", "notes"]),
        ("## Setup\n\nThe same cell.", []),
    ],
)
def test_how_a_paragraph_begins_makes_its_slide(source, expected):
    assert [kind for kind, _ in kinds(text(source))] == expected


def test_what_a_cell_shows_makes_a_slide_and_the_rest_runs_unseen():
    stderr = new_output("stream", name="stderr", text="a warning")
    cells = [code("x = 1"), code("figures.y", PICTURE), code("widgets.z", WIDGET), code("w", stderr)]
    hidden = [code(tag, PICTURE, tags=[tag]) for tag in ("setup", "parameters", "exercise", "solution")]
    assert kinds(*cells, *hidden) == [
        ("skip", "x = 1"),
        ("subslide", "figures.y"),
        ("skip", "widgets.z"),
        ("skip", "w"),
    ]
    assert kinds(text("They forget biases.", "instructor")) == [("notes", "They forget biases.")]


def test_a_deck_shows_pictures_with_alt_texts_and_hides_long_code():
    stdout = new_output("stream", name="stdout", text="the output")
    cells = [text("## One"), code("figures.bars()", stdout, PICTURE), code("short_code()", PICTURE)]
    deck = page(
        new_notebook(cells=[*cells, text("**Predict first:** why?")]), {"reveal_url_prefix": "scripts/reveal.js"}
    )
    assert 'alt="Three bars."' in deck and "No description" not in deck
    assert "the output" in deck and "figures" not in deck and "short_code" in deck
    assert 'class="fragment"' in deck and "scripts/reveal.js/dist/reveal.js" in deck and "max-height" in deck
