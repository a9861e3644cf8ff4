"""The command `dmws`: what the library does, without writing code."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from dmws_lite.cli_data import data_app
from dmws_lite.cli_study import study_app
from dmws_lite.runtime.console import print_files, print_line, print_table, safe_text, warnings_printed
from dmws_lite.runtime.text import require

if TYPE_CHECKING:
    from dmws_lite.method.measuring import Measured
    from dmws_lite.method.plan import SelectionPlan

USER_ERRORS = (ValueError, OSError, RuntimeError, ImportError, MemoryError)
PARAMETER = ("-p", "--parameter")


class Commands(TyperGroup):
    """Shows expected errors as one line; DMWS_DEBUG=1 shows where they came from."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except USER_ERRORS as error:
            if os.environ.get("DMWS_DEBUG") == "1":
                raise
            text = Text.assemble(("error:", "bold red"), " ", safe_text(error))
            Console(stderr=True).print(text, soft_wrap=True)
            raise typer.Exit(2) from error


class RunCommand(TyperCommand):
    """Reads -p NAME VALUE, as papermill does, as -p NAME=VALUE: typer has no option of two words that is repeated."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words, joined = iter(args), []
        for word in words:
            joined.append(word)
            if word in PARAMETER:
                name, value = next(words, ""), next(words, "--")
                if value.startswith("--") or "=" in name:
                    raise ValueError(f"{word} {name}: a name and a value are needed, such as {word} smoke True")
                joined.append(f"{name}={value}")
        return super().parse_args(ctx, joined)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Dual-model weight selection and self-knowledge distillation, on images.",
    epilog="DMWS_DEBUG=1 shows the traceback of an error.",
)
notebooks_app = typer.Typer(no_args_is_help=True, help="List the course's notebooks, and run them with parameters.")
app.add_typer(data_app, name="data")
app.add_typer(study_app, name="study")
app.add_typer(notebooks_app, name="notebooks")


@app.command(epilog="Example: dmws doctor --json > environment.json")
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for a bug report.")] = False) -> None:
    """Report versions, host, device and precision, free memory, and what is missing."""
    import json

    from dmws_lite.runtime import report

    facts = report.environment()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    versions = ", ".join(f"{name} {version or '-'}" for name, version in facts["versions"].items())
    print_line("\n".join([*report.sentences(facts), f"versions: {versions}"]))


@app.command(epilog="Example: dmws demo my_images --teacher imagenet --out results")
def demo(
    data: Annotated[str | None, typer.Argument(help="A folder with a subfolder per class, or a data card.")] = None,
    teacher: Annotated[
        str, typer.Option(help="embedded, imagenet (a package of weights, or a network), or reference (a GPU).")
    ] = "embedded",
    out: Annotated[Path, typer.Option(help="Folder for all results.")] = Path("outputs"),
    seed: Annotated[int, typer.Option(min=0, help="Of all random draws.")] = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="A few training steps only, to see that it runs.")] = False,
) -> None:
    """Run the quickstart from end to end: plans, two students, training, comparison, and the student to take away."""
    from dmws_lite.method.networks import load_teacher
    from dmws_lite.runtime.device import pick_device
    from dmws_lite.runtime.notebooks import defaults, find_notebook, run_notebook
    from dmws_lite.studies.scales import FEW, SCALES

    start, notebook = time.time(), find_notebook("quickstart")
    parameters = {"data": _resolve_data(data), "seed": seed, "smoke": smoke}
    if teacher != "embedded":
        require("scale", teacher, SCALES)
        load_teacher(SCALES[teacher].teacher)  # the weights are found before the notebook starts
        parameters["scale"] = teacher
        if pick_device().type == "cpu" and not smoke:
            parameters |= {name: value for name, value in FEW.items() if name in defaults(notebook)}
            command = f"`dmws notebooks run quickstart -p scale {teacher}` makes all of them"
            print_line(f"on a CPU: {FEW['seeds']} seeds of {FEW['steps']} steps for each method; {command}")
    with warnings_printed():
        folder = run_notebook(notebook, out, parameters).parent
    files = [path for pattern in ("*", "*/*") for path in sorted(folder.glob(pattern)) if path.is_file()]
    new_files = [path for path in files if path.stat().st_mtime >= start - 1 and not path.name.startswith(".")]
    print_line(f"done in {time.time() - start:.0f} s")
    if folder / "results.csv" in new_files:
        _print_results(folder / "results.csv")
    print_files(new_files)


@app.command(epilog="Example: dmws select vit_small_patch16_224 vit_tiny_patch16_224 --layers uniform --save plan.json")
def select(
    teacher: Annotated[str, typer.Argument(help="A timm name, such as vit_small_patch16_224.")],
    student: Annotated[str, typer.Argument(help="A smaller network of the same family.")],
    elements: Annotated[str, typer.Option(help="How indices are chosen along an axis.")] = "uniform",
    phase: Annotated[int | None, typer.Option(help="Only one student, of this phase; 0 is the published rule.")] = None,
    layers: Annotated[str, typer.Option(help="first, last, uniform, or block numbers such as 0,2,4.")] = "first",
    students: Annotated[int, typer.Option(min=1, help="Number of complementary students.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the random strategies.")] = 0,
    save: Annotated[Path | None, typer.Option(dir_okay=False, help="File for the plan; others are FILE_1, ...")] = None,
    images: Annotated[str | None, typer.Option(help="Images (a folder or a card) to refit each layer on.")] = None,
    initializer: Annotated[
        str | None, typer.Option(show_default="selection_ls", help="How: selection_ls, projection or projection_ls.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(show_default="its own", help="The teacher's weights file.")] = None,
    size: Annotated[int | None, typer.Option(min=8, max=1024, help="Other pixels per side than the student's.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the picture of the errors.")] = Path("outputs"),
) -> None:
    """Show which teacher elements each student receives: no weights are needed, nothing is downloaded.

    With --images, the students are filled and each layer is refitted to what the teacher computes on up to 128 of the
    training images; each layer's error before and after is printed and drawn. This needs the teacher's weights.
    """
    from dmws_lite.method.networks import build
    from dmws_lite.method.selection import complementary_plans, plan
    from dmws_lite.runtime.files import writable_folder

    if weights and not images:
        raise ValueError(f"--weights {weights} is for --images only: pass both, or neither")
    network: Any = build(student, 1, size) if size else student
    blocks: Any = [int(n) for n in layers.split(",")] if re.fullmatch(r" *-?\d+ *(, *-?\d+ *)*", layers) else layers
    if phase is not None:
        plans: tuple[SelectionPlan, ...] = (plan(teacher, network, elements, phase, blocks, seed=seed),)
    else:
        plans = complementary_plans(teacher, network, students, elements, blocks, seed=seed)
    measured = []
    if images or initializer:
        with warnings_printed():
            measured = _refit(plans, initializer or "selection_ls", weights, images, size)
    _print_plans(plans)
    if measured:
        _show_errors(measured, writable_folder(out))
    if save:
        writable_folder(save.parent)
        paths = [save, *(save.with_stem(f"{save.stem}_{number}") for number in range(1, len(plans)))]
        print_files([student_plan.save(path) for student_plan, path in zip(plans, paths, strict=True)])


@notebooks_app.command("list", epilog="Example: dmws notebooks list")
def list_notebooks() -> None:
    """List the chapters: question, time on one CPU core and with smoke, parameters and their defaults."""
    from dmws_lite.course.chapters import duration, read_chapters
    from dmws_lite.runtime.notebooks import course_folder, defaults, notebooks

    rows = []
    for name, chapter in read_chapters(course_folder()).items():
        parameters = ", ".join(f"{parameter} = {value}" for parameter, value in defaults(notebooks()[name]).items())
        times = duration(chapter.seconds.cpu), duration(chapter.seconds.smoke)
        rows.append((name, f"{chapter.question}\n{parameters}", *times))
    print_table(("notebook", "question, parameters and their defaults", "one CPU core", "smoke"), rows, lines=True)


@notebooks_app.command(
    "run", cls=RunCommand, epilog="Example: dmws notebooks run quickstart -p smoke True -p seed 1 --out results"
)
def run(
    name: Annotated[str, typer.Argument(help="A chapter's number, the beginning of its title, or a file.")],
    parameter: Annotated[
        list[str] | None, typer.Option(*PARAMETER, metavar="KEY VALUE", help="Set a parameter; may be repeated.")
    ] = None,
    batch: Annotated[
        Path | None, typer.Option(help="A run for each row of a .csv table with a header, or item of a .yaml list.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for all results; one subfolder per run.")] = Path("outputs"),
    kernel: Annotated[str | None, typer.Option(show_default="the notebook's own", help="A Jupyter kernel.")] = None,
) -> None:
    """Run one notebook with parameters, and make an HTML page of it.

    A batch goes on when a run fails, and the same command takes up a batch that was interrupted. The
    result of another run is never overwritten: the new one goes to a folder of its own, run-2, run-3, ... in --out.
    """
    from dmws_lite.runtime.notebooks import find_notebook, run_batch, run_notebook
    from dmws_lite.runtime.parameters import read_batch, refuse_twice

    path = find_notebook(name)
    pairs = [text.partition("=") for text in parameter or []]
    refuse_twice([name for name, _, _ in pairs])
    values = {name: value for name, _, value in pairs}
    with warnings_printed():
        if batch is None:
            executed = run_notebook(path, out, values, kernel=kernel)
            print_files([executed, executed.with_suffix(".html")])
            return
        summary = run_batch(path, out, [values | row for row in read_batch(batch)], kernel)
    print_table(list(summary), summary.to_numpy())
    print_files([Path(summary["folder"].iloc[0]).parent / "summary.csv"])
    if failures := (summary["error"] != "").sum():
        raise RuntimeError(f"{failures} of {len(summary)} runs failed: see the summary")


def _resolve_data(data: str | None) -> str | None:
    """The data as the quickstart can open them from its own folder: a name, or an absolute path that exists."""
    from dmws_lite.data.cards import cards
    from dmws_lite.data.opening import HUB, unknown_source

    if data is None or data in cards() or data.startswith(HUB):
        return data
    if not data or not Path(data).exists():
        raise FileNotFoundError(unknown_source(Path(data)))
    return str(Path(data).resolve())


def _print_results(path: Path) -> None:
    """Mean and deviation over seeds of each method, from the quickstart's results.csv."""
    import pandas as pd

    runs, metrics = pd.read_csv(path), ["accuracy", "balanced_accuracy", "auroc"]
    table = runs.groupby("label", sort=False)[metrics].agg(lambda values: f"{values.mean():.3f} ± {values.std():.3f}")
    columns = ["method", *(metric.replace("_", " ") for metric in metrics)]
    print_table(columns, table.itertuples(), f"test images, mean ± deviation of {runs['seed'].nunique()} seeds")


