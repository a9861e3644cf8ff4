"""The build, on a small course of one chapter."""

import json
import re

import course as builder
import nbformat
import pytest
from course import badge, map_table, time_line
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dmws_lite import __version__
from dmws_lite.course.chapters import Chapter, duration, read_chapters
from dmws_lite.studies.scales import SCALES

TITLE = """# Small: is it?

[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://elsewhere/x.ipynb)

A reason.

**Time:** a guess,
on two lines.

More."""
SETUP = '"git+https://github.com/dmws-lite/dmws-lite@v0.0.1"\nimport dmws_lite as dm\n\ndm.announce()'
README = "# Course\n\n<!-- map, made by make course -->\nold\n<!-- end of map -->\n\nBy hand.\n"
COURSE = """
00_small:
  question: Is it small?
  seconds: {cpu: 61, smoke: 12}
01_next:
  question: What comes next?
  needs: [00_small]
"""


def tagged(make):
    return lambda source, *tags: make(source, metadata={"tags": list(tags)} if tags else {})


code, text = tagged(new_code_cell), tagged(new_markdown_cell)


@pytest.fixture
def course(tmp_path):
    cells = [
        text(TITLE),
        text("## Setup\n\nThe same cell."),
        code(SETUP),
        code("smoke = False", "parameters"),
        text("[a card](../../data_cards/template.md), [map](../README.md), [next](01_next.ipynb)"),
        text("Tell them.", "instructor"),
        text("## Exercises\n\n**Exercise 1.** How many?"),
        code('check("00.1", ...)', "exercise"),
        code('check("00.1", 3)', "solution"),
        text("Because.", "solution"),
        text("## Takeaways"),
    ]
    (tmp_path / "instructor").mkdir()
    nbformat.write(new_notebook(cells=cells), tmp_path / "instructor" / "00_small.ipynb")
    (tmp_path / "course.yaml").write_text(COURSE)
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def cells(course, form=""):
    return nbformat.read(course / form / "00_small.ipynb", as_version=4).cells


def test_a_built_course_is_in_step_and_a_change_is_found(course, monkeypatch, capsys):
    monkeypatch.setattr(builder, "FOLDER", course)
    monkeypatch.setattr(builder.build, "__defaults__", (course, False))
    assert builder.main(["--check"]) == 1 and f"out of step: {course.name}/README.md" in capsys.readouterr().out
    made = {path.relative_to(course).as_posix() for path in builder.build(course)}
    forms = {f"{form}00_small.ipynb" for form in ("", "instructor/", "solutions/")}
    assert made == forms | {"README.md"}
    assert builder.build(course, check=True) == builder.build(course) == [] and builder.main(["--check"]) == 0
    path = course / "00_small.ipynb"
    path.write_text(path.read_text().replace("How many?", "How few?"))
    before = path.read_bytes()
    assert builder.build(course, check=True) == [path] and path.read_bytes() == before
    assert builder.build(course) == [path] and "How many?" in path.read_text()


STUB, SOLUTION, DEEP = (
    'check("00.1", ...)',
    'check("00.1", 3)',
    "[a card](../../data_cards/template.md), [map](../README.md)",
)


