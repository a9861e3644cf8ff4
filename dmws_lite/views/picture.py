"""What all figures share: fixed colours and marks, a figure that carries its alt text, and saving."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dmws_lite.runtime.files import writable_folder, write_atomically

# Okabe & Ito's colours: told apart with any colour vision. Each comes with a mark, so that print in gray works too.
PALETTE = {"teacher": "#4D4D4D", "main": "#0072B2", "auxiliary": "#E69F00", "random": "#999999"}
MARKERS = {"teacher": "s", "main": "o", "auxiliary": "^", "random": "x"}
LINES = {"teacher": ":", "main": "-", "auxiliary": "--", "random": "-."}
HATCHES = {"teacher": "", "main": "", "auxiliary": "///", "random": "..."}
FURTHER = ("#009E73", "#CC79A7", "#56B4E9")  # third and later students, or runs that are neither main nor auxiliary
SHARED, UNUSED = "#222222", "#F0F0F0"
WIDTH = 8.0  # inches; text is readable at this width


class Picture(Figure):
    """A matplotlib figure with alt text, which notebooks, screen readers and HTML exports receive with the image."""

    alt_text: str = ""

    def png(self, dpi: int = 110) -> bytes:
        """The picture as PNG; its alt text is in the file's Description.

        Drawn once: savefig draws twice, and an explorer would feel it.
        """
        canvas, before = FigureCanvasAgg(self), self.dpi
        self.set_dpi(dpi)
        with warnings.catch_warnings():  # names of data sets may hold letters that the font lacks: a box is enough
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            canvas.draw()
        self.set_dpi(before)
        pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        description, buffer = PngInfo(), io.BytesIO()
        description.add_itxt("Description", self.alt_text)
        pixels.save(buffer, "png", dpi=(dpi, dpi), pnginfo=description)
        return buffer.getvalue()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        image = base64.b64encode(self.png()).decode()
        return {"image/png": image, "text/plain": self.alt_text}, {"image/png": {"alt": self.alt_text}}


def picture(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Picture, Any]:
    """An empty Picture, `height` inches high, and its axes as `Figure.subplots(rows, columns, ...)` gives them."""
    figure = Picture(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def placed(height: float, *places: tuple[float, float, float, float]) -> tuple[Picture, list[Axes]]:
    """An empty Picture, `height` inches high, with axes at fixed places: left, bottom, width, height as shares of it.

    Quicker than `picture`, which measures all text to find the places: for pictures that explorers draw.
    """
    figure = Picture(figsize=(WIDTH, height))
    return figure, [figure.add_axes(place) for place in places]


def save(figure: Picture, folder: str | Path, name: str) -> Picture:
    """Write `folder/name.png`; returns the figure, so that a notebook's cell can end with it.

    Raises PermissionError or OSError when it can't be written.
    """
    path = writable_folder(folder) / f"{name}.png"
    write_atomically(path, lambda part: part.write_bytes(figure.png(dpi=150)))
    return figure


def literal(text: str) -> str:
    """Text in which matplotlib finds no formula: names of classes may hold dollars."""
    return text.replace("$", r"\$")


def bare(axes: Axes, *, left: bool = False) -> None:
    """Take away the box around a plot; `left` keeps the left side."""
    for side in ("top", "right") + (() if left else ("left",)):
        axes.spines[side].set_visible(False)


def student_colours(n: int) -> list[str]:
    """One colour a student: main, auxiliary, then FURTHER (which repeat)."""
    return [PALETTE["main"], PALETTE["auxiliary"], *(FURTHER[i % len(FURTHER)] for i in range(n - 2))][:n]


def student_names(n: int) -> list[str]:
    """One name a student: main, auxiliary, auxiliary 2, ..."""
    return ["main", "auxiliary", *(f"auxiliary {i}" for i in range(2, n))][:n]
