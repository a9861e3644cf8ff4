"""Running the course's notebooks: with parameters, with their output on the screen, and with every error found."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmws_lite.runtime.files import claim, writable_folder, write_atomically
from dmws_lite.runtime.parameters import typed
from dmws_lite.runtime.progress import TEXT_ONLY
from dmws_lite.runtime.report import load_extra
from dmws_lite.runtime.text import require, shorten

if TYPE_CHECKING:
    import pandas as pd
    from nbformat import NotebookNode

PACKAGE = Path(__file__).parents[1]
KERNEL_DIED = (
    "the kernel died. Most often it ran out of memory and the system ended it: take fewer or smaller images, or a "
    "machine with more; else compiled code in this cell crashed, or a cell called exit()"
)
OUTPUT_LIMIT = 600  # seconds for output that is still on its way when its cell has ended
PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
# What nbconvert's templates for pages and slides lack: alt texts, and plotly figures beside their pictures
PICTURES = """{%- block data_png scoped -%}
{%- set alt = output | get_metadata('alt', 'image/png') -%}
{{ super() | replace('<img ', '<img alt="%s" ' | format(alt | escape_html), 1) if alt else super() }}
{%- if 'PLOTLY' in output.data %}
<script type="PLOTLY">{{ output.data['PLOTLY'] | tojson }}</script>
{%- endif %}
{%- endblock data_png -%}""".replace("PLOTLY", PLOTLY)
# A page without what nbconvert would fetch: require.js, MathJax and Mermaid
OFFLINE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}"""
EXPLORER = {"text/html": "<p><em>An explorer: run the notebook to move it.</em></p>"}  # widgets need a kernel
BADGE = re.compile(r"\[!\[([^\]]*)\]\(https?://[^)]*\)\]\(([^)]*)\)")
FORMULA = re.compile(  # code, a formula on its own, a formula in a line
    r"(?P<code>```.*?```|`[^`\n]*`|\\\$)|\$\$(?P<block>[^$]+)\$\$|\$(?!\s)(?P<inline>[^$\n]+)(?<!\s)\$(?!\d)", re.DOTALL
)
BIG = re.compile(r"\\([bB]igg?)(?![a-zA-Z])")  # docutils knows the one-sided forms only: \bigl, \Bigr, ...


def course_folder() -> Path:
    """The folder of the course: of the installed package, or of the checkout."""
    shipped = PACKAGE / "_notebooks"
    return shipped if shipped.is_dir() else PACKAGE.parent / "notebooks"


def notebooks() -> dict[str, Path]:
    """The course's chapters by name, in order."""
    return {path.stem: path for path in sorted(course_folder().glob("[0-9]*.ipynb"))}


def find_notebook(name: str) -> Path:
    """The notebook called `name`: the beginning of a chapter's name ("00", "0") or title ("quickstart"), or a file."""
    if name.endswith(".ipynb"):
        if not Path(name).is_file():
            raise FileNotFoundError(f"notebook {name} does not exist: pass a name from `dmws notebooks list`")
        return Path(name)
    titles, wanted = {stem: stem.partition("_")[2] for stem in notebooks()}, name.lower()
    wanted = wanted.zfill(2) if wanted.isdigit() else wanted
    matches = [stem for stem, title in titles.items() if name and (stem.startswith(wanted) or title.startswith(wanted))]
    if len(matches) > 1:
        raise ValueError(f"notebook {name!r} may be {' or '.join(matches)}: write more of it")
    require("notebook", matches[0] if matches else name, titles)
    return notebooks()[matches[0]]


def defaults(path: str | Path) -> dict[str, str]:
    """The parameters of a notebook and their default values, as source text."""
    load_extra("papermill", "notebooks", ", and running notebooks needs it")
    from papermill.translators import PythonTranslator

    tagged = [cell for cell in read_notebook(path).cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) > 1:
        text = f"{path} has {len(tagged)} cells with the tag `parameters`, and the later ones would undo what is passed"
        raise ValueError(f"{text}: leave the tag, and the parameters, in one of them")
    return {entry.name: entry.default for cell in tagged for entry in PythonTranslator.inspect(cell)}


