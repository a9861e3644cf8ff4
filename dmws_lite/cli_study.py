"""The commands `dmws study ...`: run a study, continue it, and make its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dmws_lite.runtime.console import print_files, print_line, print_table, warnings_printed

study_app = typer.Typer(no_args_is_help=True, help="Compare methods: a grid of runs, its store and its report.")

Reference = Annotated[str | None, typer.Option(help="The method that the others are compared with.")]


@study_app.command("list", epilog="Example: dmws study list")
def list_studies() -> None:
    """List the studies that come with dmws-lite."""
    from dmws_lite.studies.study import read_study, studies

    rows = []
    for study in map(read_study, studies()):
        fractions = ", ".join(f"{fraction:.0%}" for fraction in study.fractions)
        data = "\n".join(entry.title for entry in study.data)
        rows.append((study.name, len(study), data, len(study.methods), fractions, len(study.seeds), study.question))
    print_table(("study", ">runs", "data", ">methods", "fractions", ">seeds", "question"), rows)


@study_app.command(epilog="Example: dmws study show lecture > mine.yaml")
def show(name: Annotated[str, typer.Argument(help="A study's name, or its .yaml file.")]) -> None:
    """Print a study's file, to be changed and run."""
    from dmws_lite.studies.study import read_study, studies

    read_study(name)
    typer.echo((studies().get(name) or Path(name)).read_text(encoding="utf-8").rstrip())


@study_app.command(epilog="Example: dmws study run parts --data my_images --seeds 5")
def run(
    study: Annotated[str, typer.Argument(help="A study's name (see `dmws study list`), or a .yaml file.")],
    store: Annotated[Path | None, typer.Option(show_default="outputs/studies/NAME", help="Folder of the runs.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="Other data; may be repeated.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Other methods; may be repeated.")] = None,
    fraction: Annotated[list[float] | None, typer.Option(help="Other parts of the images; may be repeated.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Another number of seeds.")] = None,
    size: Annotated[int | None, typer.Option(min=8, max=1024, help="Other pixels per side.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Another number of training steps.")] = None,
    reference: Reference = None,
    engine: Annotated[str, typer.Option(help="local (this process) or ray (several GPUs or machines).")] = "local",
    cpus: Annotated[float | None, typer.Option(show_default="1", help="ray: CPUs for a run.")] = None,
    gpus: Annotated[float | None, typer.Option(show_default="0", help="ray: GPUs for a run, or a part.")] = None,
    address: Annotated[str | None, typer.Option(help="ray: the cluster's address.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say how long the missing runs would take.")] = False,
) -> None:
    """Make the runs that are missing, and then the report. Run again after an interruption: nothing is made twice.

    Exits with 1 when a run failed; the others are made all the same.
    """
    from dmws_lite.studies.engines import estimate, run_study
    from dmws_lite.studies.run import plan_jobs
    from dmws_lite.studies.store import Store
    from dmws_lite.studies.study import read_study

    changes = _drop_missing(data=data, methods=method, fractions=fraction, seeds=seeds, size=size, reference=reference)
    settings = read_study(study, **changes)
    if steps is not None:
        settings = settings.model_copy(update={"training": replace(settings.training, steps=steps)})
    folder = store or Path("outputs") / "studies" / settings.name
    with warnings_printed():
        if plan:
            stored = Store(folder) if (folder / "store.json").is_file() else ()
            print_line(estimate([job for job in plan_jobs(settings) if job.key not in stored]))
            return
        try:
            runs = run_study(settings, folder, engine, **_drop_missing(cpus=cpus, gpus=gpus, address=address))
        except KeyboardInterrupt as stop:
            raise typer.Exit(130) from stop
    failures, missing = runs.failures(settings.name), runs.missing(settings.name)
    if len(missing):
        print_line(f"{len(missing)} runs are made by another process; `dmws study report {folder}` when it has ended")
    if len(runs.table(settings.name)):
        report(folder, settings.name)
    if len(failures):
        print_line(f"{len(failures)} runs failed; run the same command to try them again")
        raise typer.Exit(1)


@study_app.command(epilog="Example: dmws study report outputs/studies/lecture --metric auroc")
def report(
    store: Annotated[Path, typer.Argument(help="The folder that `dmws study run` wrote to.")],
    study: Annotated[str | None, typer.Option(help="Which study, where the store has several.")] = None,
    reference: Reference = None,
    metric: Annotated[str, typer.Option(help="accuracy, balanced_accuracy, macro_f1, auroc or ece.")] = "accuracy",
    out: Annotated[Path | None, typer.Option(show_default="the store", help="Folder for the report.")] = None,
) -> None:
    """Make a self-contained HTML page, and Markdown tables, from a store."""
    from dmws_lite.studies.report import write_report
    from dmws_lite.studies.store import Store

    print_files(write_report(Store(store), out or store, study, reference, metric))


def _drop_missing(**options: Any) -> dict[str, Any]:
    """The options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}
