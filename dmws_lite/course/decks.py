"""The chapters' slides, run and written as reveal.js pages: `python -m dmws_lite.course.decks`, or `make slides`."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from traitlets.config import Config

from dmws_lite.course.chapters import FOLDER
from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.notebooks import run_notebook, with_alt_texts

STYLE = """<style>
.reveal .slides section { text-align: left; }
.reveal .slides img { max-height: 460px; width: auto; margin: 0 auto; display: block; }
.reveal h1 { font-size: 1.7em; text-transform: none; }
.reveal h2 { font-size: 1.3em; text-transform: none; }
.reveal h3 { font-size: 1.1em; text-transform: none; }
.reveal small { font-size: 0.65em; }
.reveal [data-mime-type="application/vnd.jupyter.stderr"] { display: none; }
:root { --jp-content-font-size1: 23px; --jp-code-font-size: 13px; }
</style>
</head>"""
# Where nbconvert's page finds its scripts in a folder made by: npm install reveal.js@4 requirejs jquery mathjax@2
LOCAL = {
    "reveal_url_prefix": "reveal.js",
    "require_js_url": "requirejs/require.js",
    "jquery_url": "jquery/dist/jquery.min.js",
    "mathjax_url": "mathjax/MathJax.js",
}


def write_deck(notebook: Path, out: Path, smoke: bool = False, scripts: Path | None = None) -> Path:
    """Run a chapter's slides and write them as NAME.slides.html.

    scripts: a node_modules folder with reveal.js, requirejs, jquery and mathjax, which is copied beside the deck, so
    that it needs no network; None: the page loads them from public servers whenever it is shown.
    Returns the page's path. Raises RuntimeError when a cell fails, FileNotFoundError when a script is missing.
    """
    out = writable_folder(out)
    local = _copied(scripts, out) if scripts else {}
    executed = run_notebook(notebook, out, {"smoke": smoke, "output": str(out / "results" / notebook.stem)})
    return write_atomically(
        executed.with_suffix(".slides.html"), lambda part: part.write_text(page(executed, local), encoding="utf-8")
    )


def page(executed: Path, local: dict[str, str] | None = None) -> str:
    """The reveal.js page of executed slides; `local` holds the addresses of its scripts, by nbconvert's names."""
    from nbconvert import SlidesExporter

    config = Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_input_tags = {"remove-input"}
    config.TagRemovePreprocessor.remove_cell_tags = {"injected-parameters"}
    exporter = SlidesExporter(config=config, reveal_scroll=True, reveal_number="c/t", **(local or {}))
    exporter.raw_template = with_alt_texts("reveal")
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    text, _ = exporter.from_filename(str(executed))
    return text.replace("</head>", STYLE, 1)


def _copied(scripts: Path, out: Path) -> dict[str, str]:
    """Copy the scripts' packages beside the deck; returns their addresses."""
    for target in LOCAL.values():
        package = target.partition("/")[0]
        if not (scripts / package).is_dir():
            raise FileNotFoundError(f"{scripts} lacks {package}: npm install reveal.js@4 requirejs jquery mathjax@2")
        shutil.copytree(scripts / package, out / "scripts" / package, dirs_exist_ok=True)
    return {name: f"scripts/{target}" for name, target in LOCAL.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m dmws_lite.course.decks")
    parser.add_argument("chapters", nargs="*", help='beginnings of names, such as "03"; none: all')
    parser.add_argument("--out", type=Path, default=Path("outputs/slides"), help="folder for the decks")
    parser.add_argument("--smoke", action="store_true", help="run quickly, with results that mean nothing")
    parser.add_argument("--scripts", type=Path, help="a node_modules folder, for decks that need no network")
    options = parser.parse_args(arguments)
    for notebook in sorted((FOLDER / "slides").glob("*.ipynb")):
        if not options.chapters or notebook.stem.startswith(tuple(options.chapters)):
            print(write_deck(notebook, options.out, options.smoke, options.scripts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
