"""One notebook with several sets of parameters: all are checked first, and one that fails does not stop the others."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dmws_lite.runtime.files import writable_folder
from dmws_lite.runtime.notebooks import defaults, run_notebook
from dmws_lite.runtime.parameters import typed


def read_batch(path: str | Path) -> list[dict[str, Any]]:
    """Sets of parameters: a CSV file's rows under its header, where an empty cell leaves the default; or a YAML list.

    Raises FileNotFoundError, or ValueError when the file holds something else.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"batch file {path} does not exist")
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                filled = [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
            rows = [row for row in filled if row]
        else:
            rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"batch file {path.name} is no CSV or YAML file in UTF-8: {error}") from error
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        raise ValueError(
            f"batch file {path.name} holds no sets of parameters: a list of mappings, or a header and rows"
        )
    return rows


def run_batch(path: Path, out: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Run a notebook once for each set of parameters, into the subfolders `out/01`, `out/02`, ...

    Returns, and writes to out/summary.csv, one row per run: run, its parameters, status ("done" or "failed"), seconds,
    error, and the single numbers that it published in JSON files.
    Raises ValueError for the first set with an unknown or mistyped parameter, or when two sets have one output folder,
    before anything runs.
    """
    import pandas as pd

    valid, sets = defaults(path), []
    for number, row in enumerate(rows, 1):
        output = {"output": str(out.resolve() / f"{number:02}")} if "output" in valid else {}
        try:
            sets.append(output | typed(row, valid, path.name))
        except ValueError as error:
            raise ValueError(f"set {number} of {len(rows)}: {error}") from error
    if "output" in valid and len({Path(values["output"]).resolve() for values in sets}) < len(sets):
        raise ValueError("two sets have the same output, and one would overwrite the other: give each set its own")
    writable_folder(out)
    summary = []
    for number, values in enumerate(sets, 1):
        print(f"==> run {number} of {len(sets)}: {values}", flush=True)
        summary.append({"run": f"{number:02}"} | values | _run(path, out / f"{number:02}", values))
        pd.DataFrame(summary).to_csv(out / "summary.csv", index=False)
    return summary


def _run(path: Path, folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    start, error = time.time(), ""
    try:
        run_notebook(path, folder, values)
    except (RuntimeError, OSError) as failure:
        error = str(failure)
    facts = {"status": "failed" if error else "done", "seconds": round(time.time() - start, 1), "error": error}
    return facts | ({} if error else _published(Path(values.get("output", folder)), start))


def _published(folder: Path, start: float) -> dict[str, Any]:
    """The numbers at the top of the JSON files that were written since `start`."""
    files = [path for path in sorted(folder.glob("*.json")) if path.stat().st_mtime >= start]
    contents = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    return {
        f"{n}.{key}": v for n, content in contents.items() for key, v in content.items() if isinstance(v, int | float)
    }