def read_notebook(path: str | Path) -> NotebookNode:
    """A notebook of any nbformat, as nbformat 4. Raises ValueError, naming the file, when it is not a notebook."""
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        "".join(cell.source for cell in notebook.cells)
        return notebook
    except OSError:
        raise
    except Exception as error:  # of many kinds, for empty, truncated and strange files
        reason = f"{path} cannot be read as a notebook ({type(error).__name__}: {' '.join(str(error).split())[:100]})"
        raise ValueError(f"{reason}: get it again, or save it again in Jupyter") from error


def pick_kernel(path: str | Path, name: str | None = None) -> str:
    """The kernel to run a notebook with: the one called `name`, else the notebook's own.

    A Python notebook whose kernel is not installed here, or that names none, gets this Python's own, with a warning.
    """
    from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, find_kernel_specs

    installed, facts = find_kernel_specs(), read_notebook(path).metadata
    specification = facts.get("kernelspec") or {}
    wanted = name or specification.get("name") or ""
    if wanted.lower() in installed:
        return wanted
    language = specification.get("language") or (facts.get("language_info") or {}).get("name") or "python"
    fault = f"kernel {wanted!r} is not installed here" if wanted else "it names no kernel"
    reason = f"{Path(path).name}: {fault} (its language: {language})"
    if name or language.lower() not in ("python", "python3", "ipython"):
        raise ValueError(f"{reason}: install it, or pass --kernel with one of {', '.join(installed)}")
    warnings.warn(f"{reason}, so this Python's own kernel runs it (--kernel takes others)", stacklevel=2)
    return NATIVE_KERNEL_NAME


def run_notebook(
    path: str | Path,
    out: str | Path,
    parameters: Mapping[str, Any] | None = None,
    cell_limit: int | None = None,
    html: bool = True,
    kernel: str | None = None,
    replace: bool = False,
) -> Path:
    """Execute a notebook with parameters, with its output on the screen, and make an HTML page of it.

    out:        the folder that receives NAME.ipynb and NAME.html, also when a cell fails. Where another run (other
                parameters, another notebook of that name) has them, or is making them, it is out/run-2, out/run-3, ...
    parameters: by name; text is read as the type of the default. `output` is the folder if it is not given.
    cell_limit: seconds that a cell may take; None: any time.
    replace:    whether the result of another run may be overwritten.
    Returns the executed notebook's path. Raises ValueError before anything runs, RuntimeError when a cell failed or
    took too long, the kernel died, or a widget's callback failed (papermill would not notice).
    """
    path = Path(path)
    values, kernel = typed(parameters or {}, defaults(path), path.name), pick_kernel(path, kernel)
    with _claim_folder(Path(out), path.name, lambda f: _find_earlier(path, f, values, replace) != "other") as folder:
        return _run_into(path, folder, values, kernel, cell_limit, html)


def run_batch(path: Path, out: Path, sets: Sequence[Mapping[str, Any]], kernel: str | None = None) -> pd.DataFrame:
    """Run a notebook once for each set of parameters, into the subfolders `out/01`, `out/02`, ...

    A run that fails does not end the others. The same batch into the same folder goes on where it was interrupted.
    Returns, and writes to summary.csv, one row per run: run, its parameters, its folder, and the error if it failed.
    """
    import pandas as pd

    types, kernel = defaults(path), pick_kernel(path, kernel)
    runs = {f"{n:02}": typed(values, types, f"{path.name}, run {n:02}") for n, values in enumerate(sets, 1)}
    columns = dict.fromkeys(["run", *(name for values in runs.values() for name in values), "folder", "error"])
    rows, summary = [], pd.DataFrame()

    def is_free(folder: Path) -> bool:
        return all(_find_earlier(path, folder / run, values) != "other" for run, values in runs.items())

    with _claim_folder(out, "summary.csv", is_free) as folder:
        for run, values in runs.items():
            error, finished = "", _find_earlier(path, folder / run, values) == "same"
            print(f"==> run {run} of {len(runs)}{': finished before' if finished else ''}", flush=True)
            try:
                if not finished:
                    _run_into(path, writable_folder(folder / run), values, kernel)
            except Exception as failure:  # whatever it is, the others run
                error = str(failure) or type(failure).__name__
            rows.append(values | {"run": run, "folder": str(folder / run), "error": error})
            summary = pd.DataFrame(rows, columns=list(columns), dtype=object).fillna("")
            write_atomically(folder / "summary.csv", partial(summary.to_csv, index=False))
    return summary


