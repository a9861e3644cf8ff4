"""Every notebook as it is committed: the hand-written sources, and what is made of them."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from course import METADATA, badge, build, time_line

from dmws_lite import __version__
from dmws_lite.course.chapters import read_chapters
from dmws_lite.studies.scales import SCALES

ROOT = Path(__file__).parents[2]
CHAPTERS = read_chapters(ROOT / "notebooks")
FIRST = nbformat.read(ROOT / "notebooks" / "00_quickstart.ipynb", as_version=4).cells
SETUP = next(cell.source for cell in FIRST if cell.cell_type == "code")
FORMS = ["instructor", "", "solutions"]
TAGS = {"setup", "parameters", "exercise", "solution", "instructor"}


def paths(*forms):
    found = [path for form in forms for path in sorted((ROOT / "notebooks" / form).glob("[0-9]*.ipynb"))]
    return [pytest.param(path, id=path.relative_to(ROOT / "notebooks").with_suffix("").as_posix()) for path in found]


every = pytest.mark.parametrize("path", paths(*FORMS))
sources = pytest.mark.parametrize("path", paths("instructor"))


def cells(path, *, kind=None, without=()):
    found = nbformat.read(path, as_version=4).cells
    return [c for c in found if kind in (None, c.cell_type) and not set(without) & set(c.metadata.get("tags", []))]


def tagged(path, tag):
    return [cell for cell in cells(path) if tag in cell.metadata.get("tags", [])]


def text(path):
    return "\n\n".join(cell.source for cell in cells(path, kind="markdown"))


def test_the_map_has_every_source_and_what_is_made_is_in_step():
    assert [path.stem for path in sorted((ROOT / "notebooks" / "instructor").glob("[0-9]*.ipynb"))] == list(CHAPTERS)
    assert {need for chapter in CHAPTERS.values() for need in chapter.needs} <= set(CHAPTERS)
    assert {scale for chapter in CHAPTERS.values() for scale in chapter.scales} == set(SCALES) - {"embedded"}
    out_of_step = [path.relative_to(ROOT).as_posix() for path in build(ROOT / "notebooks", check=True)]
    assert out_of_step == [], "run: make course"


@every
def test_no_outputs_no_widget_state_ids_in_order_and_known_tags(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata == METADATA
    assert [cell.id for cell in notebook.cells] == [f"c{number:03}" for number in range(len(notebook.cells))]
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        assert set(cell.metadata) <= {"tags"} and set(cell.metadata.get("tags", [])) <= TAGS
    assert path.stat().st_size < 150_000


@every
def test_the_setup_cell_and_one_parameters_cell_with_nothing_derived(path):
    first = cells(path, kind="code")[0]
    assert first.source == SETUP and first.metadata.tags == ["setup"] and f"dmws-lite@v{__version__}" in first.source
    (cell,) = tagged(path, "parameters")
    values = {statement.targets[0].id: ast.literal_eval(statement.value) for statement in ast.parse(cell.source).body}
    assert values["smoke"] is False and isinstance(values["output"], str)


@every
def test_badge_title_aims_and_time(path):
    first, chapter = cells(path)[0].source, CHAPTERS[path.stem]
    assert [line for line in first.splitlines() if "colab" in line] == [badge(path.relative_to(ROOT).as_posix())]
    assert re.match(rf"# .+: {re.escape(chapter.question)}$", first, re.MULTILINE | re.IGNORECASE), "the map's question"
    assert re.search(r"After this chapter you will be able to\n\n- ", first) and time_line(chapter) in first


@every
def test_alt_texts_links_the_next_chapter_and_the_licence(path):
    words = text(path)
    assert all(alt.strip() for alt in re.findall(r"!\[(.*?)\]\(", words))
    assert all(re.search(r'alt="[^"]+"', tag) for tag in re.findall(r"<img[^>]*>", words))
    links = re.findall(r"\]\((?!https?:|#|mailto:|<)([^)#\s]+)", words)
    assert [link for link in links if not (path.parent / link).exists()] == []
    following = list(CHAPTERS)[list(CHAPTERS).index(path.stem) + 1 :][:1]
    assert re.findall(r"\*\*Next:\*\* \[.+?\?\]\((\w+)\.ipynb\)", words) == following
    assert all(part in words for part in ("Text: CC BY 4.0; code: Apache-2.0.", "Sources: ", "## Takeaways"))


@sources
def test_exercises_and_questions_are_complete_and_the_code_is_short(path):
    """Statement and hint, the stub, the solution with the same check, and the explanation: three to five times."""
    found = cells(path)
    stubs = [number for number, cell in enumerate(found) if "exercise" in cell.metadata.get("tags", [])]
    assert 3 <= len(stubs) <= 5
    for exercise, number in enumerate(stubs, 1):
        statement, stub, solution, explanation = found[number - 1 : number + 3]
        assert f"**Exercise {exercise}.**" in statement.source and "<summary>Hint</summary>" in statement.source
        assert stub.cell_type == solution.cell_type == "code" and explanation.cell_type == "markdown"
        assert "..." in stub.source and solution.metadata.tags == explanation.metadata.tags == ["solution"]
        checks = [re.search(r"^check\(.*", cell.source, re.MULTILINE | re.DOTALL)[0] for cell in (stub, solution)]
        assert checks[0] == checks[1] and f'"{path.stem[:2]}.{exercise}"' in checks[0]
    assert text(path).count("**Predict first:**") >= 3 and 2 <= len(tagged(path, "instructor")) <= 5
    assert len(re.findall(r"<summary>Quick question: .+?</summary>\n\n.+?</details>", text(path), re.DOTALL)) >= 2
    code = cells(path, kind="code", without=("setup", "solution"))
    assert sum(len([line for line in cell.source.splitlines() if line.strip()]) for cell in code) <= 150
