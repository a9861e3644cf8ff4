"""What a class has solved, from executed notebooks: `python scripts/verdicts.py FOLDER`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
import pandas as pd

from dmws_lite.course.checks import MIME, WORDS, texts
from dmws_lite.runtime.text import plain


def read_verdicts(path: str | Path) -> dict[str, str]:
    """The state of each exercise in an executed notebook: "right", "not yet" or "not answered yet".

    Where an exercise was checked more than once, the last verdict counts.
    """
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    verdicts = [output.data[MIME] for output in outputs if MIME in output.get("data", {})]
    return {v["exercise"]: WORDS[v["state"]] for v in verdicts if v["exercise"] in texts()}


def class_table(folder: str | Path) -> pd.DataFrame:
    """One row per notebook below `folder` (hidden folders aside) with a verdict, one column per exercise.

    Files that cannot be read are named on the error stream. Raises ValueError when no notebook holds a verdict.
    """
    rows = {}
    for path in sorted(Path(folder).rglob("*.ipynb")):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts):
            continue
        try:
            rows[plain(re.sub(r"^(?=[=+@-])", "'", name.as_posix()))] = read_verdicts(path)  # a sheet computes "=..."
        except Exception as error:  # other people's files: anything may be wrong with one
            print(plain(f"unreadable: {name} ({type(error).__name__}: {str(error)[:200]})"), file=sys.stderr)
    table = pd.DataFrame.from_dict({name: row for name, row in rows.items() if row}, orient="index").fillna("")
    if table.empty:
        raise ValueError(f"no verdicts below {folder}: run the notebooks first, and keep their outputs")
    return table[sorted(table)].rename_axis("notebook")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="scripts/verdicts.py")
    parser.add_argument("folder", type=Path, help="executed notebooks, also in subfolders")
    parser.add_argument("--csv", type=Path, help="write the table here, too")
    options = parser.parse_args(arguments)
    try:
        table = class_table(options.folder)
    except ValueError as error:
        parser.error(str(error))
    print(table.to_string())
    print((table == WORDS["right"]).sum().rename("right").to_frame().T.to_string())
    if options.csv:
        table.to_csv(options.csv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
