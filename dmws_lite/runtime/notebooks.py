"""Running the course's notebooks: with parameters, with their output on the screen, and with every error found."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.parameters import typed
from dmws_lite.runtime.progress import TEXT_ONLY
from dmws_lite.runtime.text import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = Path(__file__).parents[1]
EXTRA = "running notebooks needs more packages: pip install 'dmws-lite[notebooks]'"
ALT_TEXTS = """{%- extends 'TEMPLATE/index.html.j2' -%}
{%- block data_png scoped -%}
{%- set alt = output | get_metadata('alt', 'image/png') -%}
{{ super() | replace('<img ', '<img alt="%s" ' | format(alt | escape_html), 1) if alt else super() }}
{%- endblock data_png -%}"""


def course_folder() -> Path:
    """The folder of the course: of the installed package, or of the checkout."""
    shipped = PACKAGE / "_notebooks"
    return shipped if shipped.is_dir() else PACKAGE.parent / "notebooks"


def notebooks() -> dict[str, Path]:
    """The course's chapters by name, in order."""
    return {path.stem: path for path in sorted(course_folder().glob("[0-9]*.ipynb"))}


def find_notebook(name: str) -> Path:
    """The notebook called `name`: a chapter's number ("00"), its title ("quickstart"), both, or a file.

    Raises ValueError for an unknown name, with the chapters; FileNotFoundError for a file that is not there.
    """
    if name.endswith(".ipynb"):
        if not Path(name).is_file():
            raise FileNotFoundError(f"notebook {name} does not exist: pass a name from `dmws notebooks list`")
        return Path(name)
    names = {name: path for stem, path in notebooks().items() for name in (stem, *stem.split("_", 1))}
    if name not in names:
        raise ValueError(f"unknown notebook {name!r}{did_you_mean(name, names)}: choose from {', '.join(notebooks())}")
    return names[name]


def defaults(path: str | Path) -> dict[str, str]:
    """The parameters of a notebook and their default values, as source text."""
    try:
        from papermill import inspect_notebook
    except ImportError as error:
        raise ImportError(EXTRA) from error
    return {name: parameter["default"] for name, parameter in inspect_notebook(str(path)).items()}


def run_notebook(
    path: str | Path,
    out: str | Path,
    parameters: Mapping[str, Any] | None = None,
    cell_limit: int | None = None,
    html: bool = True,
) -> Path:
    """Execute a notebook with parameters, with its output on the screen, and make an HTML page of it.

    out:        the folder that receives NAME.ipynb and NAME.html, also when a cell fails.
    parameters: by name, of the types that their defaults have (see `runtime.parameters.typed`); `output` is `out` if
                it is not given.
    cell_limit: seconds that a cell may take; None: any time.
    html:       whether to make the page.
    Returns the executed notebook's path.
    Raises ValueError for an unknown or mistyped parameter, PermissionError when `out` can't be written,
    FileExistsError when it is the notebook's own folder,
    RuntimeError when a cell failed or took too long, or a widget's callback failed (papermill alone would not notice).
    """
    path = Path(path)
    types = defaults(path)
    values = typed(parameters or {}, types, path.name)
    executed = writable_folder(out) / path.name
    if "output" in types:
        values = {"output": str(executed.parent.resolve())} | values
    if executed.exists() and executed.samefile(path):
        raise FileExistsError(f"{executed} is the notebook itself, and would be overwritten: pass another folder")
    try:
        _execute(path, executed, values, cell_limit)
    finally:
        if html and executed.is_file():
            write_html(executed)
    errors = widget_errors(executed)
    if errors:
        raise RuntimeError(f"{path.name}: a widget's callback failed ({'; '.join(errors)}): see {executed}")
    return executed


def run_batch(path: Path, out: Path, sets: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Run a notebook once for each set of parameters, into the subfolders `out/01`, `out/02`, ...

    Returns, and writes to out/summary.csv, one row per run: run, its parameters, and the error if it failed.
    Raises ValueError, before anything runs, for the first set with an unknown or mistyped parameter.
    """
    import pandas as pd

    types, summary = defaults(path), pd.DataFrame()
    rows = [{"run": f"{number:02}"} | typed(values, types, path.name) for number, values in enumerate(sets, 1)]
    for row in rows:
        print(f"==> run {row['run']} of {len(rows)}", flush=True)
        try:
            run_notebook(path, out / row["run"], {name: value for name, value in row.items() if name in types})
            row["error"] = ""
        except (RuntimeError, OSError) as error:
            row["error"] = str(error)
        summary = pd.DataFrame(rows, dtype=object).fillna("")
        summary.to_csv(out / "summary.csv", index=False)
    return summary


def widget_errors(path: str | Path) -> list[str]:
    """Errors raised in widget callbacks of an executed notebook, which hide in its saved widget state."""
    import nbformat

    widgets = nbformat.read(path, as_version=4).metadata.get("widgets", {})
    models = widgets.get("application/vnd.jupyter.widget-state+json", {}).get("state", {}).values()
    outputs = [o for m in models if m.get("model_name") == "OutputModel" for o in m.get("state", {}).get("outputs", [])]
    return [f"{o['ename']}: {o['evalue']}" for o in outputs if o.get("output_type") == "error"]


def write_html(path: str | Path, **options: Any) -> Path:
    """Make an HTML page of a notebook, beside it; options are nbconvert's, such as exclude_input=True."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(**options)
    exporter.raw_template = with_alt_texts("lab")
    page, _ = exporter.from_filename(str(path))
    return write_atomically(Path(path).with_suffix(".html"), lambda part: part.write_text(page, encoding="utf-8"))


def with_alt_texts(template: str) -> str:
    """A template of nbconvert ("lab", "reveal"), but with the alt texts that pictures bring along in their metadata."""
    return ALT_TEXTS.replace("TEMPLATE", template)


def _execute(path: Path, executed: Path, parameters: dict[str, Any], cell_limit: int | None) -> None:
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    os.environ[TEXT_ONLY] = "1"  # the kernel inherits it: nobody sees its progress bars' widgets
    try:
        execute_notebook(
            path,
            executed,
            parameters,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            coalesce_streams=True,
            execution_timeout=cell_limit,
            extra_arguments=["--log-level=ERROR"],
        )
    except PapermillExecutionError as error:
        raise RuntimeError(
            f"{path.name}, cell {error.exec_count}: {error.ename}: {error.evalue} (the notebook so far is {executed})"
        ) from error
    except (CellTimeoutError, DeadKernelError) as error:
        reason = f"a cell took longer than {cell_limit} s" if isinstance(error, CellTimeoutError) else str(error)
        raise RuntimeError(f"{path.name}: {reason} (the notebook so far is {executed})") from error
