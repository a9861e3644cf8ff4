"""`dmws notebooks`: the course's chapters, run with parameters, one set or many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperCommand

from dmws_lite.cli_data import shown

notebooks_app = typer.Typer(no_args_is_help=True, help="List the course's notebooks, and run them with parameters.")
console = Console()
PARAMETER = ("-p", "--parameter")


class RunCommand(TyperCommand):
    """Lets -p take a name and a value and be repeated, as papermill does; typer has no such option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _joined(args))


@notebooks_app.command("list", epilog="Example: dmws notebooks list")
def list_notebooks() -> None:
    """List the chapters: question, time on one CPU core and with smoke, parameters and their defaults."""
    from dmws_lite.course.chapters import Chapter, duration, read_chapters
    from dmws_lite.runtime.notebooks import course_folder, defaults, notebooks, title

    chapters = read_chapters(course_folder())
    table = Table("notebook", "question, parameters and their defaults", "one CPU core", "smoke", show_lines=True)
    for name, path in notebooks().items():
        chapter = chapters.get(name, Chapter(question=f"{title(path)}?"))
        known = ", ".join(f"{parameter} = {value}" for parameter, value in defaults(path).items())
        times = (duration(seconds) for seconds in (chapter.seconds.cpu, chapter.seconds.smoke))
        table.add_row(name, shown(f"{chapter.question}\n{known}"), *times)
    console.print(table)


@notebooks_app.command(
    "run", cls=RunCommand, epilog="Example: dmws notebooks run quickstart -p smoke True -p seed 1 --out results"
)
def run(
    name: Annotated[str, typer.Argument(help='A chapter\'s number ("00"), its title ("quickstart"), or a file.')],
    parameter: Annotated[
        list[str] | None,
        typer.Option(*PARAMETER, metavar="KEY VALUE", help="Set a parameter; may be repeated."),
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(help="A .csv file (a header row of parameters) or .yaml file (a list of mappings): a run a row."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the executed notebook, its HTML page and its results; a subfolder a run.")
    ] = Path("outputs"),
) -> None:
    """Run one notebook with parameters, and make an HTML page of it."""
    from dmws_lite.runtime.batch import read_batch, run_batch
    from dmws_lite.runtime.notebooks import defaults, find_notebook, run_notebook

    path = find_notebook(name)
    values = dict(map(_pair, parameter or []))
    if batch is None:
        if "output" in defaults(path):
            values = {"output": str(out.resolve())} | values
        executed = run_notebook(path, out, values)
        for made in (executed, executed.with_suffix(".html")):
            console.print(shown(f"{made.stat().st_size / 1000:10,.0f} kB  {made}"), soft_wrap=True)
        return
    summary = run_batch(path, out, [values | row for row in read_batch(batch)])
    console.print(_table(summary))
    console.print(shown(f"{out / 'summary.csv'}"), soft_wrap=True)
    failed = sum(row["status"] == "failed" for row in summary)
    if failed:
        raise RuntimeError(f"{failed} of {len(summary)} runs failed: see the summary")


def _pair(text: str) -> tuple[str, str]:
    key, given, value = text.partition("=")
    if not given:
        raise ValueError(f"--parameter {key}: a name and a value are needed, such as --parameter smoke True")
    return key, value


def _joined(args: list[str]) -> list[str]:
    """The arguments with each `-p KEY VALUE` as `-p KEY=VALUE`."""
    joined, rest = [], iter(args)
    for word in rest:
        joined.append(word)
        if word in PARAMETER:
            key, value = next(rest, ""), next(rest, "--")
            if not key.isidentifier() or value.startswith("--"):
                raise ValueError(f"{word} {key}: a name and a value are needed, such as {word} smoke True")
            joined.append(f"{key}={value}")
    return joined


def _table(summary: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(key for row in summary for key in row if key not in ("notebook", "published")))
    table = Table(*columns)
    for row in summary:
        table.add_row(*(shown(str(row.get(column, ""))) for column in columns))
    return table
