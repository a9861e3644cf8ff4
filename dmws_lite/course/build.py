"""From one source to every form of a chapter: `python -m dmws_lite.course.build`, or `make course`.

notebooks/instructor/NN_name.ipynb is written by hand. From it come the student's notebook, the one with solutions, and
the slides. What all chapters share is written here: setup cell, badge, times, cell ids, the map of the course.
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from dmws_lite.course.chapters import FOLDER, Chapter, badge, map_table, read_chapters, time_line
from dmws_lite.course.setup_cell import setup_cell
from dmws_lite.course.slides import slide_cells
from dmws_lite.runtime.files import write_atomically

SOURCES = "instructor"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TIME = re.compile(r"\*\*Time:\*\*.*?(?=\n\n|\Z)", re.DOTALL)
MAP = re.compile(r"(<!-- map, made by make course -->\n).*?(<!-- end of map -->)", re.DOTALL)


def build(folder: Path = FOLDER, check: bool = False) -> list[Path]:
    """Write every notebook and the map anew where they differ from what the sources give.

    check: write nothing. Returns the files that were, or are, out of step.
    Raises ValueError when there are no sources, and for one that is no chapter, with its name and what is missing.
    """
    chapters = read_chapters(folder)
    sources = sorted((folder / SOURCES).glob("*.ipynb"))
    if not sources:
        raise ValueError(f"{folder / SOURCES} holds no notebook: the course is made from those that belong there")
    changed = []
    for source in sources:
        before = source.read_text(encoding="utf-8")
        for path, text in _forms(source, before, chapters).items():
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                changed.append(path)
                if not check and (path != source or source.read_text(encoding="utf-8") == before):
                    _write(path, text)
    readme = folder / "README.md"
    before = readme.read_text(encoding="utf-8")
    text, maps = MAP.subn(lambda found: f"{found[1]}{map_table(chapters)}\n{found[2]}", before)
    if maps != 1:
        raise ValueError("notebooks/README.md lacks the two marks between which the map is written")
    if text != before:
        changed.append(readme)
        if not check:
            _write(readme, text)
    return changed


def without_source(folder: Path = FOLDER) -> list[Path]:
    """Notebooks beside the made ones that have no source: made from an older one, or by hand; build() leaves them."""
    names = {path.name for path in (folder / SOURCES).glob("*.ipynb")}
    return [path for form in FORMS for path in sorted((folder / form).glob("*.ipynb")) if path.name not in names]


def student(cells: list[NotebookNode], name: str) -> list[NotebookNode]:
    """The student's cells: no solutions, nothing for the lecturer; links start one folder up."""
    kept = [cell for cell in cells if not _tags(cell) & {"solution", "instructor"}]
    _after_exercises(kept, f"Try first, then compare: [solutions](solutions/{name}.ipynb).")
    for cell in kept:
        cell.source = cell.source.replace("](../", "](")
    return kept


def solutions(cells: list[NotebookNode], name: str) -> list[NotebookNode]:
    """The cells with solutions in place of the stubs."""
    kept = [c for c in cells if "instructor" not in _tags(c) and not (c.cell_type == "code" and "exercise" in _tags(c))]
    _after_exercises(kept, f"Here with solutions; [without them](../{name}.ipynb).")
    return kept


def slides(cells: list[NotebookNode], name: str) -> list[NotebookNode]:
    """The cells as slides with speaker notes."""
    return slide_cells(cells)


FORMS: dict[str, Callable[[list[NotebookNode], str], list[NotebookNode]]] = {
    "": student,
    "solutions": solutions,
    "slides": slides,
}


def _forms(source: Path, text: str, chapters: dict[str, Chapter]) -> dict[Path, str]:
    """Every file that a source gives, itself included: its text by its path."""
    name, folder = source.stem, source.parents[1]
    if name not in chapters:
        raise ValueError(f"{source.name} is not in course.yaml: add {name} with its question")
    cells = nbformat.reads(text, as_version=4).cells
    _complete(cells, source.name)
    _mend(cells, chapters[name])
    forms = {"instructor": cells} | {form: make(copy.deepcopy(cells), name) for form, make in FORMS.items()}
    return {folder / form / source.name: _notebook(cells, Path(form, source.name)) for form, cells in forms.items()}


def _complete(cells: list[NotebookNode], name: str) -> None:
    """Raise ValueError for what the build needs and does not find."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    missing = {
        "a first cell with the title": cells and cells[0].source.startswith("# "),
        "the badge's line in the first cell": cells and "[![Open in Colab]" in cells[0].source,
        'a line "**Time:**" in the first cell': cells and "**Time:**" in cells[0].source,
        "a setup cell as the first code cell": code and "dm.announce()" in code[0].source,
    }
    for what, found in missing.items():
        if not found:
            raise ValueError(f"{name} lacks {what}: see the other chapters")


def _mend(cells: list[NotebookNode], chapter: Chapter) -> None:
    """Write anew what all chapters share."""
    setup = next(cell for cell in cells if cell.cell_type == "code")
    setup.source, setup.metadata["tags"] = setup_cell(), ["setup"]
    cells[0].source = TIME.sub(time_line(chapter.seconds), cells[0].source)


def _notebook(cells: list[NotebookNode], path: Path) -> str:
    """The file's text: its own badge, ids in order, no outputs."""
    line = badge(Path("notebooks", path).as_posix())
    for number, cell in enumerate(cells):
        cell["id"] = f"c{number:03}"
        if cell.cell_type == "code":
            cell["outputs"], cell["execution_count"] = [], None
        else:
            cell.source = re.sub(r"^\[!\[Open in Colab\].*$", line, cell.source, flags=re.MULTILINE)
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=METADATA, nbformat_minor=5)
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def _after_exercises(cells: list[NotebookNode], line: str) -> None:
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"^## Exercises$", f"## Exercises\n\n{line}", cell.source, flags=re.MULTILINE)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def _tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m dmws_lite.course.build")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 with the files out of step")
    options = parser.parse_args(arguments)
    changed = build(check=options.check)
    for path in changed:
        print(f"{'out of step' if options.check else 'made'}: {path.relative_to(FOLDER.parent)}")
    for path in without_source():
        print(f"no source for {path.relative_to(FOLDER.parent)}: delete it if it was made from one", file=sys.stderr)
    if options.check and changed:
        print("run: make course", file=sys.stderr)
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