def widget_errors(path: str | Path) -> list[str]:
    """Errors raised in widget callbacks of an executed notebook, which hide in its saved widget state."""
    widgets = read_notebook(path).metadata.get("widgets", {})
    errors = []
    for model in widgets.get("application/vnd.jupyter.widget-state+json", {}).get("state", {}).values():
        outputs = model.get("state", {}).get("outputs", []) if model.get("model_name") == "OutputModel" else []
        errors += [f"{o['ename']}: {o['evalue']}" for o in outputs if o.get("output_type") == "error"]
    return errors


def write_html(path: str | Path, page: Path | None = None) -> Path:
    """Make an HTML page of a notebook, beside it or as `page`, that needs no network.

    plotly.js is in it, formulas are MathML (LaTeX where docutils does not know a command), badges become links.
    """
    from nbconvert import HTMLExporter
    from plotly.offline import get_plotlyjs

    exporter, page, notebook = HTMLExporter(), page or Path(path).with_suffix(".html"), read_notebook(path)
    exporter.raw_template = OFFLINE + PICTURES
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(_convert_formula, BADGE.sub(r"[\1](\2)", cell.source))
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                output.data = EXPLORER
    text, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": page.stem}})
    if f'<script type="{PLOTLY}">' in text:
        draw = Path(__file__).with_name("interactive.js").read_text(encoding="utf-8")
        body, end, rest = text.rpartition("</body>")
        library = f"((define, module, exports) => {{{get_plotlyjs()}}})();"  # also where a page has require.js
        text = f"{body}<script>{library}</script><script>{draw}</script>{end}{rest}"
    return write_atomically(page, lambda part: part.write_text(text, encoding="utf-8"))


def to_mathml(formula: str, block: bool) -> str:
    r"""A LaTeX formula as a <math> element; MathError (a ValueError) for what docutils' converter does not know.

    >>> to_mathml(r"\alpha", block=False)
    '<math xmlns="http://www.w3.org/1998/Math/MathML"><mi>α</mi></math>'
    """
    from docutils.utils.math.latex2mathml import tex2mathml

    element = "".join(map(str.strip, tex2mathml(BIG.sub(r"\\\1l", formula.strip())).splitlines()))
    return element.replace("<math ", '<math display="block" ', 1) if block else element


def _convert_formula(match: re.Match[str]) -> str:
    """MathML in place of a formula in Markdown; code stays as it is."""
    if match["code"]:
        return match[0]
    try:
        element = to_mathml(match["block"] or match["inline"], bool(match["block"]))
    except Exception:  # of several kinds, for what is no formula
        return match[0]
    return element.replace("*", "&#42;")  # Markdown would read emphasis


