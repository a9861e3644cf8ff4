"""The report of a study: notebooks/report.ipynb, run on a store and saved as one page without its code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from dmws_lite.runtime.files import write_atomically
from dmws_lite.runtime.notebooks import course_folder, run_notebook
from dmws_lite.runtime.text import plain
from dmws_lite.studies.run import METRICS
from dmws_lite.studies.statistics import check_comparable

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.studies.store import Store

HIDDEN = {"remove", "parameters", "injected-parameters"}  # tags of cells that the page leaves out
WITHOUT_PICTURES = "{%- extends 'markdown/index.md.j2' -%}{%- block data_png -%}{%- endblock -%}"


def write_report(
    store: Store, out: str | Path, study: str | None = None, reference: str | None = None, metric: str = "accuracy"
) -> list[Path]:
    """Write `out/report.html` and `out/report.md`, and beside them report.ipynb, in which the report can be changed.

    study:     a study in the store; None is its only study, or, where it has several, all runs.
    reference: the method that others are compared with; None is the study's, or else weight_selection, default or the
               first there is.
    metric:    accuracy, balanced_accuracy, macro_f1, auroc or ece, of the main student on the test images.
    Returns the two paths. The page is one file that fetches nothing and needs no scripts.
    Raises ValueError for a store without finished runs, an unknown study, reference or metric, and for runs that may
    not be compared (see check_comparable); PermissionError or OSError when the files cannot be written.
    """
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r} is none of {', '.join(METRICS)}: choose one of them")
    names = store.studies()
    study = names[0] if study is None and len(names) == 1 else study
    table = store.table(study)
    if table.empty:
        raise ValueError(_why_empty(store, study))
    check_comparable(table)
    definition = store.study(study)["definition"] if study else {}
    reference = _reference(table, reference, definition)
    parameters = {"store": str(Path(store.folder).resolve()), "study": study or "", "reference": reference}
    executed = run_notebook(course_folder() / "report.ipynb", out, parameters | {"metric": metric}, html=False)
    return _export(executed, plain(": ".join(filter(None, [study or "All runs", definition.get("question")]))))


def _reference(table: pd.DataFrame, reference: str | None, definition: dict) -> str:
    """The method to compare with; "" where the study's own reference has no finished run."""
    methods = list(table["method"].unique())
    if reference is not None and reference not in methods:
        raise ValueError(f"reference={reference!r} is not in the table: choose one of {', '.join(methods)}")
    usual = next((name for name in ("weight_selection", "default") if name in methods), methods[0])
    chosen = reference or definition.get("reference") or usual
    return chosen if chosen in methods else ""


def _why_empty(store: Store, study: str | None) -> str:
    failures = store.failures(study)
    what = f"store {store.folder} has no finished run" + (f" of the study {study!r}" if study else "")
    if failures.empty:
        return f"{what}: make some with `dmws study run`"
    first = failures.iloc[0]
    return f"{what}; {len(failures)} failed, the first with {first['error']} ({first['message']}): correct that"


def _export(executed: Path, title: str) -> list[Path]:
    """The executed notebook without its code, as a page and as Markdown (without its pictures)."""
    import nbformat
    from nbconvert import HTMLExporter, MarkdownExporter

    notebook = nbformat.read(executed, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not HIDDEN & set(cell.metadata.get("tags", []))]
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "markdown" or cell.outputs]
    page = Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    html = HTMLExporter(anchor_link_text="", exclude_output_prompt=True)
    paths = []
    for exporter, template, suffix in ((html, page, ".html"), (MarkdownExporter(), WITHOUT_PICTURES, ".md")):
        exporter.exclude_input, exporter.raw_template = True, template
        text, _ = exporter.from_notebook_node(notebook, resources={"title": title})
        text, path = re.sub(r"\n{3,}", "\n\n", text), executed.with_suffix(suffix)
        paths.append(write_atomically(path, lambda part, text=text: part.write_text(text, encoding="utf-8")))
    return paths


def markdown_table(caption: str, table: pd.DataFrame) -> str:
    """A table with its caption in Markdown, a dash where a cell has no value.

    >>> import pandas as pd
    >>> print(markdown_table("Seeds", pd.DataFrame({"method": ["a|b"], "n": [3]})))
    **Seeds**
    <BLANKLINE>
    | method | n |
    | --- | --- |
    | a\\|b | 3 |
    """
    cells = [list(table), *table.astype(object).where(table.notna(), "–").to_numpy().tolist()]
    head, *rows = (f"| {' | '.join(escape_markdown(str(cell)) for cell in row)} |" for row in cells)
    return "\n".join([f"**{escape_markdown(caption)}**", "", head, "|" + " --- |" * table.shape[1], *rows])


def escape_markdown(text: str) -> str:
    r"""Text in which Markdown finds no table, HTML, link, emphasis, code or formula.

    >>> print(escape_markdown("a|b <i> [x](y) 0.5 [0.4, 0.6]"))
    a\|b &lt;i&gt; [x\](y) 0.5 [0.4, 0.6]
    """
    text = plain(text.replace("\n", " ")).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*|$~#]|\](?=[(\[:])|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
