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

    A CSV row of empty cells is skipped. Raises FileNotFoundError, or ValueError when the file holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"batch file {path} does not exist")
    if path.suffix == ".csv":
        rows = _csv_rows(path)
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
    error, notebook, and, of a run that is done, the single numbers that it published in a JSON file.
    Raises ValueError for the first set with an unknown or mistyped parameter, or with the `output` of another set,
    before anything runs.
    """
    path, out = Path(path), writable_folder(out)
    known = defaults(path)
    sets = []
    for number, row in enumerate(rows, 1):
        try:
            sets.append(typed(row, known, path.name))
        except ValueError as error:
            raise ValueError(f"set {number} of {len(rows)}: {error}") from error
    if "output" in known:
        _refuse_shared([str(Path(values.get("output", out / f"{n:02}")).resolve()) for n, values in enumerate(sets, 1)])
    summary = []
    for number, values in enumerate(sets, 1):
        print(f"==> run {number} of {len(sets)}: {', '.join(f'{k} = {v!r}' for k, v in values.items())}", flush=True)
        summary.append({"run": f"{number:02}"} | values | _run(path, out / f"{number:02}", values, known))
        _write(out / "summary.csv", summary)
    return summary


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            if any(row.pop(None, [])):
                raise ValueError(
                    f"batch file {path.name}, line {reader.line_num}: more cells than the header has names"
                )
            rows.append({key: value for key, value in row.items() if value})
    return [row for row in rows if row]


def _run(path: Path, folder: Path, values: dict[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    given = ({"output": str(folder.resolve())} if "output" in known else {}) | values
    start, error = time.time(), ""
    try:
        run_notebook(path, folder, given)
    except (RuntimeError, OSError) as failure:
        error = str(failure)
    published = {} if error else _published(Path(given.get("output", folder)), start)
    return {
        "status": "failed" if error else "done",
        "seconds": round(time.time() - start, 1),
        "error": error,
        "notebook": str(folder / path.name),
    } | published


def _refuse_shared(outputs: Sequence[str]) -> None:
    """Raise ValueError when two sets would write into the same folder."""
    for number, output in enumerate(outputs, 1):
        first = outputs.index(output) + 1
        if first < number:
            raise ValueError(
                f"sets {first} and {number} both have output = {output}, and one would overwrite the other: leave out "
                "the parameter output, or give each set its own"
            )


def _published(folder: Path, start: float) -> dict[str, Any]:
    """The numbers and truth values at the top of the JSON files that were written since `start`."""
    found: dict[str, Any] = {}
    for file in sorted(path for path in folder.glob("*.json") if path.stat().st_mtime >= start):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            print(f"{file} is no JSON, and its numbers are left out: {error}", flush=True)
            continue
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
