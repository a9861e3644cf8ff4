"""The command `dmws`: what the library does, without writing code."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from dmws_lite.cli_data import data_app, shown
from dmws_lite.cli_notebooks import notebooks_app
from dmws_lite.cli_study import study_app
from dmws_lite.runtime.text import plain

if TYPE_CHECKING:
    from dmws_lite.method.plan import Assignment, SelectionPlan

USER_ERRORS = (ValueError, OSError, RuntimeError, ImportError)

console = Console()


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
            text = Text.assemble(("error:", "bold red"), " ", plain(str(error), keep="\n"))
            Console(stderr=True).print(text, soft_wrap=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Dual-model weight selection and self-knowledge distillation, on images.",
    epilog="DMWS_DEBUG=1 shows the traceback of an error.",
)
app.add_typer(data_app, name="data")
app.add_typer(study_app, name="study")
app.add_typer(notebooks_app, name="notebooks")


@app.command(epilog="Example: dmws doctor --json > environment.json")
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for a bug report.")] = False) -> None:
    """Report versions, host, device and precision, free memory, and what is missing."""
    from dmws_lite.runtime import report

    found = report.environment()
    if as_json:
        typer.echo(_json(found))
        return
    table = Table("", "", title=f"dmws-lite {found['dmws_lite']}", show_header=False)
    table.add_row("Python", f"{found['python']} in {report.HOSTS[found['host']]}, {found['platform']}")
    table.add_row("device", found["gpu"] or found["device"])
    table.add_row("precision", f"{found['precision']} ({found['reason']})")
    table.add_row("free", report.free_space(found).removeprefix("free: "))
    table.add_row("versions", ", ".join(f"{name} {version or '-'}" for name, version in found["versions"].items()))
    for number, sentence in enumerate(found["missing"] or ["nothing"]):
        table.add_row("missing" if number == 0 else "", shown(sentence))
    console.print(table)
    if advice := report.gpu_advice(found):
        console.print(advice, style="yellow")


@app.command(epilog="Example: dmws demo my_images --out results")
def demo(
    data: Annotated[
        str | None, typer.Argument(help="A folder of images (one subfolder a class), or a data card's name.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything that comes out.")] = Path("outputs"),
    seed: Annotated[int, typer.Option(help="Of all random draws.")] = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="A few training steps only, to see that it runs.")] = False,
) -> None:
    """Run the quickstart from end to end: plans, two students, training, comparison, and the student to take away."""
    from dmws_lite.runtime.files import writable_folder
    from dmws_lite.runtime.notebooks import find_notebook, run_notebook

    parameters = {
        "data": _data_source(data),
        "output": str(writable_folder(out).resolve()),
        "seed": seed,
        "smoke": smoke,
    }
    start = time.time()
    executed = run_notebook(find_notebook("quickstart"), out, parameters)
    made = sorted(p for p in out.rglob("*") if p.is_file() and p.stat().st_mtime >= start - 1)
    console.rule(f"done in {time.time() - start:.0f} s")
    results = out / "results.csv"
    if results in made:
        console.print(_results_table(results))
    _print_files([executed, *(p for p in made if p != executed)])


@app.command(epilog="Example: dmws select vit_small_patch16_224 vit_tiny_patch16_224 --layers uniform --save plan.json")
def select(
    teacher: Annotated[str, typer.Argument(help="A timm name, such as vit_small_patch16_224.")],
    student: Annotated[str, typer.Argument(help="A smaller network of the same family.")],
    elements: Annotated[str, typer.Option(help="How indices are chosen along an axis.")] = "uniform",
    phase: Annotated[
        int | None, typer.Option(help="One student of this phase, not complementary ones; 0 is the published rule.")
    ] = None,
    layers: Annotated[str, typer.Option(help="first, last, uniform, or block numbers such as 0,2,4.")] = "first",
    students: Annotated[int, typer.Option(help="Number of complementary students.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the random strategies.")] = 0,
    save: Annotated[
        Path | None, typer.Option(help="Save the main student's plan here, the others' beside it (_1, _2, ...).")
    ] = None,
) -> None:
    """Show which teacher elements each student receives: no weights are needed, nothing is downloaded."""
    from dmws_lite.method.selection import complementary_plans, plan

    chosen: Any = [int(n) for n in layers.split(",")] if layers.replace(",", "").isdigit() else layers
    if phase is not None:
        plans: tuple[SelectionPlan, ...] = (plan(teacher, student, elements, phase, chosen, seed=seed),)
    else:
        plans = complementary_plans(teacher, student, students, elements, chosen, seed=seed)
    console.print(_plan_table(plans))
    _print_totals(plans)
    if save:
        _save(plans, save)


def _data_source(data: str | None) -> str | None:
    """What the quickstart can open from its own folder: a path made absolute, or a name; checked before it starts."""
    from dmws_lite.data.cards import cards
    from dmws_lite.data.gathering import HUB, unknown_source

    if data is None or data in cards() or data.startswith(HUB):
        return data
    if not Path(data).exists():
        raise FileNotFoundError(unknown_source(Path(data)))
    return str(Path(data).resolve())


def _json(found: dict[str, Any]) -> str:
    import json

    return json.dumps(found, indent=2)


def _results_table(path: Path) -> Table:
    """Mean and standard deviation over seeds of each method in a comparison's CSV file."""
    import pandas as pd

    found = pd.read_csv(path)
    metrics = ["accuracy", "balanced_accuracy", "auroc"]
    groups = found.groupby("label", sort=False)[metrics]
    means, deviations = groups.mean(), groups.std()
    seeds = found["seed"].nunique()
    table = Table(
        "method", *(m.replace("_", " ") for m in metrics), title=f"test images, mean ± deviation of {seeds} seeds"
    )
    for label in means.index:
        table.add_row(shown(label), *(f"{means.at[label, m]:.3f} ± {deviations.at[label, m]:.3f}" for m in metrics))
    return table


