"""The site: executed chapters, data cards, results, reference and the selection explorer, as static pages.

`make site`, or `python docs/build.py [--smoke] [--executed FOLDER] [--out FOLDER]`.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from sphinx.cmd.build import build_main

from dmws_lite.runtime.notebooks import PACKAGE

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "scripts"))
import chapters  # noqa: E402
import pages  # noqa: E402
from times import EXECUTED, execute  # noqa: E402

OUT = ROOT / "outputs" / "site"
MARKER = ".dmws-lite-site"


def execute_chapters(folder: Path, smoke: bool) -> Path:
    """Run every chapter into `folder`, except those whose executed copy is up to date."""
    for path in sorted(ROOT.glob(pages.NOTEBOOKS)):
        if not up_to_date(folder / path.name, path):
            print(f"==> running {path.name}", flush=True)
            execute(path, folder, smoke)
    return folder


def up_to_date(executed: Path, chapter: Path) -> bool:
    """Whether an executed copy is newer than the package and has the chapter's code; then it gets the text of today."""
    changed = max(path.stat().st_mtime for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    stamp = executed.stat().st_mtime if executed.is_file() else 0
    if stamp < changed:
        return False
    copy, cells = chapters.read(executed), []
    ran = [cell for cell in copy.cells if cell.cell_type == "code"]
    for cell in chapters.read(chapter).cells:
        if cell.cell_type == "code":
            if not ran or ran[0].source != cell.source:
                return False
            cell = ran.pop(0)
        cells.append(cell)
        while ran and "injected-parameters" in ran[0].metadata.get("tags", []):
            cells.append(ran.pop(0))
    if ran:
        return False
    copy.cells = cells
    nbformat.write(copy, executed)
    os.utime(executed, (stamp, stamp))
    return True


def build(out: Path, executed: Path) -> int:
    """Build the pages into `out`, which is emptied first; returns Sphinx's exit code, not 0 after a warning.

    executed: a folder of executed chapters; one that is not there is shown without its results.
    Raises FileExistsError when `out` holds anything but an earlier site.
    """
    refuse_others(out)
    out = out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARKER).touch()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        source.mkdir()
        pages.gather(source, executed)
        options = ["-b", "html", "-q", "-W", "--keep-going", "-c", str(pages.DOCS), "-d", str(Path(folder, "doctrees"))]
        code = build_main([*options, "-D", f"html_static_path={source / '_static'}", str(source), str(out)])
    (out / ".buildinfo").unlink(missing_ok=True)
    return code


def refuse_others(out: Path) -> None:
    """Raise FileExistsError for a folder that must not be emptied: only an earlier site may be."""
    folder = out.resolve()
    around = Path.cwd().is_relative_to(folder) or ROOT.is_relative_to(folder)
    empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if around or not (empty or (folder / MARKER).is_file()):
        raise FileExistsError(f"--out {out} is no earlier site, and would be emptied: pass a new or an empty folder")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python docs/build.py", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run the chapters with smoke=True")
    parser.add_argument("--executed", type=Path, help="a folder of executed chapters: nothing is run")
    parser.add_argument("--out", type=Path, default=OUT, help="the pages' folder: new, empty, or of an earlier site")
    options = parser.parse_args(arguments)
    try:
        refuse_others(options.out)
    except FileExistsError as error:
        parser.error(str(error))
    executed = options.executed or execute_chapters(EXECUTED / ("smoke" if options.smoke else "full"), options.smoke)
    code = build(options.out, executed)
    if not code:
        print(f"open {options.out / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
