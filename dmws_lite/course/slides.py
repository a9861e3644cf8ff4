"""A chapter as slides: headings, pictures and questions are shown, the prose is for the speaker."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

SILENT = {"setup", "parameters", "exercise"}
HIDDEN_SECTIONS = {"## Setup", "## Parameters"}
SHOWN_CODE_LINES = 8
LICENCE = "Text: CC BY 4.0; code: Apache-2.0."
BULLET = r"(?:[-*]|\d+\.) "
ITEMS = 5  # of a list, on one slide
LINE, LINES, OPENING = 75, 5, 150  # characters of a line of text, lines of a slide, characters of a paragraph's opening
ABBREVIATIONS = r"(?<!al\.)(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)(?<!Fig\.)"


def slide_cells(cells: list[NotebookNode]) -> list[NotebookNode]:
    """A chapter's cells as slides.

    A heading starts a slide, a picture or a table a slide below it, with its code hidden when that is long.
    "Predict first" comes as a step of its own. Of prose, the first sentences are shown; all of it, answers, hints and
    the lecturer's cells are speaker notes. Solutions are left out; setup, parameters and stubs run unseen.
    """
    deck = Deck()
    for cell in cells:
        tags = set(cell.metadata.get("tags", []))
        if "solution" in tags:
            continue
        if cell.cell_type == "code":
            deck.code(cell, tags)
        elif "instructor" in tags:
            deck.notes.append(cell.source)
        else:
            deck.text(cell.source)
    deck.flush()
    return deck.cells


class Deck:
    """The slides so far, and what is still to be said about the last of them."""

    def __init__(self) -> None:
        self.cells: list[NotebookNode] = []
        self.notes: list[str] = []
        self.lines = 0
        self.hidden = False

    def code(self, cell: NotebookNode, tags: set[str]) -> None:
        seen = not tags & SILENT and _shows(cell.source)
        if seen:
            self.flush()
            self.lines = 2
        if seen and (len(cell.source.splitlines()) > SHOWN_CODE_LINES or "figures." in cell.source):
            tags = tags | {"remove-input"}
        metadata = {"slideshow": {"slide_type": "subslide" if seen else "skip"}}
        self.cells.append(new_code_cell(cell.source, metadata=metadata | ({"tags": sorted(tags)} if tags else {})))

    def text(self, source: str) -> None:
        blocks = list(_blocks(source))
        for position, block in enumerate(blocks):
            if block.startswith("#"):
                self.hidden = block in HIDDEN_SECTIONS
            if not self.hidden:
                lead_in = position + 1 < len(blocks) and _is_list(blocks[position + 1])
                self.block(block, lead_in)

    def block(self, block: str, lead_in: bool) -> None:
        heading = re.match(r"(#+) ", block)
        if heading:
            self.show(block, "slide" if len(heading[1]) < 3 else "subslide")
        elif block.startswith(("[![", "**Time:**")):
            return
        elif block.startswith("**Predict first:**"):
            self.show(block, "fragment" if self.lines <= LINES else "subslide")
        elif block.startswith("**Exercise"):
            self.show(block, "subslide")
        elif block.startswith("<details"):
            self.question(block)
        elif block.startswith("**Next:**"):
            small = f"<small>\n\n{block}\n\n{LICENCE}\n\n</small>"
            self.show(small, "-" if self.lines + 2 <= LINES else "subslide")
        elif block.startswith("Sources:") or (block.startswith("```") and block.count("\n") > SHOWN_CODE_LINES):
            self.notes.append(block)
        elif _is_list(block):
            self.list(block)
        elif lead_in or block.startswith(("$$", "|", "```", "![")):
            self.show(block, "-" if self.lines + _height(block) <= LINES - (2 if lead_in else 0) else "subslide")
        else:
            self.prose(block)

    def list(self, block: str) -> None:
        """Show how each item opens; long lists go on below."""
        items = [item.strip() for item in re.split(rf"\n(?={BULLET})", block)]
        short = [opening(item) for item in items]
        for start in range(0, len(items), ITEMS):
            part = "\n".join(short[start : start + ITEMS])
            room = start == 0 and (self.lines <= 2 or self._follows_lead_in() or self.lines + _height(part) <= LINES)
            self.show(part, "-" if room else "subslide")
        if short != items:
            self.notes.append(block)

    def prose(self, block: str) -> None:
        """Show how a paragraph opens, where there is room; all of it is for the speaker."""
        short = opening(block)
        room = self.lines + _height(short) <= LINES and not short.endswith(":")
        if room:
            self.show(short, "-")
        if short != block or not room:
            self.notes.append(block)

    def question(self, block: str) -> None:
        summary = re.search(r"<summary>(.*?)</summary>", block, re.DOTALL)
        words = summary[1] if summary else ""
        answer = re.sub(r"<summary>.*?</summary>|</?details>", "", block, flags=re.DOTALL).strip()
        if words.startswith("Quick question"):
            self.show(re.sub(r"^Quick question:?", "**Quick question:**", words), "subslide")
            self.lines = LINES
        self.notes.append(f"{'Answer' if words.startswith('Quick question') else words}: {answer}")

    def show(self, text: str, slide: str) -> None:
        if slide != "-":
            self.flush()
        self.lines = _height(text) + (self.lines if slide in ("-", "fragment") else 0)
        self.cells.append(new_markdown_cell(text, metadata={"slideshow": {"slide_type": slide}}))

    def flush(self) -> None:
        """Put what is to be said about the current slide into a cell of speaker notes."""
        if self.notes:
            notes = new_markdown_cell("\n\n".join(self.notes), metadata={"slideshow": {"slide_type": "notes"}})
            self.cells.append(notes)
            self.notes = []

    def _follows_lead_in(self) -> bool:
        return bool(self.cells) and self.cells[-1].source.rstrip().endswith((":", " to"))


def opening(text: str, length: int = OPENING) -> str:
    """A paragraph's first sentences, up to `length` characters, and at least one.

    Of a caption, which is in italics, only that is taken. No cut leaves an open bracket, star or formula.

    >>> opening("Two sets. They share *nothing*. That is so.", 32)
    'Two sets. They share *nothing*.'
    >>> opening("*One row a tensor. Left: all rows.* It matters.", 10)
    '*One row a tensor.*'
    """
    caption = re.match(r"\*([^*].*?)\*(?!\*)(\s|$)", text, re.DOTALL)
    if caption:
        return f"*{opening(caption[1], length)}*"
    ends = [end.start() + 1 for end in re.finditer(rf"[.!?]{ABBREVIATIONS}\s+(?=[A-Z*`\"(])", text)]
    parts = [part for part in (*(text[:end] for end in ends), text) if _whole(part)] or [text]
    return max((part for part in parts if len(part) <= length), key=len, default=parts[0])


def _whole(part: str) -> bool:
    return all(part.count(mark) % 2 == 0 for mark in ("*", "`", "$")) and part.count("(") == part.count(")")


def _blocks(source: str) -> Iterator[str]:
    """The paragraphs of a text; details, fenced code and formulas stay whole."""
    whole = re.compile(r"<details.*?</details>|^```.*?^```|^\$\$.*?\$\$", re.DOTALL | re.MULTILINE)
    start = 0
    for found in whole.finditer(source):
        yield from _paragraphs(source[start : found.start()])
        yield found[0]
        start = found.end()
    yield from _paragraphs(source[start:])


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _shows(code: str) -> bool:
    """Whether a cell has something to show: a last expression, or something printed; no widgets, no file of numbers."""
    statements = ast.parse(code).body
    if not statements or "widgets." in code or ".write_text(" in code:
        return False
    return isinstance(statements[-1], ast.Expr) or "print(" in code


def _is_list(block: str) -> bool:
    return bool(re.match(BULLET, block))


def _height(text: str) -> int:
    lines = text.splitlines() if _is_list(text) or text.startswith("|") else [text]
    return sum(-(-len(line) // LINE) for line in lines)
