"""The run store: a folder of JSON and Parquet files that several processes may fill at once.

    store.json            what made it
    runs/KEY.json         a finished run's record; written last, so that it is there only when all of the run is
    history/KEY.parquet   a row an evaluation
    predictions/KEY.parquet  a row a test image and student
    failures/KEY.json     the record of a run that failed; gone when it succeeds
    studies/NAME.json     a study: its definition, and its runs' names by key

pandas opens a folder at once (`pd.read_parquet("store/predictions")`), so does DuckDB
(`SELECT * FROM 'store/history/*.parquet'`, `SELECT * FROM 'store/runs/*.json'`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.studies.jobs import Job
from dmws_lite.studies.run import FORMAT, METRICS, Outcome
from dmws_lite.studies.study import BUDGET, Study, budget
from dmws_lite.training.settings import Training

if TYPE_CHECKING:
    import pandas as pd

FOLDERS = ("runs", "history", "predictions", "failures", "studies", "locks")
COSTS = ("flops_per_step", "step_memory_mb", "parameters", "latency_ms")
KNOWN = "key", "names", "fraction", "seed", "config", "status"  # what every record has
MEASURED = "metrics", "cost", "seconds", "teacher_seconds", "batch_size", "val_accuracy"  # and that of a finished run
SETTINGS = "size", "training", "distillation", "tuning", "threads", "device"  # of a study: what one name stands for


class Store:
    """A run store in `folder`, made when it is not there and `create` is True.

    Raises FileNotFoundError for a folder without a store, ValueError for a store that another version wrote, and
    PermissionError when it cannot be written to.
    """

    def __init__(self, folder: str | Path, create: bool = False):
        self.folder = Path(folder)
        mark = self.folder / "store.json"
        if create:
            there = [path.name for path in self.folder.iterdir()] if self.folder.exists() else []
            others = [name for name in there if name not in FOLDERS and not name.startswith(".")]
            if others and not mark.exists():
                raise ValueError(f"folder {self.folder} holds other files: pass a new folder, or one that is a store")
            for name in FOLDERS:
                writable_folder(self.folder / name)
            if not mark.exists():
                _write_json(mark, {"format": FORMAT})
        if not mark.is_file():
            raise FileNotFoundError(f"{self.folder} is no run store: pass the folder that `dmws study run` wrote to")
        found = _read_json(mark).get("format")
        if found != FORMAT:
            raise ValueError(
                f"store {self.folder} has format {found!r}, this version reads {FORMAT}: run its studies again into a "
                "new folder, or read it with the version that wrote it"
            )

    def __contains__(self, key: str) -> bool:
        return self._path("runs", key).exists()

    def claim(self, key: str) -> FileLock | None:
        """A lock on a run, released when its process ends; None when another process makes this run now."""
        lock = FileLock(writable_folder(self.folder / "locks") / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    def add(self, outcome: Outcome) -> None:
        """Keep a run: its tables first, its record last. Of one that failed only the record, among the failures."""
        key = outcome.key
        if not outcome.done:
            _write_json(self._path("failures", key), outcome.record)
            return
        for name, table in (("history", outcome.history), ("predictions", outcome.predictions)):
            if len(table):
                keyed = table.assign(key=key)
                write_atomically(self._path(name, key), lambda part, t=keyed: t.to_parquet(part, index=False))  # type: ignore[misc]
        _write_json(self._path("runs", key), outcome.record)
        self._path("failures", key).unlink(missing_ok=True)

    def begin(self, study: Study, jobs: Sequence[Job], trials: Sequence[Job] = ()) -> None:
        """Keep a study's definition, and the keys and names of its runs, in place of an earlier version of it.

        Raises ValueError when the store has a study of this name with other settings (see SETTINGS).
        """
        names = {job.key: job.names | {"fraction": job.fraction, "seed": job.seed} for job in jobs}
        definition = study.definition()
        if study.name in self.studies():
            before = self.study(study.name)["definition"]
            if other := [key for key in SETTINGS if before.get(key) != definition.get(key)]:
                raise ValueError(
                    f"store {self.folder} has a study {study.name!r} with another {', '.join(other)}: give yours "
                    "another name, or pass another folder"
                )
        content = {"definition": definition, "names": names, "trials": [job.key for job in trials]}
        _write_json(self.folder / "studies" / f"{study.name}.json", content)

    def studies(self) -> list[str]:
        """The names of the studies in the store."""
        return sorted(path.stem for path in (self.folder / "studies").glob("*.json"))

    def study(self, name: str) -> dict[str, Any]:
        """A study: its definition, its runs' names by key, its trials' keys. Raises ValueError for an unknown one."""
        if name not in (known := self.studies()):
            raise ValueError(f"store {self.folder} has no study {name!r}: it has {', '.join(known) or 'none'}")
        found = _read_json(path := self.folder / "studies" / f"{name}.json")
        if not {"definition", "names", "trials"} <= set(found):
            raise ValueError(f"{path} is damaged: delete it, and run the study again; its runs are kept")
        return found

    def missing(self, study: str) -> list[str]:
        """The keys of a study's runs that are neither done nor failed."""
        return [
            key for key in self.study(study)["names"] if key not in self and not self._path("failures", key).exists()
        ]

    def records(self, study: str | None = None, folder: str = "runs") -> list[dict[str, Any]]:
        """The records of a study's finished runs, under the study's names; of all runs without a study.

        folder: "runs", or "failures" (of trials too).
        Raises ValueError for a record that is damaged, naming the file and the way out.
        """
        failed = folder == "failures"
        if study is None:
            named: list[tuple[str, Any]] = [(path.stem, None) for path in sorted((self.folder / folder).glob("*.json"))]
        else:
            kept = self.study(study)
            named = [*kept["names"].items(), *((key, None) for key in kept["trials"] if failed)]
        there = [
            (path, names)
            for key, names in named
            if (path := self._path(folder, key)).exists() and not (failed and key in self)
        ]
        return [_checked(path) | ({"names": names} if names else {}) for path, names in there]

    def table(self, study: str | None = None) -> pd.DataFrame:
        """A row a finished run: its names, budget, metrics on the test images, and costs."""
        import pandas as pd

        tuned = tuple(self.study(study)["definition"].get("tuning", ())) if study else ()
        rows = [_row(record, tuned) for record in self.records(study) if record["metrics"]]
        return pd.DataFrame(rows, columns=_columns())

    def history(self, study: str | None = None) -> pd.DataFrame:
        """A row an evaluation of each run, as in Run.history, with the run's key."""
        return self._tables("history", study)

    def predictions(self, study: str | None = None) -> pd.DataFrame:
        """A row a test image of each run and student: key, student, image, label, predicted, probabilities (list)."""
        return self._tables("predictions", study)

    def failures(self, study: str | None = None) -> pd.DataFrame:
        """A row a run that failed: key, names, error and its message."""
        import pandas as pd

        rows = [
            {"key": record["key"], "fraction": record["fraction"], "seed": record["seed"]}
            | {name: record["names"][name] for name in ("data", "pair", "method", "label")}
            | {"error": record["error"]["type"], "message": record["error"]["message"]}
            for record in self.records(study, "failures")
        ]
        columns = ["key", "data", "pair", "fraction", "method", "label", "seed", "error", "message"]
        return pd.DataFrame(rows, columns=columns)

    def _path(self, folder: str, key: str) -> Path:
        return self.folder / folder / f"{key}{'.json' if folder in ('runs', 'failures') else '.parquet'}"

    def _tables(self, folder: str, study: str | None) -> pd.DataFrame:
        import pandas as pd

        wanted = [record["key"] for record in self.records(study)]
        paths = [path for key in wanted if (path := self._path(folder, key)).exists()]
        tables = [_read_table(path) for path in paths]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["key"])


