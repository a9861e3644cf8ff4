"""The commands `dmws data ...`: cards, checks and downloads of image sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmws_lite.runtime.console import print_files, print_line, print_table, warnings_printed

if TYPE_CHECKING:
    from dmws_lite.data.checking import Report

LABEL = "Where the label is: a column of the table, or a level of folders (1 is the upper one)."
PATIENT = "A regular expression for the files' paths; its one group is the patient."

data_app = typer.Typer(no_args_is_help=True, help="Image sets: list and show their cards, get them, check them.")


@data_app.command("list", epilog="Example: dmws data list")
def list_cards() -> None:
    """List the data cards."""
    from dmws_lite.data.cards import cards, read_card

    rows = []
    for name in cards():
        card = read_card(name)
        images = sum(count for split in (card.counts or {}).values() for count in split.values())
        total = f"{images:,}" if images else "unknown"
        rows.append((name, card.pretty_name, ", ".join(card.classes), total, card.license))
    print_table(("card", "data set", "classes", ">images", "licence"), rows)
    print_line("dmws data show CARD tells more; dmws data new FOLDER makes a card of yours")
    template = next(iter(cards().values())).with_name("template.md")
    print_line(f"every key of a card is explained in {template}")


@data_app.command(epilog="Example: dmws data show brain_tumor_mri")
def show(card: Annotated[str, typer.Argument(help="A card's name, or its .md file.")]) -> None:
    """Show a data card: what it holds, where it comes from, what it must not be used for."""
    from dmws_lite.data.cards import read_card

    print_line(Path(read_card(card).path).read_text(encoding="utf-8"))


@data_app.command(epilog="Example: dmws data get pneumoniamnist")
def get(card: Annotated[str, typer.Argument(help="A card's name, or its .md file.")]) -> None:
    """Download a card's images, or find them where they are."""
    from dmws_lite.data.cards import read_card
    from dmws_lite.data.fetch import fetch

    facts = read_card(card)
    if facts.sources[0].phantom:
        print_line(f"{facts.name} is drawn when it is opened: there is nothing to download")
        return
    with warnings_printed():
        folder = fetch(facts)
    print_line(f"{facts.name} is in {folder}")


@data_app.command(epilog="Example: dmws data check my_images --out results")
def check(
    source: Annotated[str, typer.Argument(help="A card, a folder, or whatever else open_data takes.")],
    size: Annotated[int, typer.Option(min=8, max=1024, help="Pixels per side of the images in the picture.")] = 64,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the split, where none is published.")] = None,
    frames: Annotated[str, typer.Option(help="Of volumes: the middle slice of each, or all.")] = "middle",
    label: Annotated[str | None, typer.Option(help=LABEL)] = None,
    patient: Annotated[str | None, typer.Option(help=PATIENT)] = None,
    out: Annotated[Path, typer.Option(help="Folder for the picture and the table.")] = Path("outputs"),
) -> None:
    """Look for copies, leaks, broken images and shortcuts; exits with 1 when something makes results invalid."""
    from dmws_lite.data import checking
    from dmws_lite.runtime.files import writable_folder, write_atomically
    from dmws_lite.runtime.text import plain
    from dmws_lite.views import figures

    writable_folder(out)
    with warnings_printed():
        report = checking.check(source, size, seed, frames, label=_parse_label(label), patient=patient)
    _print_report(report)
    name = f"check_{plain(report.name)[:40].replace('/', '_')}"
    figures.save(figures.data_page(report), out, name)
    findings = report.findings.assign(files=report.findings["files"].map("; ".join))
    table = write_atomically(out / f"{name}.csv", lambda part: findings.to_csv(part, index=False))
    print_line(f"{report.name}: {report.verdict}", style="green" if report.valid else "bold red")
    print_files([table.with_suffix(".png"), table])
    if not report.valid:
        raise typer.Exit(1)


@data_app.command(epilog="Example: dmws data new my_images --out my_cards")
def new(
    folder: Annotated[Path, typer.Argument(help="A folder of images that `dmws data check` can open.")],
    out: Annotated[Path, typer.Option(help="Folder for the card and its split.")] = Path("."),
    seed: Annotated[int, typer.Option(min=0, help="Of the split, where none is published.")] = 0,
    label: Annotated[str | None, typer.Option(help=LABEL)] = None,
    patient: Annotated[str | None, typer.Option(help=PATIENT)] = None,
) -> None:
    """Write a data card for your own images, and a file that keeps their split for everybody."""
    from dmws_lite.data.opening import new_card

    with warnings_printed():
        card = new_card(folder, out, seed, _parse_label(label), patient)
    print_files([card, card.with_suffix(".csv")])
    print_line(f"Fill in what the card says is to be filled in; open_data, check and demo take its path, {card}")


def _parse_label(text: str | None) -> str | int | None:
    """A column's name as it is, a level of folders as a number."""
    return int(text) if text and text.isdecimal() else text


def _print_report(report: Report) -> None:
    """Images of each class in each split, and the findings."""
    import pandas as pd

    images = report.gathered.table
    splits = pd.Categorical(images["split"], ["train", "val", "test"])
    counts = pd.crosstab(images["label"], splits, margins=True, margins_name="total", dropna=False)
    counts = counts.reindex([*report.gathered.classes, "total"], fill_value=0)
    print_table(("class", *(f">{name}" for name in counts)), counts.itertuples(), title=report.name)
    findings = ((f.kind, f.severity, f.count, "\n".join((f.detail, *f.files))) for f in report.findings.itertuples())
    print_table(("finding", "severity", ">count", "what it means"), findings, lines=True)
