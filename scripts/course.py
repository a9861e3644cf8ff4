"""From one source to every form of a chapter: `python scripts/course.py`, or `make course`.

notebooks/instructor/NN_name.ipynb is written by hand. From it come the student's notebook and the one with solutions.
What all chapters share is written here: badge, times, cell ids, the map of the course, and the setup cell, which is
that of the first chapter.
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import TagRemovePreprocessor
from nbformat import NotebookNode
from traitlets.config import Config

from dmws_lite import __version__
from dmws_lite.course.chapters import FOLDER, Chapter, Times, duration, read_chapters
from dmws_lite.runtime.files import write_atomically
from dmws_lite.studies.scales import FEW

SOURCES = "instructor"
SITE = "https://colab.research.google.com"
REPOSITORY = "dmws-lite/dmws-lite"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
LEFT_OUT = {SOURCES: set(), "": {"solution", "instructor"}, "solutions": {"exercise", "instructor"}}  # tags, by folder
LINKS = {
    "": "Try first, then compare: [solutions](solutions/{name}.ipynb).",
    "solutions": "Here with solutions; [without them](../{name}.ipynb).",
}
BADGE = re.compile(r"^\[!\[Open in Colab\].*$", re.MULTILINE)
VERSION = re.compile(r"(?<=dmws-lite@v)[\w.]+")  # of the release that the setup cell installs
TIME = re.compile(r"\*\*Time:\*\*.*?(?=\n\n|\Z)", re.DOTALL)
EXERCISES = re.compile(r"^## Exercises$", re.MULTILINE)
MAP = re.compile(r"(<!-- map, made by make course -->\n).*?(<!-- end of map -->)", re.DOTALL)


def build(folder: Path = FOLDER, check: bool = False) -> list[Path]:
    """Write each notebook, and the map, that differs from what the sources give.

    check: write nothing. Returns the files that were, or are, out of step.
    Raises ValueError when there are no sources, and for one that is not a chapter, with its name and what is missing.
    """
    chapters = read_chapters(folder)
    sources = sorted((folder / SOURCES).glob("*.ipynb"))
    if not sources:
        raise ValueError(f"{folder / SOURCES} holds no notebook: the course is made from those that belong there")
    readme = folder / "README.md"
    setup = _find_setup_cell(nbformat.read(sources[0], as_version=4))["source"]
    text, maps = MAP.subn(rf"\g<1>{map_table(chapters)}\n\g<2>", readme.read_text(encoding="utf-8"))
    if maps != 1:
        raise ValueError("notebooks/README.md lacks the two marks between which the map is written")
    texts = {readme: text}
    for source in sources:
        notebook = _add_shared_parts(nbformat.read(source, as_version=4), source.name, chapters, setup)
        texts |= {folder / form / source.name: _render(notebook, form, source.stem) for form in LEFT_OUT}
    changed = [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if not check:
        for path in changed:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, partial(Path.write_text, data=texts[path], encoding="utf-8"))
    return changed


def without_tags(notebook: NotebookNode, tags: set[str]) -> NotebookNode:
    """A copy of a notebook without the cells that have one of these tags."""
    remover = TagRemovePreprocessor(config=Config(TagRemovePreprocessor={"enabled": True, "remove_cell_tags": tags}))
    return remover.preprocess(copy.deepcopy(notebook), {})[0]


def _add_shared_parts(notebook: NotebookNode, name: str, chapters: dict[str, Chapter], setup: str) -> NotebookNode:
    """A source with what all chapters share. Raises ValueError that names what it lacks."""
    chapter = chapters.get(name.removesuffix(".ipynb"))
    if chapter is None:
        raise ValueError(f"{name} is not in course.yaml: add it there with its question")
    first = notebook.cells[0].source if notebook.cells else ""
    cell = _find_setup_cell(notebook)
    parts = {
        "a first cell with the title": first.startswith("# "),
        "the badge's line in the first cell": BADGE.search(first),
        'a line "**Time:**" in the first cell': TIME.search(first),
        "a setup cell as the first code cell": "dm.announce()" in cell["source"],
    }
    if missing := [part for part, present in parts.items() if not present]:
        raise ValueError(f"{name} lacks {missing[0]}: see the other chapters")
    cell["source"], cell["metadata"] = VERSION.sub(__version__, setup), {"tags": ["setup"]}
    notebook.cells[0].source = TIME.sub(time_line(chapter), first)
    return notebook


def _find_setup_cell(notebook: NotebookNode) -> Any:
    """The first code cell."""
    return next((cell for cell in notebook.cells if cell.cell_type == "code"), {"source": ""})


def _render(source: NotebookNode, form: str, name: str) -> str:
    """One form of a chapter as its file's text: its own badge and links, ids in order, no outputs."""
    cells = without_tags(source, LEFT_OUT[form]).cells
    for number, cell in enumerate(cells):
        cell["id"] = f"c{number:03}"
        if cell.cell_type == "code":
            cell["outputs"], cell["execution_count"] = [], None
            continue
        cell.source = BADGE.sub(badge(Path("notebooks", form, f"{name}.ipynb").as_posix()), cell.source)
        if form in LINKS:
            cell.source = EXERCISES.sub(f"## Exercises\n\n{LINKS[form].format(name=name)}", cell.source)
        if form == "":
            cell.source = cell.source.replace("](../", "](")
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=METADATA, nbformat_minor=5)
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def time_line(chapter: Chapter) -> str:
    """The line of a chapter that says how long it takes, at each scale for which that was measured."""
    line = f"**Time:** {_describe_times(chapter.seconds)}. No GPU and no download is needed."
    if not chapter.scales:
        return line
    scales = [f"`{name}` {_describe_times(times)}" for name, times in chapter.scales.items()]
    few = " and ".join(f"`-p {name} {value}`" for name, value in FEW.items())
    on_cpu = f"With {few}, where the chapter has them, at" if any(t.cpu for t in chapter.scales.values()) else "At"
    return f"{line} {on_cpu} the other scales: {'; '.join(scales)}."


