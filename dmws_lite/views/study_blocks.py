"""What reports are made of: blocks of text, tables and pictures, the forms of their numbers, and their Markdown."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dmws_lite.runtime.text import plain
from dmws_lite.views.picture import Picture

if TYPE_CHECKING:
    import pandas as pd

NONE = "–"


@dataclass(frozen=True)
class Block:
    """A part of a section.

    kind: "text", "warning", "list", "code", "table" or "figure".
    text: the text itself, or the caption of a table or figure.
    """

    kind: str
    text: str = ""
    entries: Sequence[str] = ()
    table: pd.DataFrame | None = None
    png: str = ""
    alt: str = ""


def table_block(caption: str, table: pd.DataFrame) -> Block:
    """A table, its cells as text; what is not seen but acts, such as reversed writing, is replaced."""
    texts = table.astype(object).map(lambda cell: plain(str(cell))).set_axis([plain(str(c)) for c in table], axis=1)
    return Block("table", plain(caption), table=texts)


def figure_block(figure: Picture, caption: str) -> Block:
    return Block("figure", plain(caption), png=base64.b64encode(figure.png()).decode(), alt=plain(figure.alt_text))


def percent(fraction: float) -> str:
    """
    >>> percent(0.025)
    '2.5 % of the training images'
    """
    return f"{100 * fraction:g} % of the training images"


def number(form: str) -> Callable[[Any], str]:
    """A function that writes a number in a form of Python's, and a dash where there is none.

    >>> number(".2f")(float("nan")), number("+.2f")(0.5)
    ('–', '+0.50')
    """
    return lambda value: NONE if value is None or math.isnan(value) else format(value, form)


def interval(row: Mapping[str, Any], centre: str, sign: str = "") -> str:
    """
    >>> interval({"mean": 0.5, "low": 0.41, "high": 0.59}, "mean")
    '0.500 [0.410, 0.590]'
    """
    form = number(f"{sign}.3f")
    between = "" if math.isnan(row["low"]) else f" [{form(row['low'])}, {form(row['high'])}]"
    return form(row[centre]) + between


def markdown(sections: Mapping[str, Sequence[Block]], title: str) -> str:
    """Sections as GitHub's Markdown, without their pictures."""
    lines = [f"# {_escaped(title)}", ""]
    for name, blocks in sections.items():
        shown = [block for block in blocks if block.kind != "figure"]
        lines += [f"## {_escaped(name)}", ""] if shown else []
        for block in shown:
            lines += [*_markdown_of(block), ""]
    return "\n".join(lines)


def _markdown_of(block: Block) -> Iterator[str]:
    if block.kind == "code":
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
        yield from (fence, block.text, fence)
    elif block.kind == "list":
        yield from (f"- {_escaped(entry)}" for entry in block.entries)
    elif block.table is not None:
        yield from (f"**{_escaped(block.text)}**", "")
        yield _row(block.table.columns)
        yield "|" + " --- |" * len(block.table.columns)
        yield from map(_row, block.table.itertuples(index=False, name=None))
    else:
        yield ("**Warning:** " if block.kind == "warning" else "") + _escaped(block.text)


def _row(cells: Any) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    r"""Text in which Markdown finds no table, HTML, link, emphasis, code or formula.

    >>> print(_escaped("a|b <i> [x](y) 0.5 [0.4, 0.6]"))
    a\|b &lt;i&gt; [x\](y) 0.5 [0.4, 0.6]
    """
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\n", " ")):
        text = text.replace(character, entity)
    return re.sub(r"[\\`*|$~#]|\](?=[(\[:])|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
