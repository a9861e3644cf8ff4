"""Executed notebooks as pages: alt texts kept, widgets replaced by a note, badges without pictures from elsewhere."""

import hashlib
import json
import re
from base64 import b64decode
from pathlib import Path

import nbformat
from course import METADATA
from nbformat import NotebookNode

from dmws_lite.runtime.notebooks import BADGE, PLOTLY, WIDGET

REPOSITORY = "https://github.com/dmws-lite/dmws-lite"
NOTES = {
    "unread": "This page shows the chapter without its results: they appear when you run it.",
    "smoke": "This page shows a quick check (`smoke = True`): its results mean nothing; read the text with a full run.",
    "widget": "*Run the notebook to move this; the picture shows the same without a kernel.*",
    "selection_explorer": "*Run the notebook to move this, or use the [explorer in the browser](../explorer.md).*",
}


def page(notebook: NotebookNode, name: str) -> NotebookNode:
    """A chapter, executed or not, as myst-nb is to read it; name: the notebook's path in the repository."""
    cells: list[NotebookNode] = []
    for cell in nbformat.from_dict(notebook).cells:
        if cell.cell_type == "code":
            cells += _convert_code(cell)
        else:
            cells.append(nbformat.v4.new_markdown_cell(plain_badges(cell.source)))
    cells[0].source = _add_links(cells[0].source, name, _find_state(notebook))
    return nbformat.v4.new_notebook(cells=cells, metadata=METADATA)


def alt_texts(notebook: NotebookNode) -> dict[str, str]:
    """The alt text of each picture among the outputs, by the SHA-256 of its bytes (myst-nb's name for its file)."""
    alts = {}
    for output in [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]:
        for mime, facts in output.metadata.items():
            if mime.startswith("image/") and "alt" in facts:
                alts[hashlib.sha256(b64decode(output.data[mime])).hexdigest()] = facts["alt"]
    return alts


def plain_badges(text: str) -> str:
    """Markdown whose badges are links of class `badge`: their pictures would be fetched from other servers.

    >>> plain_badges("[![Open](https://x.org/b.svg)](https://y.org/n)")
    '[Open](https://y.org/n){.badge}'
    """
    return BADGE.sub(r"[\1](\2){.badge}", text)


def read(path: Path) -> NotebookNode:
    """A notebook, in the current format."""
    return nbformat.read(path, as_version=4)


def _find_state(notebook: NotebookNode) -> str:
    """Whether the chapter is "unread" (not executed), a "smoke" run, or "" (a full one)."""
    if not any(cell.get("outputs") for cell in notebook.cells):
        return "unread"
    injected = (cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", []))
    return "smoke" if any("smoke = True" in cell.source for cell in injected) else ""


def _convert_code(cell: NotebookNode) -> list[NotebookNode]:
    """A code cell with its static outputs, and a note after it in place of an explorer; progress bars are left out.

    After a picture comes the plotly figure that interactive.js draws in its place.
    """
    outputs = []
    for output in cell.outputs:
        figure = output.get("data", {}).pop(PLOTLY, None)
        if WIDGET not in output.get("data", {}):
            outputs.append(output)
            if figure is not None:
                text = json.dumps(figure, separators=(",", ":")).replace("<", "\\u003c")
                script = {"text/html": f'<script type="{PLOTLY}">{text}</script>'}
                outputs.append(nbformat.v4.new_output("display_data", script))
    folded = {"tags": ["hide-input"]} if "setup" in cell.metadata.get("tags", []) else {}
    static_cell = nbformat.v4.new_code_cell(cell.source, outputs=outputs, metadata=folded)
    if not any(WIDGET in output.get("data", {}) for output in cell.outputs) or "widgets." not in cell.source:
        return [static_cell]
    note = NOTES["selection_explorer" if "selection_explorer(" in cell.source else "widget"]
    return [static_cell, nbformat.v4.new_markdown_cell(note)]


def _add_links(text: str, name: str, state: str) -> str:
    """The first cell with links to the files after its badges, and a note on how the page was made."""
    url = f"{REPOSITORY}/blob/main/{name}"
    links = f"[Notebook]({url}){{.badge}} [Solutions]({url.replace('notebooks/', 'notebooks/solutions/')}){{.badge}}"
    note = f"\n\n:::{{note}}\n{NOTES[state]}\n:::" if state else ""
    return re.sub(r"^(.*\{\.badge\})$", lambda match: f"{match[1]} {links}{note}", text, count=1, flags=re.MULTILINE)
