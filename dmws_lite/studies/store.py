"""The run store: a folder of JSON and Parquet files that several processes may fill at once.

    store.json            what made it
    runs/KEY.json         a finished run's record; written last, so that it is there only when all of the run is
    history/KEY.parquet   one row per evaluation
    predictions/KEY.parquet  one row per test image and student
    failures/KEY.json     the record of a run that failed; gone when it succeeds
    studies/NAME.json     a study: its definition, and its runs' names by key

pandas opens a folder at once (`pd.read_parquet("store/predictions")`), so does DuckDB
(`SELECT * FROM 'store/history/*.parquet'`, `SELECT * FROM 'store/runs/*.json'`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from dmws_lite.runtime.files import claim, writable_folder, write_atomically
from dmws_lite.studies.run import COSTS, FORMAT, METRICS, Job, Outcome
from dmws_lite.studies.study import Study
from dmws_lite.training.settings import Training

TABLES = ("history", "predictions")
FOLDERS = ("runs", *TABLES, "failures", "studies", "locks")
NAMES = ["data", "pair", "fraction", "method", "label", "seed"]  # of a run, in every table
BUDGET = ("steps", "batch_size", "evaluations")  # of Training: what every method gets the same of
COLUMNS = ["key", *NAMES, "steps", "batch_size", "size", "budget", *METRICS, "auxiliary_accuracy", "ensemble_accuracy"]
COLUMNS += ["val_accuracy", "val_loss", "best_step", "seconds", "images_per_second", *COSTS, "peak_memory_mb"]
COLUMNS += ["device", "data_id", "weights", "settings"]


class Store:
    """A run store in `folder`, made when it is not there and `create` is True.

    Where a method takes a study's name, None is the only study of the store, or all runs where it has several or none;
    "" is all runs, those that an earlier version of a study made among them.
    Raises FileNotFoundError for a folder without a store, ValueError for one of another version and a damaged file.
    """

    def __init__(self, folder: str | Path, create: bool = False):
        self.folder = Path(folder)
        file = self.folder / "store.json"
        if create and not file.exists():
            names = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
            if any(not name.startswith(".") for name in names - {*FOLDERS}):
                raise ValueError(f"folder {self.folder} holds other files: pass a new folder, or one that is a store")
            for name in FOLDERS:
                writable_folder(self.folder / name)
            _write_json(file, {"format": FORMAT})
        if not file.is_file():
            raise FileNotFoundError(f"{self.folder} is no run store: pass the folder that `dmws study run` wrote to")
        _check_format(_read(file), f"store {self.folder}", "run its studies again into a new folder")

    def __contains__(self, key: str) -> bool:
        return (self.folder / "runs" / f"{key}.json").exists()

    def claim(self, key: str) -> FileLock | None:
        """A lock on a run, released when its process ends; None when another process makes this run now."""
        return claim(writable_folder(self.folder / "locks") / f"{key}.lock")

    def add(self, outcome: Outcome) -> None:
        """Keep a run: its tables first, its record last. Of one that failed only the record, among the failures."""
        key, failure = outcome.key, self.folder / "failures" / f"{outcome.key}.json"
        if not outcome.done:
            _write_json(failure, outcome.record)
            return
        for name in TABLES:
            table = getattr(outcome, name).assign(key=key)
            write_atomically(self.folder / name / f"{key}.parquet", partial(table.to_parquet, index=False))
        _write_json(self.folder / "runs" / f"{key}.json", outcome.record)
        failure.unlink(missing_ok=True)

    def begin(self, study: Study, jobs: Sequence[Job]) -> None:
        """Keep a study's definition and its runs' names by key, in place of an earlier version, whose runs stay."""
        content = {"definition": study.definition(), "names": {job.key: job.names() for job in jobs}}
        _write_json(self.folder / "studies" / f"{study.name}.json", content)

    def studies(self) -> list[str]:
        """The names of the studies in the store."""
        return sorted(path.stem for path in (self.folder / "studies").glob("*.json"))

    def study(self, name: str) -> dict[str, Any]:
        """A study: its definition, and its runs' names by key. Raises ValueError for one that is not there."""
        if name not in (names := self.studies()):
            raise ValueError(f"store {self.folder} has no study {name!r}: it has {', '.join(names) or 'none'}")
        content = _read(self.folder / "studies" / f"{name}.json", itemgetter("definition", "names"))
        if foreign := [key for key in content["names"] if not key.isalnum()]:
            raise ValueError(f"store {self.folder}, study {name!r}: {foreign[0]!r} is no key of a run: run it again")
        return content

    def records(self, study: str | None = None, folder: str = "runs") -> list[dict[str, Any]]:
        """The records of a study's finished runs, under the study's names; folder="failures": of those that failed."""
        study = self.studies()[0] if study is None and len(self.studies()) == 1 else study
        names, records = self.study(study)["names"] if study else {}, []
        for key in names or sorted(path.stem for path in (self.folder / folder).glob("*.json")):
            path = self.folder / folder / f"{key}.json"
            if path.exists() and (folder == "runs" or key not in self):
                record = _read(path, _flatten_record if folder == "runs" else _names_of)
                _check_format(record, path, "delete it, run the study again")
                records.append(record | ({"names": names[key]} if names else {}))
        return records

    def table(self, study: str | None = None) -> pd.DataFrame:
        """One row per finished run: key, names, budget, the main student's metrics on the test images, costs."""
        rows = map(_flatten_record, self.records(study))
        return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(METRICS, float))  # also where all are nan

    def history(self, study: str | None = None) -> pd.DataFrame:
        """One row per evaluation of each run, as in Run.history, with the run's key and names."""
        return self._read_tables("history", study, NAMES)

    def predictions(self, study: str | None = None) -> pd.DataFrame:
        """One row per test image of each run and student: key, names, student, image, label, predicted, probabilities.

        >>> rows = store.predictions().query("method == 'dual_skd' and student == 'main'")  # doctest: +SKIP
        """
        return self._read_tables("predictions", study, [name for name in NAMES if name != "label"])

    def failures(self, study: str | None = None) -> pd.DataFrame:
        """One row per run that failed: key, names, error and its message."""
        rows = [{**_names_of(r), "error": r["error"]["type"], **r["error"]} for r in self.records(study, "failures")]
        return pd.DataFrame(rows, columns=["key", *NAMES, "error", "message"])

    def missing(self, study: str | None = None) -> pd.DataFrame:
        """One row per run of a study that is neither done nor failed: key and names."""
        studies = [study] if study else self.studies()
        runs = {key: names for name in studies for key, names in self.study(name)["names"].items()}
        ended = {path.stem for folder in ("runs", "failures") for path in (self.folder / folder).glob("*.json")}
        rows = [{"key": key, **names} for key, names in runs.items() if key not in ended]
        return pd.DataFrame(rows, columns=["key", *NAMES])

    def _read_tables(self, folder: str, study: str | None, columns: list[str]) -> pd.DataFrame:
        names = pd.DataFrame([_names_of(record) for record in self.records(study)], columns=["key", *columns])
        paths = [self.folder / folder / f"{key}.parquet" for key in names["key"]]
        tables = [_read(path) for path in paths]
        return names.merge(pd.concat(tables), on="key") if tables else names


