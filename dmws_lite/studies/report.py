"""The report of a study: notebooks/report.ipynb, run on a store and saved as one page without its code."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dmws_lite.runtime.files import write_atomically
from dmws_lite.runtime.notebooks import course_folder, run_notebook
from dmws_lite.runtime.text import escape_markdown, plain, require
from dmws_lite.studies.run import METRICS
from dmws_lite.studies.statistics import check_comparable

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.studies.store import Store

HIDDEN = {"remove", "parameters", "injected-parameters"}  # tags of cells that the page leaves out
TEMPLATE = Path(__file__).with_name("report.html.j2")
WITHOUT_PICTURES = "{%- extends 'markdown/index.md.j2' -%}{%- block data_png -%}{%- endblock -%}"


def write_report(
    store: Store, out: str | Path, study: str | None = None, reference: str | None = None, metric: str = "accuracy"
) -> list[Path]:
    """Write `out/report.html` and `out/report.md`, and beside them report.ipynb, in which the report can be changed.

    study:     a study in the store; None is its only study, or, where it has several, all runs.
    reference: the method that others are compared with; None is the study's, weight_selection or the first there is.
    metric:    one of METRICS, of the main student on the test images.
    Returns the two paths; a report of the same runs by the same notebook is kept as it is.
    """
    require("metric", metric, METRICS)
    study = store.studies()[0] if study is None and len(store.studies()) == 1 else study
    definition, table = store.study(study)["definition"] if study else {}, store.table(study)
    failures = store.failures(study)
    if table.empty:
        errors = [f"{row.error} ({row.message})" for row in failures.itertuples()]
        hint = f"{len(errors)} failed, the first with {errors[0]}" if errors else "make some with `dmws study run`"
        raise ValueError(f"store {store.folder} has no finished run of {study or 'any study'}: {hint}")
    check_comparable(table)
    methods = list(table["method"].unique())
    require("reference", reference or methods[0], methods)
    usual = "weight_selection" if "weight_selection" in methods else methods[0]
    reference = reference or definition.get("reference", usual)
    parameters = {"store": str(store.folder.resolve()), "study": study or "", "metric": metric}
    parameters["reference"] = reference if reference in methods else ""
    source = course_folder() / "report.ipynb"
    inputs = [source.read_text(encoding="utf-8"), TEMPLATE.read_text(encoding="utf-8"), repr([parameters, definition])]
    inputs += [rows.to_json() for rows in (table, failures, store.missing(study))]
    digest = f"dmws-lite {hashlib.sha256(''.join(inputs).encode()).hexdigest()[:16]}"
    pages = [Path(out) / f"report{suffix}" for suffix in (".html", ".md")]
    if all(page.is_file() for page in pages) and digest in pages[0].read_text(encoding="utf-8", errors="replace"):
        return pages
    executed = run_notebook(source, out, parameters, html=False, replace=True)
    title = ": ".join(filter(None, [study or "All runs", definition.get("question")]))
    return _export(executed, {"title": plain(title), "mark": digest})


def _export(executed: Path, resources: dict[str, str]) -> list[Path]:
    """The executed notebook without its code, as a page and as Markdown (without its pictures)."""
    import nbformat
    from nbconvert import HTMLExporter, MarkdownExporter

    notebook = nbformat.read(executed, as_version=4)
    cells = [cell for cell in notebook.cells if not HIDDEN & set(cell.metadata.get("tags", []))]
    notebook.cells = [cell for cell in cells if cell.cell_type == "markdown" or cell.outputs]
    html = HTMLExporter(anchor_link_text="", exclude_output_prompt=True)
    page, paths = TEMPLATE.read_text(encoding="utf-8"), []
    for exporter, template, suffix in ((html, page, ".html"), (MarkdownExporter(), WITHOUT_PICTURES, ".md")):
        exporter.exclude_input, exporter.raw_template = True, template
        text = exporter.from_notebook_node(notebook, resources=dict(resources))[0]
        content = re.sub(r"\n{3,}", "\n\n", text).encode()
        paths.append(write_atomically(executed.with_suffix(suffix), partial(Path.write_bytes, data=content)))
    return paths


def markdown_table(caption: str, table: pd.DataFrame) -> str:
    """A table with its caption in Markdown, a dash where a cell has no value."""
    cells = [list(table), *table.astype(object).where(table.notna(), "–").to_numpy().tolist()]
    header, *rows = (f"| {' | '.join(escape_markdown(str(cell)) for cell in row)} |" for row in cells)
    return "\n".join([f"**{escape_markdown(caption)}**", "", header, "|" + " --- |" * table.shape[1], *rows])