def _print_files(paths: list[Path]) -> None:
    for path in paths:
        console.print(shown(f"{path.stat().st_size / 1000:10,.0f} kB  {path}"), soft_wrap=True)


def _plan_table(plans: tuple[SelectionPlan, ...]) -> Table:
    """One row a student tensor: where it comes from, its axes, and the share of the teacher's tensor that is used."""
    main, others = plans[0], plans[1:]
    shares = [main.coverage().tensors, *(main.overlap(other).tensors for other in others)]
    table = Table(title=shown(f"{main.teacher} → {main.student}"), box=box.SIMPLE_HEAD)
    table.add_column("student tensor (← teacher's)", no_wrap=True)
    table.add_column("axes: teacher → student", overflow="fold")
    for name in ("used", *(f"shared with {number}" for number in range(1, len(plans)))):
        table.add_column(name, justify="right", width=7)
    for a in main.assignments:
        source = "" if a.teacher == a.student else f"\n  ← {a.teacher}"
        table.add_row(a.student + source, _axes(a), *(f"{share.get(a.teacher, 0):.1%}" for share in shares))
    return table


def _axes(a: Assignment) -> str:
    from dmws_lite.method.components import squeezed

    sizes = zip(a.axes, *(squeezed(shape, len(a.axes)) for shape in (a.teacher_shape, a.student_shape)), strict=True)
    text = ", ".join(f"{axis} {t}" if t == s else f"{axis} {t} → {s}" for axis, t, s in sizes)
    return f"{text} ({a.note})" if a.note else text


def _print_totals(plans: tuple[SelectionPlan, ...]) -> None:
    main = plans[0]
    lines = [f"elements {main.elements}, layers {main.layers}"]
    for number, made in enumerate(plans):
        role = f"auxiliary {number}, shares {made.overlap(main)} with the main" if number else "main"
        lines.append(f"phase {made.phase}: uses {made.coverage()} of the teacher ({role})")
    broken = [axis for axis, consistent in main.consistency().items() if not consistent]
    lines.append(f"not consistent on {', '.join(broken)}" if broken else "consistent on every axis")
    lines.extend(f"not selected: {name} ({reason})" for name, reason in main.skipped.items())
    console.print(shown("\n".join(lines)), soft_wrap=True)


def _save(plans: tuple[SelectionPlan, ...], path: Path) -> None:
    from dmws_lite.runtime.files import writable_folder

    writable_folder(path.parent)
    targets = [path, *(path.with_stem(f"{path.stem}_{number}") for number in range(1, len(plans)))]
    _print_files([made.save(target) for made, target in zip(plans, targets, strict=True)])


if __name__ == "__main__":
    app()
