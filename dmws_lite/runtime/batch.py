"""One notebook with several sets of parameters: all are checked first, one that fails does not stop the others."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.notebooks import defaults, run_notebook
from dmws_lite.runtime.parameters import typed


def read_batch(path: str | Path) -> list[dict[str, Any]]:
    """Sets of parameters: a CSV file's rows under its header, where an empty cell leaves the default; or a YAML list.

    Raises FileNotFoundError, or ValueError when the file holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"batch file {path} does not exist")
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]
    elif path.suffix in (".yaml", ".yml"):
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    else:
        raise ValueError(f"batch file {path.name}: pass a .csv or a .yaml file")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(
            f"batch file {path.name} holds no sets of parameters: a list of mappings, or a header and rows"
        )
    return rows


def run_batch(path: str | Path, out: str | Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Run a notebook once for every set of parameters, each into its own subfolder `out/01`, `out/02`, ...

    A notebook with a parameter `output` gets that subfolder, unless the set says otherwise.
    Returns, and writes to out/summary.csv, one row a run: run, its parameters, status ("done" or "failed"), seconds,
    error, notebook, and the single numbers that the run published in a JSON file.
    Raises ValueError for the first set with an unknown or mistyped parameter, before anything runs.
    """
    path, out = Path(path), writable_folder(out)
    known = defaults(path)
    sets = []
    for number, row in enumerate(rows, 1):
        try:
            sets.append(typed(row, known, path.name))
        except ValueError as error:
            raise ValueError(f"set {number} of {len(rows)}: {error}") from error
    summary = []
    for number, values in enumerate(sets, 1):
        print(f"==> run {number} of {len(sets)}: {', '.join(f'{k} = {v!r}' for k, v in values.items())}", flush=True)
        summary.append({"run": f"{number:02}"} | values | _run(path, out / f"{number:02}", values, known))
        _write(out / "summary.csv", summary)
    return summary


def _run(path: Path, folder: Path, values: dict[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    given = ({"output": str(folder.resolve())} if "output" in known else {}) | values
    start, error = time.perf_counter(), ""
    try:
        run_notebook(path, folder, given)
    except (RuntimeError, OSError) as failure:
        error = str(failure)
    return {
        "status": "failed" if error else "done",
        "seconds": round(time.perf_counter() - start, 1),
        "error": error,
        "notebook": str(folder / path.name),
    } | _published(Path(given.get("output", folder)))


def _published(folder: Path) -> dict[str, Any]:
    """The numbers and truth values at the top of the JSON files that a run left."""
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            found |= {f"{file.stem}.{key}": v for key, v in content.items() if isinstance(v, bool | int | float)}
    return found


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(path, write)