def _add_output(path: Path, folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, with the folder as `output` where the notebook has that one and it is not given."""
    output = {"output": str(folder.resolve())} if "output" in defaults(path) else {}
    return output | dict(values)


@contextmanager
def _claim_folder(out: Path, name: str, is_free: Callable[[Path], bool]) -> Iterator[Path]:
    """The first of `out`, out/run-2, ... that is free; no other process takes it to make `name` in it meanwhile."""
    for number in count(1):
        folder = writable_folder(out / f"run-{number}" if number > 1 else out)
        lock = claim(folder / f".{name}.lock")
        if lock is None:
            continue
        try:
            if is_free(folder):
                if number > 1:
                    text = f"{out} has, or is getting, the result of another run: this one goes to {folder}"
                    warnings.warn(text, stacklevel=4)
                yield folder
                return
        finally:
            lock.release()


def _find_earlier(path: Path, folder: Path, values: Mapping[str, Any], replace: bool = False) -> str:
    """What a folder holds of a notebook: "" (nothing to keep), the "same" run, finished, or an "other" run."""
    executed = folder / path.name
    if executed.exists() and executed.samefile(path):
        raise FileExistsError(f"{executed} is the notebook itself, and would be overwritten: pass another folder")
    if replace or not executed.exists():
        return ""
    earlier = read_notebook(executed)
    facts = earlier.metadata.get("papermill") or {}
    if facts.get("exception"):
        return ""
    cells = [cell.source for cell in earlier.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    same_cells = cells == [cell.source for cell in read_notebook(path).cells]
    return "same" if same_cells and facts.get("parameters") == _add_output(path, folder, values) else "other"


def _run_into(
    path: Path, folder: Path, values: Mapping[str, Any], kernel: str, limit: int | None = None, html: bool = True
) -> Path:
    """Execute a notebook into a folder, as a hidden file that gets its name and its page at the end."""
    import nbformat

    executed, part = folder / path.name, folder / f".{path.stem}.part.ipynb"
    part.unlink(missing_ok=True)  # what a killed run left
    failure = ": it was stopped"
    try:
        failure = _execute(path, part, _add_output(path, folder, values), kernel, limit)
    finally:
        if part.exists():
            notebook = read_notebook(part)
            notebook.metadata.papermill["exception"] = bool(failure)
            nbformat.write(notebook, part)
            if html:
                write_html(part, executed.with_suffix(".html"))
            part.replace(executed)
    if failure:
        kept = f"the notebook so far is {executed}" if executed.exists() else "nothing is left of the run"
        raise RuntimeError(f"{path.name}{failure} ({kept})")
    return executed


def _execute(path: Path, part: Path, parameters: dict[str, Any], kernel: str, limit: int | None) -> str:
    """Run a notebook, saved after each cell as `part`. Returns where and why it failed, "" if it did not."""
    from jupyter_client.kernelspec import get_kernel_spec
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    os.environ[TEXT_ONLY] = "1"  # the kernel inherits it: nobody sees its progress bars' widgets
    try:
        execute_notebook(
            *(str(name).replace("{", "{{").replace("}", "}}") for name in (path, part)),  # papermill formats them
            parameters,
            kernel_name=kernel,
            language=get_kernel_spec(kernel).language,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            coalesce_streams=True,
            execution_timeout=limit,
            iopub_timeout=OUTPUT_LIMIT,
            extra_arguments=["--log-level=ERROR"],
        )
    except PapermillExecutionError as error:
        return f", cell {error.exec_count}: {error.ename}: {error.evalue}"
    except Exception as error:
        if not part.parent.exists():
            return f": its folder {part.parent} was deleted while it ran"
        reasons = {CellTimeoutError: f"it took longer than {limit or OUTPUT_LIMIT} s", DeadKernelError: KERNEL_DIED}
        reason = reasons.get(type(error), f"{type(error).__name__}: {error}")
        cell = _describe_last_cell(part) or f": kernel {kernel!r} did not start (--kernel takes others)"
        return f"{cell}: {reason}"
    errors = "; ".join(widget_errors(part))
    return f": a widget's callback failed ({errors})" if errors else ""


def _describe_last_cell(part: Path) -> str:
    """The code cell of an executed notebook that was started last: its number and its first line; "" before any."""
    cells = [cell for cell in read_notebook(part).cells if cell.cell_type == "code"] if part.exists() else []
    started = [cell.source for cell in cells if cell.metadata.get("papermill", {}).get("start_time")]
    first_line = started[-1].strip().partition("\n")[0] if started else ""
    return f", cell {len(started)} ({shorten(first_line)})" if started else ""
