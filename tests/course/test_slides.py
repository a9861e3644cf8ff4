import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from dmws_lite.course import decks
from dmws_lite.course.slides import opening, slide_cells

LONG = "This sentence opens the section. " + "It goes on with much more to read than a slide can hold. " * 5


def code(source, *tags):
    return new_code_cell(source, metadata={"tags": list(tags)})


def text(source, *tags):
    return new_markdown_cell(source, metadata={"tags": list(tags)})


def deck(*cells):
    """(slide type, source, tags) of each cell."""
    return [
        (cell.metadata.slideshow.slide_type, cell.source, cell.metadata.get("tags", []))
        for cell in slide_cells(list(cells))
    ]


def test_headings_start_slides_and_questions_come_as_a_step():
    found = deck(text(f"## 1. The question\n\n{LONG}\n\n**Predict first:** how many?\n\n### Heads\n\nMore."))
    shown = [(kind, source) for kind, source, _ in found if kind != "notes"]
    assert shown[0] == ("slide", "## 1. The question")
    assert shown[1][0] == "-" and shown[1][1].startswith("This sentence opens the section. It goes on")
    assert shown[2:] == [("fragment", "**Predict first:** how many?"), ("subslide", "### Heads"), ("-", "More.")]
    assert len(shown[1][1]) <= 150
    assert [source for kind, source, _ in found if kind == "notes"] == [LONG.strip()]


def test_pictures_hide_their_code_and_silent_code_is_skipped():
    found = deck(
        code("import x", "setup"),
        code("smoke = False", "parameters"),
        code("import numpy as np\nx = 1"),
        code("figures.save(figures.plan(p), output, 'p')"),
        text("*A caption. With two sentences.* And what it means."),
        code("x + 1"),
        code("\n".join(f"y{n} = {n}" for n in range(20)) + "\ny1"),
        code("dm.widgets.explorer()"),
        code('Path("x").write_text("1")'),
        code("check('00.1', ...)", "exercise"),
        code("check('00.1', 1)", "solution"),
    )
    kinds = [(kind, "remove-input" in tags) for kind, _, tags in found]
    hidden, picture, shown = ("skip", False), ("subslide", True), ("subslide", False)
    assert kinds == [*[hidden] * 3, picture, ("-", False), ("notes", False), shown, picture, *[hidden] * 3]
    assert found[4][1] == "*A caption. With two sentences.*"
    assert all(source != "check('00.1', 1)" for _, source, _ in found)


def test_setup_and_parameters_are_not_shown():
    found = deck(text("## Setup\n\nThe same cell."), code("x", "setup"), text("## Parameters\n\nChange them."))
    assert [kind for kind, _, _ in found] == ["skip"]


def test_answers_hints_and_the_lecturers_cells_are_speaker_notes():
    question = "<details><summary>Quick question: why half?</summary>\n\nBecause 1/2.\n\nReally.\n</details>"
    hint = "**Exercise 1.** Count.\n\n<details><summary>Hint</summary>\nTwice.</details>"
    found = deck(text(question), text("They forget biases.", "instructor"), text(hint))
    assert found == [
        ("subslide", "**Quick question:** why half?", []),
        ("notes", "Answer: Because 1/2.\n\nReally.\n\nThey forget biases.", []),
        ("subslide", "**Exercise 1.** Count.", []),
        ("notes", "Hint: Twice.", []),
    ]


def test_long_listings_and_sources_are_for_the_speaker_and_the_licence_is_shown():
    listing = "```python\n" + "x = 1\n" * 9 + "```"
    found = deck(text(f"## Takeaways\n\n{listing}\n\n**Next:** [why?](01.ipynb)\n\nSources: books. Text: CC BY 4.0."))
    assert [kind for kind, _, _ in found] == ["slide", "-", "notes"]
    assert "CC BY 4.0; code: Apache-2.0." in found[1][1] and "[why?](01.ipynb)" in found[1][1]
    assert found[2][1] == f"{listing}\n\nSources: books. Text: CC BY 4.0."


def test_long_lists_go_on_below_and_long_items_are_cut():
    items = [f"- item {n}. {LONG}" for n in range(7)]
    found = deck(text("## Aims\n\n" + "\n".join(items)))
    assert [kind for kind, _, _ in found] == ["slide", "-", "subslide", "notes"]
    assert found[1][1].count("\n- ") == 4 and found[2][1].startswith("- item 5.") and len(found[1][1]) < 5 * 160
    assert found[3][1] == "\n".join(items).strip()


def test_a_list_stays_with_its_lead_in():
    (_, heading, _), (kind, lead, _), (second, items, _) = deck(text("## Aims\n\nYou will be able to\n\n- a\n- b"))
    assert (heading, lead, items) == ("## Aims", "You will be able to", "- a\n- b") and kind == second == "-"


@pytest.mark.parametrize(
    "text", ["Xu et al. (2024) say so, in full", "The loss is $a. B$ here", "See (this. That) and *so. On* it"]
)
def test_no_cut_within_brackets_formulas_or_abbreviations(text):
    assert opening(text, 5) == text


def test_a_deck_hides_what_is_marked_and_shows_the_rest(tmp_path):
    cells = slide_cells([text("## One"), code("print('kept'); figures.x"), text("**Predict first:** why?")])
    cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text="the output")]
    facts = {"image/png": {"alt": "Three bars."}}
    cells[1].outputs.append(nbformat.v4.new_output("display_data", {"image/png": "aGVs"}, metadata=facts))
    cells.append(code("injected = 1", "injected-parameters"))
    path = tmp_path / "00.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    page = decks.page(path, {"reveal_url_prefix": "scripts/reveal.js"})
    assert 'alt="Three bars."' in page and "No description" not in page
    assert "the output" in page and "figures" not in page and "injected" not in page
    assert 'class="fragment"' in page and "scripts/reveal.js/dist/reveal.js" in page and "max-height" in page


def test_missing_scripts_are_named_with_the_command_that_gets_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lacks reveal.js: npm install reveal.js@4 requirejs jquery mathjax@2"):
        decks.write_deck(tmp_path / "x.ipynb", tmp_path / "out", scripts=tmp_path)
