"""The reference: one page a room, made from docstrings, which are plain text and become reStructuredText here."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import dmws_lite

ROOMS = {
    "method": "what the papers say: layers, components, elements, plans, initialisers, distillation",
    "data": "cards, loading, splits, checks, phantoms, augmentation",
    "training": "the loop, checkpoints, evaluation, export",
    "studies": "methods by name, the grid, the store, engines, statistics",
    "views": "figures and widgets",
    "course": "the checks of the exercises, and how the notebooks are made",
    "runtime": "device and precision, seeds, files, running notebooks",
}
ENTRY = re.compile(r"([\w.]+(?:, [\w.]+)*):\s+(\S.*)")  # "size, pick: lengths of the axes"
STARTS = re.compile(r"(Returns|Raises|Source|Parameters|Writes|Works|Example)\b")
MARKUP = re.compile(r"([\\*|_])")


def write(folder: Path) -> None:
    """Write the pages' sources: index.rst, and ROOM.rst with every module of a room."""
    folder.mkdir()
    (folder / "index.rst").write_text(_index(), encoding="utf-8")
    for room in ROOMS:
        (folder / f"{room}.rst").write_text(_room(room), encoding="utf-8")


def to_rest(lines: list[str]) -> list[str]:
    """A docstring of this project as reStructuredText.

    Lines "name: text" become a list of definitions, `code` becomes a literal, a doctest stays; the rest is plain text.

    >>> to_rest(["Half of `x`.", "", "x: a number", "   or two", "Returns one."])
    ['Half of ``x``.', '', '``x``', '   a number or two', '', 'Returns one.', '']
    """
    summary, *paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    made = [_inline(" ".join(summary.split())), ""]
    for paragraph in paragraphs:
        rows = paragraph.split("\n")
        made += [*rows, ""] if rows[0].lstrip().startswith(">>>") else _paragraph(rows)
    return made


def _paragraph(rows: list[str]) -> list[str]:
    """One paragraph: plain sentences and entries, each with the lines that go on with it."""
    blocks: list[list[str]] = []
    for row in rows:
        starts = STARTS.match(row)
        entry = None if starts else ENTRY.fullmatch(row)
        goes_on = blocks and (row[:1].isspace() or not (starts or entry))
        if goes_on and not (len(blocks[-1]) == 2 and not row[:1].isspace()):
            blocks[-1][-1] += " " + row.strip()
        else:
            blocks.append([entry[1], entry[2]] if entry else [row.strip()])
    made: list[str] = []
    for block, following in zip(blocks, [*blocks[1:], [""]], strict=True):
        if len(block) == 2:
            made += [", ".join(f"``{name}``" for name in block[0].split(", ")), f"   {_inline(block[1])}"]
        else:
            made.append(_inline(block[0]))
        if len(block) == 1 or len(following) == 1:
            made.append("")
    return made


def _inline(text: str) -> str:
    """Plain text with markup escaped, and `code` as a literal."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(f"`{part}`" if part.startswith("`") else MARKUP.sub(r"\\\1", part) for part in parts)


def _index() -> str:
    rows = []
    for name, home in dmws_lite._HOME_OF.items():
        obj = getattr(dmws_lite, name)
        if callable(obj):
            summary = _inline((inspect.getdoc(obj) or "").split("\n")[0])
            rows.append(f"   * - :py:obj:`dm.{name} <dmws_lite.{home}.{name}>`\n     - {summary}")
    table = ".. list-table::\n   :widths: 35 65\n\n" + "\n".join(rows)
    toctree = ".. toctree::\n   :maxdepth: 1\n\n" + "\n".join(f"   {room}" for room in ROOMS)
    intro = "The names of ``import dmws_lite as dm``; below them the rooms of the house, with all that they hold."
    return f"{_heading('Reference', '=')}\n\n{intro}\n\n{table}\n\n{toctree}\n"


def _room(room: str) -> str:
    package = importlib.import_module(f"dmws_lite.{room}")
    found = sorted(module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))
    parts = [_heading(room, "="), f"``dmws_lite.{room}``: {ROOMS[room]}."]
    for name in found:
        parts += [
            _heading(name.removeprefix("dmws_lite."), "-"),
            f".. automodule:: {name}\n   :members:\n   :ignore-module-all:",
        ]
    return "\n\n".join(parts) + "\n"


def _heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}"