def _print_plans(plans: tuple[SelectionPlan, ...]) -> None:
    """One row per student tensor: where it comes from, its axes, the share of the teacher's tensor; and the totals."""
    main, *others = plans
    shares = [main.coverage().tensors, *(main.overlap(other).tensors for other in others)]
    columns = ["student tensor", "teacher tensor", "axes: teacher → student", ">used"]
    columns += [f">shared with {number}" for number in range(1, len(plans))]
    rows = []
    for a in main.assignments:
        axes = f"{', '.join(a.axes)}: {a.teacher_shape} → {a.student_shape} {a.note}"
        rows.append((a.student, a.teacher, axes, *(f"{share.get(a.teacher, 0):.1%}" for share in shares)))
    print_table(columns, rows, f"{main.teacher} → {main.student}")
    print_line(f"elements {main.elements}, layers {main.layers}")
    for number, plan in enumerate(plans):
        role = f"auxiliary {number}, shares {plan.overlap(main)} with the main" if number else "main"
        print_line(f"phase {plan.phase}: uses {plan.coverage()} of the teacher ({role})")
    inconsistent = ", ".join(axis for axis, consistent in main.consistency().items() if not consistent)
    print_line(f"not consistent on {inconsistent}" if inconsistent else "consistent on every axis")
    for name, reason in main.skipped.items():
        print_line(f"not selected: {name} ({reason})")
    for meaning, names in main.losses().items():
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        print_line(f"the student has no place for {', '.join(names[:2])}{more} of the teacher: {meaning}")


