"""What a report is made from: the runs of a study, which of them are missing or failed, and how to make them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dmws_lite.runtime.text import plain
from dmws_lite.studies.claims import claims
from dmws_lite.studies.statistics import differences, image_interval
from dmws_lite.views.study_blocks import Block, number, table_block

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.studies.store import Store

MESSAGE = 300  # characters of an error
RESAMPLES = 1000  # of the test images


@dataclass
class Material:
    """What a report is made from.

    study:     the study's name; None for all runs of the store.
    table:     a row a finished run, as `Store.table` gives it.
    reference: the method that the others are compared with; None where it has no finished run.
    """

    store: Store
    study: str | None
    table: pd.DataFrame
    reference: str | None
    metric: str
    history: pd.DataFrame = field(init=False)
    predictions: pd.DataFrame = field(init=False)
    records: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        done = set(self.table["key"])
        self.records = [record for record in self.store.records(self.study) if record["key"] in done]
        self.failures = self.store.failures(self.study)
        names = self.store.studies() if self.study is None else [self.study]
        self.studies = {name: self.store.study(name) for name in names}
        self.missing = self.store.missing(self.study).to_dict("records")
        self.words = self.metric.replace("_", " ")
        self.gaps = differences(self.table, self.reference, self.metric) if self.reference else None
        self.claims = claims(self.table, self.reference, self.metric) if self.reference else []
        self.history = self.store.history(self.study)
        self.predictions = _of_main_students(self.store.predictions(self.study))
        self.images = {
            str(key): (rows[["image", "label"]].reset_index(drop=True), np.stack(rows["probabilities"].to_list()))
            for key, rows in self.predictions.groupby("key", sort=False)
        }
        self.labels = dict(zip(self.table["method"], self.table["label"], strict=True))

    def by_fraction(self) -> Iterator[tuple[float, pd.DataFrame]]:
        yield from self.table.groupby("fraction")

    def over_images(self, runs: pd.DataFrame, method: str) -> tuple[float, float] | None:
        """The interval over test images of a method's accuracy difference to the reference, in the runs of one group.

        None where the two have no seed in common, where predictions of one are missing, or are not of the same images.
        """
        keys = runs.pivot(index="seed", columns="method", values="key")
        wanted = keys.reindex(columns=[method, self.reference]).dropna().to_numpy().T.ravel()
        found = [self.images[key] for key in wanted if key in self.images]
        if not found or len(found) < len(wanted) or not all(names.equals(found[0][0]) for names, _ in found):
            return None
        mine, others = np.split(np.stack([probabilities for _, probabilities in found]), 2)
        return image_interval(mine, others, found[0][0]["label"].to_numpy(), RESAMPLES)[1:]


def _of_main_students(predictions: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    if predictions.empty:
        return pd.DataFrame(columns=["key", "student", "image", "label", "predicted", "probabilities"])
    return predictions[predictions["student"] == "main"]


def what_was_run(m: Material) -> list[Block]:
    import pandas as pd

    images = {(r["names"]["data"], r["fraction"]): r["images"] for r in m.records}
    counts = [
        f"{data}, {100 * part:g} %: {', '.join(f'{n} {split}' for split, n in found.items())}"
        for (data, part), found in sorted(images.items())
    ]
    versions = sorted({", ".join(f"{name} {v}" for name, v in r["versions"].items()) for r in m.records})
    devices = sorted({_machine(r["machine"]) for r in m.records})
    revisions = sorted({r["git"] or "unknown (an installed package)" for r in m.records})
    rows = {
        "runs": f"{len(m.table)} finished, {len(m.failures)} failed, {len(m.missing)} missing",
        "images": "; ".join(counts),
        "teacher → student": "; ".join(m.table["pair"].unique()),
        "methods": len(m.labels),
        "seeds": ", ".join(str(seed) for seed in sorted(m.table["seed"].unique())),
        "budget of a run": "; ".join(m.table["budget"].unique()),
        "tuning": "; ".join(_tuning(known) for known in m.studies.values()) or "unknown: these runs are of no study",
        "device": "; ".join(devices),
        "versions": "; ".join(versions),
        "git revision": "; ".join(revisions),
        "made": f"{min(r['started'] for r in m.records)} to {max(r['finished'] for r in m.records)}",
        "training time": f"{m.table['seconds'].sum() / 3600:.3g} h in all",
    }
    blocks = [table_block("What was run", pd.DataFrame({"what": rows.keys(), "value": rows.values()}))]
    risk = "differences may come from these, not from the methods"
    for what, found in (("versions", versions), ("devices", devices), ("git revisions", revisions)):
        if len(found) > 1:
            blocks.append(Block("warning", plain(f"{len(found)} {what} are mixed ({'; '.join(found)}): {risk}")))
    for what, there in (("predictions", m.predictions), ("history", m.history)):
        if without := [key for key in m.table["key"] if key not in set(there["key"])]:
            text = (
                f"{len(without)} finished runs have no {what} in the store ({_few(without)}): they are left out where"
            )
            text += " these are needed. Delete their files in the store's folder runs, and run the study again"
            blocks.append(Block("warning", text))
    if m.missing:
        text = f"{len(m.missing)} runs are missing: run the study again, and only they are made"
        lacking = pd.DataFrame(m.missing).assign(fraction=lambda rows: rows["fraction"].map(number("g")))
        seeds = lacking.groupby(["data", "pair", "fraction", "label"], sort=False)["seed"]
        listed = seeds.agg(lambda found: ", ".join(map(str, found))).rename("seeds").reset_index()
        listed = listed.rename(columns={"label": "method"})
        blocks += [Block("warning", text), table_block("Missing runs", listed)]
    return blocks


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _machine(machine: dict[str, Any]) -> str:
    device = machine["gpu"] or f"{machine['device']} (threads of a run: {machine['threads']})"
    return f"{device}, {machine['processor']}, {machine['platform']}"


def _tuning(known: dict[str, Any]) -> str:
    tried = known["definition"].get("tuning")
    if not tried:
        return "nothing was tuned: every method has the same settings"
    values = "; ".join(f"{name} from {', '.join(map(str, found))}" for name, found in tried.items())
    return f"{values}: chosen on validation with one more seed"


def methods(m: Material) -> list[Block]:
    import pandas as pd

    names = {record["names"]["method"]: record["names"] for record in m.records}
    rows = [(names[name]["label"], name, names[name]["definition"]) for name in m.labels]
    return [table_block("The methods", pd.DataFrame(rows, columns=["method", "name", "what it is"]))]


def failures(m: Material) -> list[Block]:
    if m.failures.empty:
        return []
    table = m.failures[["data", "pair", "fraction", "label", "seed", "error", "message"]].astype({"fraction": str})
    table["message"] = [text if len(text) <= MESSAGE else f"{text[:MESSAGE]}…" for text in table["message"]]
    text = "Run the study again to try these once more; the records in the store's folder failures hold the tracebacks."
    return [Block("text", text), table_block("Runs that failed", table.rename(columns={"label": "method"}))]


def again(m: Material) -> list[Block]:
    import yaml

    blocks = []
    for name, known in m.studies.items():
        quoted, folder = shlex.quote(f"{name}.yaml"), shlex.quote(f"outputs/studies/{name}")
        options = "" if m.metric == "accuracy" else f" --metric {m.metric}"
        options += f" --reference {shlex.quote(m.reference)}" if m.reference else ""
        commands = [f"dmws study run {quoted}", f"dmws study report {folder} --study {shlex.quote(name)}{options}"]
        text = yaml.safe_dump(known["definition"], sort_keys=False, allow_unicode=True, width=100).rstrip()
        blocks += [Block("text", plain(f"Save this as {name}.yaml:")), Block("code", plain(text, keep="\n"))]
        blocks += [Block("text", "and run:"), Block("code", plain("\n".join(commands), keep="\n"))]
    return blocks
