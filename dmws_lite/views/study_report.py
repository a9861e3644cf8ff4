"""The report of a study: one self-contained HTML page, and its tables as Markdown."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.text import plain
from dmws_lite.studies.methods import METHODS
from dmws_lite.studies.run import METRICS
from dmws_lite.studies.statistics import check_comparable
from dmws_lite.studies.study import Study
from dmws_lite.views.study_blocks import markdown
from dmws_lite.views.study_material import Material
from dmws_lite.views.study_sections import sections

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.studies.store import Store


def write_report(
    store: Store, out: str | Path, study: str | None = None, reference: str | None = None, metric: str = "accuracy"
) -> list[Path]:
    """Write `out/report.html` and `out/report.md`; the same store gives the same files, bit for bit.

    study:     a study in the store; None is its only study, or, where it has several, all runs.
    reference: the method that others are compared with; None is the study's, or else "default" or the first there is.
    metric:    accuracy, balanced_accuracy, macro_f1, auroc or ece, of the main student on the test images.
    Returns the two paths.
    Raises ValueError for a store without finished runs, an unknown study, reference or metric, and for runs that may
    not be compared (see check_comparable); PermissionError or OSError when the files cannot be written.

    >>> write_report(Store("outputs/studies/smoke"), "outputs/studies/smoke")  # doctest: +SKIP
    """
    from jinja2 import Environment

    if metric not in METRICS:
        raise ValueError(f"metric={metric!r} is none of {', '.join(METRICS)}: choose one of them")
    known = store.studies()
    if study is None and len(known) == 1:
        study = known[0]
    table = _in_order(store.table(study))
    if table.empty:
        raise ValueError(_nothing(store, study))
    check_comparable(table)
    definition = store.study(study)["definition"] if study else {}
    material = Material(store, study, table, reference or _reference(table, definition), metric)
    found = sections(material)
    title = plain(": ".join(filter(None, [study or "All runs of a store", definition.get("question")])))
    template = (files("dmws_lite") / "views" / "study_report.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True).from_string(template).render(title=title, sections=found)
    texts = {"report.html": page, "report.md": markdown(found, title)}
    folder = writable_folder(out)
    return [
        write_atomically(folder / name, lambda part, text=text: part.write_text(text, encoding="utf-8"))  # type: ignore[misc]
        for name, text in texts.items()
    ]


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Data, pairs and fractions by name, methods in the order of METHODS with variants last, then seeds."""
    place = {name: f"{i:03d}" for i, name in enumerate(METHODS)}
    order = table.assign(place=[place.get(name, f"~{name}") for name in table["method"]])
    return table.loc[order.sort_values(["data", "pair", "fraction", "place", "seed"]).index].reset_index(drop=True)


def _reference(table: pd.DataFrame, definition: dict) -> str | None:
    """The study's reference, if it has finished runs; for runs of no study "default", or the first method."""
    there = list(table["method"].unique())
    if definition:
        wanted = definition.get("reference", Study.model_fields["reference"].default)
        return wanted if wanted in there else None
    return "default" if "default" in there else there[0]


def _nothing(store: Store, study: str | None) -> str:
    """Why there is nothing to report, and the way out."""
    failures = store.failures(study)
    what = f"store {store.folder} has no finished run" + (f" of the study {study!r}" if study else "")
    if failures.empty:
        return f"{what}: make some with `dmws study run`"
    first = failures.iloc[0]
    return f"{what}; {len(failures)} failed, the first with {first['error']} ({first['message']}): correct that"