def _names_of(record: dict[str, Any]) -> dict[str, Any]:
    return {"key": record["key"], "fraction": record["fraction"], "seed": record["seed"], **record["names"]}


def _flatten_record(record: dict[str, Any]) -> dict[str, Any]:
    """A record as a row of `Store.table`."""
    config, metrics = record["config"], record["metrics"]
    training = Training(**record.get("study_training", config["training"]))  # the study's: methods may change it
    return {
        **record,
        **_names_of(record),
        **metrics["main"],
        **{f"{name}_accuracy": values["accuracy"] for name, values in metrics.items() if name != "main"},
        **record["cost"],
        "steps": config["training"]["steps"],
        "data_id": config["data"],
        "weights": None if config["initializer"] == "native" else config["weights"],
        "budget": ", ".join([*(f"{key} {getattr(training, key)}" for key in BUDGET), f"{record['size']} px"]),
        "settings": ", ".join(f"{k} {v}" for k, v in asdict(training).items() if k not in (*BUDGET, "seed")),
        "device": record["machine"]["gpu"] or record["machine"]["device"],
    }


def _check_format(content: dict[str, Any], what: object, way_out: str) -> None:
    if content.get("format") != FORMAT:
        raise ValueError(f"{what} has format {content.get('format')!r}, this version reads {FORMAT}: {way_out}")


def _read(path: Path, use: Callable[[dict[str, Any]], object] = len) -> Any:
    """A table, or a JSON file's dict, which `use` must be able to use."""
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        content = dict(json.loads(path.read_text(encoding="utf-8")))
        use(content)
        return content
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        record = f" and runs/{path.stem}.json" if path.suffix == ".parquet" else ""
        raise ValueError(f"{path} is damaged ({error!r}): delete it{record}, and run the study again") from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    finite = json.loads(json.dumps(content), parse_constant=lambda _: None)  # JSON knows neither nan nor infinities
    text = json.dumps(finite, indent=1)
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
