"""The commands `dmws data ...`: cards, checks and downloads of image sets."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from dmws_lite.runtime.text import file_name, plain

if TYPE_CHECKING:
    from dmws_lite.data.cards import Card
    from dmws_lite.data.checking import Report

STYLES = {"invalid": "bold red", "warning": "yellow", "note": ""}

console = Console()
data_app = typer.Typer(no_args_is_help=True, help="Image sets: list and show their cards, get them, check them.")


def shown(text: str) -> Text:
    """Text from outside for the terminal: no escape sequences, no markup; lines are kept."""
    return Text(plain(text, keep="\n"))


@data_app.command("list", epilog="Example: dmws data list")
def list_cards() -> None:
    """List the data cards."""
    from dmws_lite.data.cards import cards, read_card

    found = cards()
    table = Table()
    table.add_column("card", no_wrap=True)
    table.add_column("data set", min_width=14, overflow="fold")
    table.add_column("classes", min_width=14, overflow="fold")
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("licence", max_width=11, overflow="fold")
    for name in found:
        card = read_card(name)
        images = sum(count for split in (card.counts or {}).values() for count in split.values())
        title, classes = shown(card.pretty_name), shown(", ".join(card.classes))
        table.add_row(name, title, classes, f"{images:,}" if images else "unknown", shown(card.license))
    console.print(table)
    console.print("dmws data show CARD tells more; dmws data new FOLDER writes a card for your own images")
    template = next(iter(found.values())).with_name("template.md")
    console.print(shown(f"every key of a card is explained in {template}"), soft_wrap=True)


@data_app.command(epilog="Example: dmws data show brain_tumor_mri")
def show(card: Annotated[str, typer.Argument(help="A card's name, or its .md file.")]) -> None:
    """Show a data card: what it holds, where it comes from, what it must not be used for."""
    from dmws_lite.data.cards import read_card

    found = read_card(card)
    console.print(_card_table(found))
    console.print(_markdown(found.prose))


@data_app.command(epilog="Example: dmws data get pneumoniamnist")
def get(card: Annotated[str, typer.Argument(help="A card's name, or its .md file.")]) -> None:
    """Download a card's images, or find them where they are; an interrupted download is continued."""
    from dmws_lite.data.cards import read_card
    from dmws_lite.data.sources import fetch

    found = read_card(card)
    if found.sources[0].phantom:
        console.print(shown(f"{found.name} is drawn when it is opened: there is nothing to download"))
        return
    with warnings_printed():
        folder = fetch(found)
    console.print(shown(f"{found.name} is in {folder}"), soft_wrap=True)


@data_app.command(epilog="Example: dmws data check my_images --out results")
def check(
    source: Annotated[str, typer.Argument(help="A card, a folder, or whatever else open_data takes.")],
    size: Annotated[int, typer.Option(help="Pixels per side of the images in the picture.")] = 64,
    seed: Annotated[int | None, typer.Option(help="Of the split, where none is published.")] = None,
    frames: Annotated[str, typer.Option(help="Of volumes: the middle slice of each, or all.")] = "middle",
    out: Annotated[Path, typer.Option(help="Folder for the picture and the table.")] = Path("outputs"),
) -> None:
    """Look for copies, leaks, broken images and shortcuts; exits with 1 when something makes results invalid."""
    from dmws_lite.data import checking
    from dmws_lite.runtime.files import writable_folder, write_atomically
    from dmws_lite.views import data_figures, figures

    writable_folder(out)
    with warnings_printed():
        report = checking.check(source, size, seed, frames)
    console.print(_split_table(report))
    console.print(_findings_table(report))
    name = file_name(f"check_{report.name}")
    figures.save(data_figures.data_page(report), out, name)
    table = report.findings.assign(files=report.findings["files"].map("; ".join))
    write_atomically(out / f"{name}.csv", lambda part: table.to_csv(part, index=False))
    console.print(shown(f"{report.name}: {report.verdict}"), style="green" if report.valid else "bold red")
    for suffix in (".png", ".csv"):
        console.print(shown(str(out / f"{name}{suffix}")), soft_wrap=True)
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

    with warnings_printed():
        card = new_card(folder, out, seed)
    for path in (card, card.with_suffix(".csv")):
        console.print(shown(f"{path.stat().st_size / 1000:10,.0f} kB  {path}"), soft_wrap=True)
    text = f"Fill in what the card says is to be filled in; open_data, check and demo take its path, {card}"
    console.print(shown(text), soft_wrap=True)


@contextmanager
def warnings_printed() -> Iterator[None]:
    """Print warnings as they come, each once, and before an error that may end it all."""
    said: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in said:
            console.print(shown(f"Warning: {message}"), style="yellow", soft_wrap=True)
        said.add(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def _markdown(text: str) -> Segments:
    """Markdown, drawn; what is odd in it is replaced last, since it can also be written as an entity."""
    from rich.markdown import Markdown

    drawn = console.render(Markdown(text, hyperlinks=False))
    return Segments(Segment(plain(part.text, keep="\n"), part.style) for part in drawn)


def _card_table(card: Card) -> Table:
    table = Table("", "", title=shown(card.pretty_name), show_header=False)
    table.add_row("licence", shown(card.license))
    for name, label in card.classes.items():
        counts = [f"{split} {classes.get(name, 0):,}" for split, classes in (card.counts or {}).items()]
        images = f" ({', '.join(counts)} images)" if counts else ""
        table.add_row("classes" if name == next(iter(card.classes)) else "", shown(f"{name}: {label.meaning}{images}"))
    for number, source in enumerate(card.sources):
        table.add_row("" if number else "sources", shown(str(source)))
    table.add_row("split", f"{card.split.rule or 'made when it is opened'}, seed {card.split.seed}")
    table.add_row("patients", shown(_patients(card)))
    table.add_row("flips", ", ".join(card.flips) or "none: a mirrored image could not be real")
    return table


def _patients(card: Card) -> str:
    if card.patient is None:
        return "not told by file names"
    stand_in = card.patient.stands_for
    return f"by {card.patient.pattern}" + (f"\na stand-in for patients: {stand_in}" if stand_in else "")


def _split_table(report: Report) -> Table:
    """Images of each class in each split."""
    splits = ("train", "val", "test")
    images = report.gathered.table
    table = Table("class", title=shown(report.name))
    for name in (*splits, "total"):
        table.add_column(name, justify="right")
    counts = images.groupby(["label", "split"]).size()
    rows = {c: [int(counts.get((c, split), 0)) for split in splits] for c in report.gathered.classes}
    for name, row in rows.items():
        table.add_row(shown(name), *map(str, row), str(sum(row)))
    totals = [sum(column) for column in zip(*rows.values(), strict=True)]
    table.add_section()
    table.add_row("total", *map(str, totals), str(sum(totals)))
    return table


def _findings_table(report: Report) -> Table:
    table = Table("", show_lines=True)
    table.add_column("found", max_width=16 if console.width < 100 else None)
    table.add_column("count", justify="right")
    table.add_column("what it means", overflow="fold")
    for row in report.findings.itertuples():
        told = "\n".join(map(plain, (row.detail, *row.files)))
        table.add_row(row.severity, row.kind, str(row.count), shown(told), style=STYLES[row.severity])
    return table
