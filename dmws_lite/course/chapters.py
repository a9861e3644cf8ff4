"""The chapters: their questions, what they need, and how long they take, from notebooks/course.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, TypeAdapter

from dmws_lite.runtime.validation import Strict

FOLDER = Path(__file__).parents[2] / "notebooks"
Seconds = Annotated[float, Field(gt=0)]


class Times(Strict):
    """Measured seconds of a run; None where it was not measured."""

    cpu: Seconds | None = None
    smoke: Seconds | None = None
    gpu: Seconds | None = None


class Chapter(Strict):
    """What course.yaml says of a chapter."""

    question: Annotated[str, Field(min_length=10, pattern=r"\?$")]
    needs: list[str] = Field([])
    seconds: Times = Times()
    scales: dict[str, Times] = Field({})  # of a training chapter at the other scales: see dm.scale


def read_chapters(folder: Path = FOLDER) -> dict[str, Chapter]:
    """The chapters by name, in order. Raises ValueError (pydantic's) that names the chapter and the field."""
    content = yaml.safe_load((folder / "course.yaml").read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, Chapter]).validate_python(content)


def duration(seconds: float | None) -> str:
    """Seconds in words, rounded up to what one plans with.

    >>> duration(24.2), duration(61), duration(None)
    ('25 seconds', '2 minutes', 'not measured')
    """
    if seconds is None:
        return "not measured"
    if seconds <= 55:
        return f"{-int(-seconds // 5) * 5} seconds"
    minutes = -int(-seconds // 60)
    return f"{minutes} minute{'s' if minutes > 1 else ''}"
