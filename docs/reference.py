"""The reference: one page per room, made from docstrings, which are plain text and become reStructuredText here."""

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
    "analysis": "what trained students are like: starts, representations, saliency, robustness, anatomy",
    "views": "figures and widgets",
    "course": "the exercises and their checks, and the map of the chapters",
    "runtime": "device and precision, seeds, files, running notebooks",
}
ENTRY = re.compile(r"([\w.]+(?:, [\w.]+)*):\s+(\S.*)")  # "size, pick: lengths of the axes"
STARTS = re.compile(r"(Returns|Raises|Source|Parameters|Writes|Works|Example)\b")
MARKUP = re.compile(r"([\\*|_])")


def write(folder: Path) -> None:
    """Write the pages' sources: index.rst, and ROOM.rst with every module of a room."""
    folder.mkdir()
    (folder / "index.rst").write_text(_index_page(), encoding="utf-8")
    for room in ROOMS:
        (folder / f"{room}.rst").write_text(_room_page(room), encoding="utf-8")


def to_rest(lines: list[str]) -> list[str]:
    """A docstring of this project as reStructuredText.

    Lines "name: text" become a list of definitions, `code` becomes a literal, a doctest stays; the rest is plain text.

    >>> to_rest(["Half of `x`.", "", "x: a number", "   or two", "Returns one."])
    ['Half of ``x``.', '', '``x``', '   a number or two', '', 'Returns one.', '']
    """
    summary, *paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    rest = [_convert_inline(" ".join(summary.split())), ""]
    for paragraph in paragraphs:
        is_doctest = paragraph.lstrip().startswith(">>>")
        rest += [*paragraph.split("\n"), ""] if is_doctest else _convert_paragraph(paragraph)
    return rest


def _convert_paragraph(text: str) -> list[str]:
    """One paragraph: plain sentences, and entries, whose further lines are indented."""
    blocks: list[list[str]] = []  # names, of an entry, and text
    for line in re.sub(r"\n +", " ", text).split("\n"):
        is_sentence = STARTS.match(line)
        entry = ENTRY.fullmatch(line)
        if entry and not is_sentence:
            blocks.append([entry[1], entry[2]])
        elif is_sentence or not blocks or blocks[-1][0]:
            blocks.append(["", line.strip()])
        else:
            blocks[-1][1] += " " + line.strip()
    rest: list[str] = []
    for number, (names, text) in enumerate(blocks):
        between_entries = names and blocks[number - 1][0]
        if number > 0 and not between_entries:
            rest.append("")
        if names:
            rest += [", ".join(f"``{name}``" for name in names.split(", ")), f"   {_convert_inline(text)}"]
        else:
            rest.append(_convert_inline(text))
    return [*rest, ""]


def _convert_inline(text: str) -> str:
    """Plain text with markup escaped, and `code` as a literal."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(f"`{part}`" if part.startswith("`") else MARKUP.sub(r"\\\1", part) for part in parts)


def _index_page() -> str:
    rows = []
    for name, home in dmws_lite._HOME_OF.items():
        obj = getattr(dmws_lite, name)
        if callable(obj):
            summary = _convert_inline((inspect.getdoc(obj) or "").split("\n")[0])
            rows.append(f"   * - :py:obj:`dm.{name} <dmws_lite.{home}.{name}>`\n     - {summary}")
    table = ".. list-table::\n   :widths: 35 65\n\n" + "\n".join(rows)
    toctree = ".. toctree::\n   :maxdepth: 1\n\n" + "\n".join(f"   {room}" for room in ROOMS)
    intro = "The names of ``import dmws_lite as dm``; below them the rooms of the house, with all that they hold."
    return f"{_heading('Reference', '=')}\n\n{intro}\n\n{table}\n\n{toctree}\n"


def _room_page(room: str) -> str:
    package = importlib.import_module(f"dmws_lite.{room}")
    parts = [_heading(room, "="), f"``dmws_lite.{room}``: {ROOMS[room]}."]
    for name in sorted(module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")):
        parts.append(_heading(name.removeprefix("dmws_lite."), "-"))
        parts.append(f".. automodule:: {name}\n   :members:\n   :ignore-module-all:")
    return "\n\n".join(parts) + "\n"


def _heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}"
