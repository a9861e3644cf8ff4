"""The build of the course, on a small one of one chapter; tests/notebooks has the real one."""

import course as builder
import nbformat
import pytest
from course import METADATA, map_table
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dmws_lite import __version__
from dmws_lite.course.chapters import read_chapters

TITLE = """# Small: is it?

[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://elsewhere/x.ipynb)

**Time:** a guess,
on two lines.

More."""
SETUP = '"git+https://github.com/dmws-lite/dmws-lite@v0.0.1"\nimport dmws_lite as dm\n\ndm.announce()'
README = "# Course\n\n<!-- map, made by make course -->\nold\n<!-- end of map -->\n\nBy hand.\n"
COURSE = "00_small:\n  question: Is it small?\n  seconds: {cpu: 61, smoke: 12}\n"
STUB, SOLUTION, DEEP = 'check("00.1", ...)', 'check("00.1", 3)', "[a card](../../data_cards/template.md)"


def tagged(make):
    return lambda source, *tags: make(source, metadata={"tags": list(tags)} if tags else {})


code, text = tagged(new_code_cell), tagged(new_markdown_cell)


@pytest.fixture
def course(tmp_path):
    cells = [text(TITLE), code(SETUP), code("smoke = False", "parameters"), text(DEEP)]
    cells += [text("Tell them.", "instructor")]
    cells += [text("## Exercises\n\n**Exercise 1.** How many?"), code(STUB, "exercise"), code(SOLUTION, "solution")]
    (tmp_path / "instructor").mkdir()
    notebook = new_notebook(cells=[*cells, text("Because.", "solution")])
    nbformat.write(notebook, tmp_path / "instructor" / "00_small.ipynb")
    (tmp_path / "course.yaml").write_text(COURSE)
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def test_a_built_course_is_in_step_and_a_change_or_a_chapter_that_the_map_lacks_is_found(course, monkeypatch, capsys):
    monkeypatch.setattr(builder, "FOLDER", course)
    monkeypatch.setattr(builder.build, "__defaults__", (course, False))
    assert builder.main(["--check"]) == 1 and f"out of step: {course.name}/README.md" in capsys.readouterr().out
    written = {path.relative_to(course).as_posix() for path in builder.build(course)}
    assert written == {"00_small.ipynb", "instructor/00_small.ipynb", "solutions/00_small.ipynb", "README.md"}
    assert builder.build(course, check=True) == builder.build(course) == [] and builder.main(["--check"]) == 0
    path = course / "00_small.ipynb"
    path.write_text(path.read_text().replace("How many?", "How few?"))
    before = path.read_bytes()
    assert builder.build(course, check=True) == [path] and path.read_bytes() == before
    assert builder.build(course) == [path] and "How many?" in path.read_text()
    readme = (course / "README.md").read_text()
    assert readme.startswith("# Course") and readme.endswith("By hand.\n") and "old" not in readme
    assert map_table(read_chapters(course)) in readme and "| Is it small? | 2 minutes | 15 seconds | – |" in readme
    (course / "course.yaml").write_text(COURSE.replace("00_small", "00_other"))
    with pytest.raises(ValueError, match="00_small.ipynb is not in course.yaml"):
        builder.build(course)


@pytest.mark.parametrize(
    ("form", "present", "absent"),
    [
        ("", [STUB, "[solutions](solutions/00_small.ipynb)", "](../data_cards/"], [SOLUTION, "Because.", "Tell them."]),
        ("solutions", [SOLUTION, "Because.", "[without them](../00_small.ipynb)", DEEP], [STUB, "Tell them."]),
        ("instructor", [STUB, SOLUTION, "Because.", "Tell them.", DEEP], ["without them", "[solutions]"]),
    ],
)
def test_a_form_has_its_cells_links_times_and_the_setup(course, form, present, absent):
    builder.build(course)
    notebook = nbformat.read(course / form / "00_small.ipynb", as_version=4)
    shown = "\n\n".join(cell.source for cell in notebook.cells)
    assert all(part in shown for part in present) and not any(part in shown for part in absent)
    first, setup = notebook.cells[:2]
    assert setup.source == SETUP.replace("0.0.1", __version__) and setup.metadata.tags == ["setup"]
    assert "**Time:** 2 minutes on one CPU core, 15 seconds with `smoke`." in first.source
    assert "guess" not in first.source and first.source.endswith("\n\nMore.") and notebook.metadata == METADATA
