"""The pages claim.md and beyond.md and the README's findings, made again from the stored runs of two studies.

`python docs/findings.py` reads benchmarks/studies/*.parquet; with folders of run stores (`python docs/findings.py
outputs/studies/claim outputs/studies/beyond`) their runs are added to these files first, without images and
predictions. A file belongs to the study that its name begins with: claim.parquet, claim_mobilenet.parquet,
beyond.parquet.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import beyond_page
import claim_page
import evidence
import numpy as np
import pandas as pd

from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.studies.run import METRICS
from dmws_lite.studies.store import NAMES, Store
from dmws_lite.training.evaluation import BINS

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "studies"
COLUMNS = ["key", *NAMES, "steps", "study_steps", "size", "budget", "settings", "data_id", "weights", *METRICS]
COLUMNS += ["ensemble_accuracy", "val_accuracy", "seconds", "hours", "finished", "error"]
COLUMNS += ["curve_seconds", "curve_accuracy", "bin_images", "bin_confidence", "bin_right"]
MARKS = "<!-- findings -->\n", "<!-- end of findings -->"
EDGES = np.linspace(0, 1, BINS + 1)[1:-1]


def collect(folder: Path) -> pd.DataFrame:
    """One row per run of a store: names, metrics, costs, its curve on validation, its confidence on test in bins.

    A run that failed has its message in the column error. The curve of a method whose moving average is tested is that
    of the moving average.
    """
    store = Store(folder)
    table, rows = store.table(""), []
    for record in store.records(""):
        start, end = pd.Timestamp(record["started"]), pd.Timestamp(record["finished"])
        history = pd.read_parquet(folder / "history" / f"{record['key']}.parquet")
        curve = "auxiliary_accuracy" if record["config"].get("evaluated") == "auxiliary" else "val_accuracy"
        row = {
            "key": record["key"],
            "study_steps": record.get("study_training", record["config"]["training"])["steps"],
            "hours": (end - start).total_seconds() / 3600,
            "finished": record["finished"],
            "curve_seconds": history["seconds"].cumsum().to_numpy(np.float32),
            "curve_accuracy": history[curve].to_numpy(np.float32),
        }
        rows.append(row | _bin_confidence(folder / "predictions" / f"{record['key']}.parquet"))
    table = table.merge(pd.DataFrame(rows), on="key") if rows else table
    failures = store.failures("").assign(error=lambda failed: failed["message"])
    tables = [rows for rows in (table, failures) if len(rows)]
    return pd.concat(tables).reindex(columns=COLUMNS) if tables else pd.DataFrame(columns=COLUMNS)


def _bin_confidence(path: Path) -> dict[str, np.ndarray]:
    """The main student's test images in bins of confidence: images, sum of confidences, right answers per bin."""
    answers = pd.read_parquet(path, columns=["student", "label", "predicted", "probabilities"])
    answers = answers[answers["student"] == "main"]
    confidence = np.stack(answers["probabilities"]).max(1)
    bins, right = np.digitize(confidence, EDGES, right=True), (answers["label"] == answers["predicted"]).to_numpy()
    weights = {"bin_images": np.ones(len(bins)), "bin_confidence": confidence, "bin_right": right}
    return {name: np.bincount(bins, w, BINS).astype(np.float32) for name, w in weights.items()}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python docs/findings.py", description=__doc__)
    parser.add_argument("stores", nargs="*", type=Path, help="run stores whose runs are added to RECORDS/NAME.parquet")
    parser.add_argument("--records", type=Path, default=RECORDS, help="the folder of the runs' tables")
    parser.add_argument("--out", type=Path, default=ROOT, help="the repository that the pages are written to")
    options = parser.parse_args(arguments)
    for folder in options.stores:
        try:
            table = collect(folder)
        except (OSError, ValueError) as error:
            parser.error(str(error))
        path = options.records / f"{folder.resolve().name}.parquet"
        if path.exists():
            recorded = pd.read_parquet(path)
            table = pd.concat([recorded[recorded["error"].isna()], table]).drop_duplicates("key")
        write_atomically(path, lambda part, t=table: t.to_parquet(part, index=False, compression="zstd"))
    claim, beyond = (evidence.read(options.records, name) for name in ("claim", "beyond"))
    if claim.empty and beyond.empty:
        parser.error(f"{options.records} holds no runs: pass the folder of a run store that holds some")
    docs = writable_folder(options.out / "docs")
    claim_page.write(claim, beyond, docs)
    beyond_page.write(beyond, docs)
    readme = options.out / "README.md"
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
        lines = evidence.overview(claim_page.headlines(claim), beyond_page.headlines(beyond), docs)
        readme.write_text(re.sub("(?s)(?<={}).*(?={})".format(*MARKS), lambda _: lines, text), encoding="utf-8")
    print(f"{len(claim)} runs of claim, {len(beyond)} of beyond: open {docs / 'claim.md'} and {docs / 'beyond.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