def _describe_times(times: Times) -> str:
    """The measured times in words, such as "25 seconds on one CPU core, 2 minutes on a GPU"."""
    seconds = {"on one CPU core": times.cpu, "with `smoke`": times.smoke, "on a GPU": times.gpu}
    return ", ".join(f"{duration(value)} {how}" for how, value in seconds.items() if value) or "not measured yet"


def badge(path: str) -> str:
    """The "Open in Colab" picture of a notebook, whose path is relative to the repository."""
    return f"[![Open in Colab]({SITE}/assets/colab-badge.svg)]({SITE}/github/{REPOSITORY}/blob/main/{path})"


def map_table(chapters: dict[str, Chapter]) -> str:
    """The map of the course as a Markdown table, with links relative to notebooks/."""
    scales = list(dict.fromkeys(scale for chapter in chapters.values() for scale in chapter.scales))
    scale_columns = [f"`{scale}`, {device}" for scale in scales for device in ("CPU", "GPU")]
    columns = ["chapter", "question", "one CPU core", "`smoke`", "GPU", *scale_columns, "needs", "open"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, chapter in chapters.items():
        seconds = [chapter.seconds.cpu, chapter.seconds.smoke, chapter.seconds.gpu]
        for scale in scales:
            times = chapter.scales.get(scale, Times())
            seconds += [times.cpu, times.gpu]
        durations = (duration(value) if value else "–" for value in seconds)
        needs = ", ".join(need[:2] for need in chapter.needs) or "–"
        cells = [f"[{name}]({name}.ipynb)", chapter.question, *durations, needs, badge(f"notebooks/{name}.ipynb")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="scripts/course.py")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 with the files out of step")
    options = parser.parse_args(arguments)
    changed = build(check=options.check)
    for path in changed:
        print(f"{'out of step' if options.check else 'made'}: {path.relative_to(FOLDER.parent)}")
    if options.check and changed:
        print("run: make course", file=sys.stderr)
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