@pytest.mark.parametrize(
    ("form", "present", "absent"),
    [
        ("", [STUB, "[solutions](solutions/00_small.ipynb)", "](../data_cards/"], [SOLUTION, "Because.", "Tell them."]),
        ("solutions", [SOLUTION, "Because.", "[without them](../00_small.ipynb)", DEEP], [STUB, "Tell them."]),
        ("instructor", [STUB, SOLUTION, "Because.", "Tell them.", DEEP], ["without them", "[solutions]"]),
    ],
)
def test_a_form_has_its_cells_and_links_the_setup_its_own_badge_and_ids_in_order(course, form, present, absent):
    before = cells(course, "instructor")
    builder.build(course)
    made = cells(course, form)
    shown = "\n\n".join(cell.source for cell in made)
    assert all(part in shown for part in present) and not any(part in shown for part in absent)
    setup = next(cell for cell in made if cell.cell_type == "code")
    assert setup.source == SETUP.replace("0.0.1", __version__) and setup.metadata.tags == ["setup"]
    assert [cell.id for cell in made] == [f"c{n:03}" for n in range(len(made))]
    first = made[0].source
    assert first.count("[![Open in Colab]") == 1
    assert badge(f"notebooks/{form}/00_small.ipynb".replace("//", "/")) in first
    assert "**Time:** 2 minutes on one CPU core, 15 seconds with `smoke`." in first
    assert "guess" not in first and first.endswith("\n\nMore.")
    written = (course / form / "00_small.ipynb").read_text()
    assert written == json.dumps(json.loads(written), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if form == "instructor":  # what is written by hand stays
        assert [(cell.source, cell.metadata) for cell in before[3:]] == [(c.source, c.metadata) for c in made[3:]]


def test_a_course_without_sources_is_refused(course):
    builder.build(course)
    (course / "instructor" / "00_small.ipynb").unlink()
    for check in (True, False):
        with pytest.raises(ValueError, match="instructor holds no notebook"):
            builder.build(course, check)
    assert (course / "00_small.ipynb").exists()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("# Small: is it?", "Small", "00_small.ipynb lacks a first cell with the title"),
        ("[![Open in Colab]", "[Colab]", "00_small.ipynb lacks the badge's line"),
        ("**Time:**", "Time:", "lacks a line"),
        ("dm.announce()", "dm", "lacks a setup cell"),
        ("00_small:", "00_other:", "00_small.ipynb is not in course.yaml"),
    ],
)
def test_an_incomplete_course_is_named(course, before, after, message):
    for path in (course / "instructor" / "00_small.ipynb", course / "course.yaml"):
        path.write_text(path.read_text().replace(before, after).replace("[00_small]", "[]"))
    with pytest.raises(ValueError, match=re.escape(message)):
        builder.build(course)


def test_the_map_is_written_between_its_marks(course):
    builder.build(course)
    readme = (course / "README.md").read_text()
    assert readme.startswith("# Course") and readme.endswith("By hand.\n") and "old" not in readme
    row = "| [00_small](00_small.ipynb) | Is it small? | 2 minutes | 15 seconds | – | – |"
    assert row in readme and "| – | – | – | 00 | [![Open in Colab]" in readme
    assert map_table(read_chapters(course)) in readme
    (course / "README.md").write_text("# Course\n")
    with pytest.raises(ValueError, match="README.md lacks the two marks"):
        builder.build(course)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("00_small: {question: Is it small}", "course.yaml: 00_small.question"),
        ("00_small: {needs: []}", "course.yaml: 00_small.question is missing: add it"),
        ("00_small: {question: 'Is it small?', seconds: {cpu: -1}}", "course.yaml: 00_small.seconds.cpu"),
        ("00_small: {question: 'Is it small?', minutes: 3}", "course.yaml: 00_small has an unknown key 'minutes'"),
        ("00_small: {question: 'Is it small?', needs: [09_x]}", "course.yaml: 00_small.needs: no chapter '09_x'"),
        ("00_small: {question: Is it?, [", "course.yaml: while parsing"),
        ("- 3", "course.yaml:  is [3]"),
    ],
)
def test_errors_in_the_map_name_the_field(course, line, message):
    (course / "course.yaml").write_text(line)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_chapters(course)


def test_durations_are_rounded_up():
    assert [duration(s) for s in (1, 5, 55, 56, 60, 61, 119.9)] == [
        *("5 seconds", "5 seconds", "55 seconds", "1 minute", "1 minute", "2 minutes", "2 minutes")
    ]
    chapter = Chapter(question="Is it small?")
    assert time_line(chapter) == "**Time:** not measured yet. No GPU and no download is needed."


def test_times_of_scales_stand_in_the_chapter_and_on_the_map():
    chapter = Chapter(question="Is it small?", scales={"imagenet": {"cpu": 900}, "reference": {}})
    assert time_line(chapter).endswith(
        "the other scales: `imagenet` 15 minutes on one CPU core; `reference` not measured yet."
    )
    first, _, row, other = map_table({"00_small": chapter, "01_next": Chapter(question="What is next?")}).splitlines()
    assert "| `imagenet`, CPU | `imagenet`, GPU | `reference`, CPU | `reference`, GPU |" in first
    assert "| 15 minutes | – | – | – |" in row and row.count("|") == other.count("|") == first.count("|")


def test_the_courses_scales_are_those_of_the_package():
    assert {scale for chapter in read_chapters().values() for scale in chapter.scales} == set(SCALES) - {"embedded"}
