"""The chapters' slides, run and written as reveal.js pages: `make slides`.

Headings, pictures, tables, lists, formulas and questions are shown; prose, answers and hints are speaker notes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
from course import SOURCES, without_tags
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from traitlets.config import Config

from dmws_lite.course.chapters import FOLDER
from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.notebooks import PICTURES, WIDGET, run_notebook

NOT_SHOWN = {"setup", "parameters", "injected-parameters", "exercise", "solution"}
SHOWN_CODE_LINES = 8
LONGEST = 150  # characters of a paragraph that is shown
# How a paragraph begins, and the slide that it makes (nbconvert's words: "-" goes on, "notes" is for the speaker)
SLIDES = {
    r"\[!\[|\*\*Time:": "skip",
    r"##? ": "slide",
    r"###|\*\*Exercise": "subslide",
    r"\*\*Predict first:": "fragment",
    r"<details|Sources:": "notes",
    r"\$\$|\||```|!\[|[-*] |\d+\. |\*\*Next:": "-",
    rf".{{1,{LONGEST}}}\Z": "-",
}
WHOLE = re.compile(r"(<details.*?</details>|^```.*?^```|^\$\$.*?\$\$)", re.DOTALL | re.MULTILINE)
QUESTION = re.compile(r"<summary>(Quick question.*?)</summary>", re.DOTALL)
STYLE = """<style>
.reveal .slides section { text-align: left; }
.reveal .slides img { max-height: 460px; width: auto; margin: 0 auto; display: block; }
.reveal h1 { font-size: 1.7em; text-transform: none; }
.reveal h2 { font-size: 1.3em; text-transform: none; }
.reveal h3 { font-size: 1.1em; text-transform: none; }
.reveal [data-mime-type="application/vnd.jupyter.stderr"] { display: none; }
:root { --jp-content-font-size1: 23px; --jp-code-font-size: 13px; }
</style>
</head>"""
# Where nbconvert's page finds its scripts in a folder made by: npm install reveal.js@4 requirejs jquery mathjax@2
LOCAL = {
    "reveal_url_prefix": "scripts/reveal.js",
    "require_js_url": "scripts/requirejs/require.js",
    "jquery_url": "scripts/jquery/dist/jquery.min.js",
    "mathjax_url": "scripts/mathjax/MathJax.js",
}


def write_deck(notebook: Path, out: Path, smoke: bool = False, scripts: Path | None = None) -> Path:
    """Run a chapter and write it as slides, NAME.slides.html.

    scripts: a node_modules folder with reveal.js, requirejs, jquery and mathjax, which is copied beside the deck, so
    that it needs no network; None: the page loads them from public servers whenever it is shown.
    Returns the page's path. Raises RuntimeError when a cell fails.
    """
    out = writable_folder(out)
    parameters = {"smoke": smoke, "output": str(out / "results" / notebook.stem)}
    executed = run_notebook(notebook, out, parameters, html=False, replace=True)
    if scripts:
        shutil.copytree(scripts, out / "scripts", dirs_exist_ok=True)
    text = page(nbformat.read(executed, as_version=4), LOCAL if scripts else {})
    path = executed.with_suffix(".slides.html")
    return write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def page(executed: NotebookNode, local: dict[str, str]) -> str:
    """The reveal.js page of an executed chapter; local: the addresses of its scripts, by nbconvert's names."""
    config = Config(TagRemovePreprocessor={"enabled": True, "remove_input_tags": {"remove-input"}})
    exporter = SlidesExporter(config=config, reveal_scroll=True, reveal_number="c/t", **local)
    exporter.raw_template = "{%- extends 'reveal/index.html.j2' -%}" + PICTURES
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    return exporter.from_notebook_node(slides(executed))[0].replace("</head>", STYLE, 1)


def slides(executed: NotebookNode) -> NotebookNode:
    """An executed chapter as a notebook whose cells say on which slide they are."""
    cells: list[NotebookNode] = []
    for cell in without_tags(executed, NOT_SHOWN).cells:
        if cell.cell_type == "code":
            if len(cell.source.splitlines()) > SHOWN_CODE_LINES or "figures." in cell.source:
                cell.metadata["tags"] = ["remove-input"]
            cells.append(_put_on(cell, "subslide" if _has_result(cell) else "skip"))
        elif "instructor" in cell.metadata.get("tags", []):
            cells.append(_put_on(cell, "notes"))
        elif not cell.source.startswith(("## Setup", "## Parameters")):
            cells += _split_paragraphs(cell.source)
    return new_notebook(cells=cells, metadata=executed.metadata)


def _split_paragraphs(source: str) -> Iterator[NotebookNode]:
    """A text's paragraphs, each on its slide; details, fenced code and formulas stay whole."""
    blocks: list[str] = []
    for part in WHOLE.split(source):
        blocks += [part] if WHOLE.match(part) else re.split(r"\n\s*\n", part)
    for block in blocks:
        if question := QUESTION.search(block):
            yield _put_on(new_markdown_cell(f"**{question[1]}**"), "subslide")
        if text := block.strip():
            slide = next((slide for start, slide in SLIDES.items() if re.match(start, text)), "notes")
            yield _put_on(new_markdown_cell(text), slide)


def _has_result(cell: NotebookNode) -> bool:
    """Whether a cell shows something that needs no kernel."""
    results = [output for output in cell.outputs if output.output_type != "stream" or output.name == "stdout"]
    return bool(results) and not any(WIDGET in output.get("data", {}) for output in results)


def _put_on(cell: NotebookNode, slide: str) -> NotebookNode:
    """The cell, with the kind of slide that nbconvert is to put it on."""
    cell.metadata["slideshow"] = {"slide_type": slide}
    return cell


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="scripts/slides.py")
    parser.add_argument("chapters", nargs="*", help='beginnings of names, such as "03"; none: all')
    parser.add_argument("--out", type=Path, default=Path("outputs/slides"), help="folder for the decks")
    parser.add_argument("--smoke", action="store_true", help="run quickly, with results that mean nothing")
    parser.add_argument("--scripts", type=Path, help="a node_modules folder, for decks that need no network")
    options = parser.parse_args(arguments)
    for notebook in sorted((FOLDER / SOURCES).glob("[0-9]*.ipynb")):
        if notebook.stem.startswith(tuple(options.chapters) or ""):
            print(write_deck(notebook, options.out, options.smoke, options.scripts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
