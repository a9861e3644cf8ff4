"""The commands `dmws data ...`: cards, checks and downloads of image sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from dmws_lite.data.card_form import Card
    from dmws_lite.data.checking import Report

STYLES = {"invalid": "bold red", "warning": "yellow", "note": ""}

console = Console()
data_app = typer.Typer(no_args_is_help=True, help="Image sets: list and show their cards, get them, check them.")


@data_app.command("list", epilog="Example: dmws data list")
def list_cards() -> None:
    """List the data cards."""
    from dmws_lite.data.cards import cards, read_card

    table = Table("card", "data set", "classes", "images", "licence")
    for name in cards():
        card = read_card(name)
        images = sum(count for split in (card.counts or {}).values() for count in split.values())
        title, classes = escape(card.pretty_name), escape(", ".join(card.classes))
        table.add_row(name, title, classes, f"{images:,}" if images else "not stated", escape(card.license))
    console.print(table)
    console.print("dmws data show CARD tells more; dmws data new FOLDER writes a card for your own images")


@data_app.command(epilog="Example: dmws data show brain_tumor_mri")
def show(card: Annotated[str, typer.Argument(help="A card's name, or its .md file.")]) -> None:
    """Show a data card: what it holds, where it comes from, what it must not be used for."""
    from rich.markdown import Markdown

    from dmws_lite.data.cards import read_card

    found = read_card(card)
    console.print(_card_table(found))
    console.print(Markdown(found.prose))


@data_app.command(epilog="Example: dmws data get pneumoniamnist")
def get(card: Annotated[str, typer.Argument(help="A card's name, or its .md file.")]) -> None:
    """Download a card's images, or find them where they are; an interrupted download is continued."""
    from dmws_lite.data.cards import read_card
    from dmws_lite.data.sources import fetch

    found = read_card(card)
    if found.sources[0].phantom:
        console.print(f"{found.name} is drawn when it is opened: there is nothing to download")
        return
    folder, messages = _heard(lambda: fetch(found))
    _print_warnings(messages)
    console.print(f"{found.name} is in {folder}", soft_wrap=True, highlight=False, markup=False)


@data_app.command(epilog="Example: dmws data check my_images --out results")
def check(
    source: Annotated[str, typer.Argument(help="A card, a folder, or whatever else open_data takes.")],
    size: Annotated[int, typer.Option(help="Pixels per side of the images in the picture.")] = 64,
    seed: Annotated[int | None, typer.Option(help="Of the split, where none is published.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the picture and the table.")] = Path("outputs"),
) -> None:
    """Look for copies, leaks, broken images and shortcuts; exits with 1 when something makes results invalid."""
    from dmws_lite.data import checking
    from dmws_lite.runtime.files import writable_folder, write_atomically
    from dmws_lite.views import data_figures, figures

    writable_folder(out)
    report, _ = _heard(lambda: checking.check(source, size, seed))
    console.print(_split_table(report))
    console.print(_findings_table(report))
    name = f"check_{report.name}"
    figures.save(data_figures.data_page(report), out, name)
    write_atomically(out / f"{name}.csv", lambda part: report.findings.to_csv(part, index=False))
    verdict = f"{report.name}: {report.verdict}"
    console.print(verdict, style="green" if report.valid else "bold red", markup=False, highlight=False)
    for suffix in (".png", ".csv"):
        console.print(str(out / f"{name}{suffix}"), soft_wrap=True, highlight=False, markup=False)
    if not report.valid:
        raise typer.Exit(1)


@data_app.command(epilog="Example: dmws data new my_images --out my_cards")
def new(
    folder: Annotated[Path, typer.Argument(help="A folder of images that `dmws data check` can open.")],
    out: Annotated[Path, typer.Option(help="Folder for the card and its split.")] = Path("."),
    seed: Annotated[int, typer.Option(help="Of the split, where none is published.")] = 0,
) -> None:
    """Write a data card for your own images, and a file that keeps their split for everybody."""
    from dmws_lite.data.opening import new_card

    card, messages = _heard(lambda: new_card(folder, out, seed))
    _print_warnings(messages)
    for path in (card, card.with_suffix(".csv")):
        console.print(f"{path.stat().st_size / 1000:10,.0f} kB  {path}", soft_wrap=True, highlight=False, markup=False)
    console.print("Fill in what the card says is to be filled in; then open_data, check and demo take its name.")


def _heard(work: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What `work()` returns, and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        result = work()
    return result, [str(warning.message) for warning in caught]


def _print_warnings(messages: list[str]) -> None:
    for message in messages:
        console.print(f"Warning: {escape(message)}", style="yellow", soft_wrap=True)


def _card_table(card: Card) -> Table:
    table = Table("", "", title=escape(card.pretty_name), show_header=False)
    table.add_row("licence", escape(card.license))
    for name, label in card.classes.items():
        counts = [f"{split} {classes.get(name, 0):,}" for split, classes in (card.counts or {}).items()]
        images = f" ({', '.join(counts)} images)" if counts else ""
        table.add_row("classes" if name == next(iter(card.classes)) else "", escape(f"{name}: {label.meaning}{images}"))
    for number, source in enumerate(card.sources):
        table.add_row("" if number else "sources", escape(str(source)))
    table.add_row("split", f"{card.split.rule or 'made when it is opened'}, seed {card.split.seed}")
    table.add_row("patients", escape(f"by {card.patient.pattern}") if card.patient else "not told by file names")
    table.add_row("flips", ", ".join(card.flips) or "none: a mirrored image could not be real")
    return table


def _split_table(report: Report) -> Table:
    """Images of each class in each split."""
    splits = ("train", "val", "test")
    images = report.gathered.table
    table = Table("class", title=escape(report.name))
    for name in (*splits, "total"):
        table.add_column(name, justify="right")
    counts = images.groupby(["label", "split"]).size()
    rows = {c: [int(counts.get((c, split), 0)) for split in splits] for c in report.gathered.classes}
    for name, row in rows.items():
        table.add_row(escape(name), *map(str, row), str(sum(row)))
    totals = [sum(column) for column in zip(*rows.values(), strict=True)]
    table.add_section()
    table.add_row("total", *map(str, totals), str(sum(totals)))
    return table


def _findings_table(report: Report) -> Table:
    table = Table("", "found", show_lines=True)
    table.add_column("count", justify="right")
    table.add_column("what it means")
    for row in report.findings.itertuples():
        examples = "".join(f"\n{file}" for file in row.files)
        style = STYLES[row.severity]
        table.add_row(row.severity, row.kind, str(row.count), escape(row.detail + examples), style=style)
    return table