def _refit(plans: Any, initializer: str, weights: Path | None, images: str | None, size: int | None) -> list[Measured]:
    """The errors measured while the students of these plans are refitted, main first."""
    from dmws_lite.data.opening import open_data
    from dmws_lite.method.initializers import MEASURED, initialize
    from dmws_lite.method.measuring import CALIBRATION, calibration_images
    from dmws_lite.method.networks import build, load_teacher

    require("--initializer for images", initializer, MEASURED)
    if images is None:
        raise ValueError(f"--initializer {initializer} measures on training images: pass --images FOLDER, or a card")
    student, teacher = plans[0].student, load_teacher(plans[0].teacher, weights)
    network: Any = build(student, 1)
    pixels = size or network.pretrained_cfg["input_size"][-1]
    if initializer != "selection_ls":
        plans = plans[:1]  # a projected student holds no subset
    batch = calibration_images(open_data(images, pixels, unusable="skip").train, teacher, CALIBRATION)
    options: Any = {"teacher_state": teacher, "images": batch}
    return [initialize(initializer, build(student, 1, pixels), plan=plan, **options).measured for plan in plans]


def _show_errors(measured: list[Measured], out: Path) -> None:
    """Print and draw each layer's error before and after it was refitted."""
    from dmws_lite.views import figures
    from dmws_lite.views.style import students

    print_line("error of each layer: squared distance to the teacher, as a share of the teacher's variance")
    for name, errors in zip(students(len(measured)), measured, strict=True):
        rows = ((row.module, f"{row.before:.3f}", f"{row.after:.3f}") for row in errors.table.itertuples())
        title = f"{name}: {errors.method} on {errors.images} images, {errors.seconds:.1f} s"
        print_table(("layer", ">before", ">after"), rows, title)
    figures.save(figures.layer_errors(measured), out, "errors")
    print_files([out / "errors.png"])


if __name__ == "__main__":
    app()
