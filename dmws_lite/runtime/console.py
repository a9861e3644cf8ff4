"""What the commands print: tables, files and warnings; text from outside cannot act on the terminal."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dmws_lite.runtime.text import plain

console = Console()


def safe_text(text: object) -> Text:
    """Text from outside, safe for the terminal: no escape sequences, no markup; line breaks are kept."""
    return Text(plain(str(text), keep="\n"))


def print_line(text: object, style: str = "") -> None:
    """One line, or several, however long: a narrow terminal does not cut them."""
    console.print(safe_text(text), style=style, soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "", lines: bool = False) -> None:
    """A table; its first column is not wrapped, one named ">images" is right-aligned; lines: draw them between rows."""
    table = Table(title=safe_text(title) if title else None, show_lines=lines)
    for number, name in enumerate(columns):
        justify: Any = "right" if name.startswith(">") else "left"
        table.add_column(name.removeprefix(">"), justify=justify, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(safe_text, row))
    console.print(table)


def print_files(paths: Iterable[Path]) -> None:
    """Files that were made, with their sizes."""
    for path in paths:
        print_line(f"{path.stat().st_size / 1000:10,.0f} kB  {path}")


@contextmanager
def warnings_printed() -> Iterator[None]:
    """Print warnings as they come, each once, so that they stand before an error that may follow."""
    printed: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in printed:
            print_line(f"Warning: {message}", style="yellow")
        printed.add(str(message))

    with warnings.catch_warnings(action="always", category=UserWarning):
        warnings.showwarning = show
        yield