def _columns() -> list[str]:
    names = ["key", "data", "pair", "fraction", "method", "label", "seed", "steps", "batch_size", "size", "budget"]
    metrics = [*METRICS, "auxiliary_accuracy", "ensemble_accuracy", "val_accuracy", "best_step"]
    made = ["peak_memory_mb", "lr", "weight_decay", "device", "data_id", "weights", "settings"]
    return [*names, *metrics, "seconds", "images_per_second", *COSTS, *made]


def _row(record: dict[str, Any], tuned: tuple[str, ...]) -> dict[str, Any]:
    training, metrics = Training(**record["config"]["training"]), record["metrics"]
    others = {
        f"{name}_accuracy": metrics[name]["accuracy"] if name in metrics else float("nan")
        for name in ("auxiliary", "ensemble")
    }
    row = {
        **record,
        **record["names"],
        **metrics["main"],
        **others,
        **record["cost"],
        "steps": training.steps,
        "lr": training.lr,
        "weight_decay": training.weight_decay,
        "data_id": record["config"]["data"],
        "weights": None if record["config"]["initializer"] == "native" else record["config"]["weights"],
        "settings": _settings(training, tuned),
        "budget": budget(training, record["size"]),
        "device": record["machine"]["gpu"] or record["machine"]["device"],
        "seconds": record["seconds"] + record["teacher_seconds"],
    }
    return {name: row[name] for name in _columns()}


def _settings(training: Training, tuned: tuple[str, ...]) -> str:
    """What else must be alike in one table, beside the budget: all that the study does not tune."""
    free = (*BUDGET, *tuned, "seed")
    return ", ".join(f"{key} {value}" for key, value in asdict(training).items() if key not in free)


def _checked(path: Path) -> dict[str, Any]:
    record = _read_json(path)
    if record.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {record.get('format')!r}, this version reads {FORMAT}: delete it, run the study again"
        )
    known = KNOWN + (MEASURED if record.get("status") == "done" else ())
    if missing := [name for name in known if name not in record]:
        raise ValueError(f"{path} is damaged (no {missing[0]!r}): delete it, and run the study again to make this run")
    return record


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete it, and run the study again to make what it held"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged (it holds no record): delete it, and run the study again")
    return found


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(_without_nan(content), indent=1, allow_nan=False)
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def _without_nan(value: Any) -> Any:
    """The same with null for nan and infinities, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete it and runs/{path.stem}.json, and run the study again"
        ) from error
