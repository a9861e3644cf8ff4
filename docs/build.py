"""The site: executed chapters, data cards, results, reference and the selection explorer, as static pages.

`make site`, or `python docs/build.py [--smoke] [--executed FOLDER] [--out FOLDER]`.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import pages
from sphinx.cmd.build import build_main

from dmws_lite.runtime.notebooks import run_notebook

ROOT = Path(__file__).parents[1]
OUT = ROOT / "outputs" / "site"
EXECUTED = ROOT / "outputs" / "executed"


def execute(folder: Path, smoke: bool) -> Path:
    """Run every chapter into `folder`, except those whose executed copy is newer than the chapter."""
    for path in sorted(ROOT.glob(pages.NOTEBOOKS)):
        done = folder / path.name
        if not done.is_file() or done.stat().st_mtime < path.stat().st_mtime:
            print(f"==> running {path.name}", flush=True)
            run_notebook(path, folder, {"smoke": True} if smoke else {})
    return folder


def build(out: Path, executed: Path) -> int:
    """Build the pages into `out`, which is emptied first; returns Sphinx's exit code, not 0 after a warning.

    executed: a folder of executed chapters; one that is not there is shown without its results.
    """
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        source.mkdir()
        pages.gather(source, executed)
        options = ["-b", "html", "-q", "-W", "--keep-going", "-c", str(pages.DOCS), "-d", str(Path(folder, "doctrees"))]
        code = build_main([*options, "-D", f"html_static_path={source / '_static'}", str(source), str(out)])
    (out / ".buildinfo").unlink(missing_ok=True)
    return code


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python docs/build.py", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run the chapters with smoke=True")
    parser.add_argument("--executed", type=Path, help="a folder of executed chapters: nothing is run")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of the pages")
    options = parser.parse_args(arguments)
    executed = options.executed or execute(EXECUTED / ("smoke" if options.smoke else "full"), options.smoke)
    code = build(options.out, executed)
    if not code:
        print(f"open {options.out / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
