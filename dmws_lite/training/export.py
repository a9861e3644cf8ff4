"""Taking a student away: its weights and a model card, and loading them again."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dmws_lite.method.initializers import INITIALIZERS
from dmws_lite.method.networks import build
from dmws_lite.runtime.files import writable_folder, write_atomically

CARD = """---
library_name: timm
pipeline_tag: image-classification
tags: [{tags}]
---

# {name}, trained on {data}

A small image classifier made by dmws-lite. {start}Method: {method}.

| | |
|---|---|
| architecture | `{name}`, {parameters:,} parameters |
| classes | {classes} |
| input | {image_size} x {image_size} pixels, values in [0, 1], normalised with mean {mean} and std {std} |
| other shapes | {fit} |
{rows}

Load it with `dmws_lite.load_student("{folder}")`.

**Not a medical device.** For teaching and experiments only: trained on few images, not validated for any clinical use.
"""
STARTS = {  # by the initialiser; all others draw random weights
    "weight_selection": "It started from weights that were selected from the teacher `{teacher}`. ",
    "full_teacher": "It started from all weights of `{teacher}`, but for the classifier. ",
    "native": "It started from pretrained weights of its own. ",
}
RANDOM = "It started from random weights. "
FITS = {
    "crop": "the short side fills the square, the middle is kept",
    "letterbox": "the long side fills the square, the rest is black",
}


def save_student(
    folder: str | Path,
    model: nn.Module,
    name: str,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    image_size: int,
    report: dict[str, Any],
    fit: str = "crop",
) -> Path:
    """Write model.safetensors and README.md (a model card) into a folder.

    name:   the student's name as `build` takes it.
    report: what the card shows; "data", "teacher", "method" and "initializer" go into its text, the rest into its
            table. initializer: as `Method.initializer` has it; without it the card does not say what the student
            started from.
    fit:    how images of other shapes became squares in training, "crop" or "letterbox" (`splits.fit` knows).
    Returns the folder. Raises ValueError for an unknown fit or initializer, PermissionError or OSError when it can't be
    written.
    """
    if fit not in FITS:
        raise ValueError(f"fit={fit!r} is unknown: pass 'crop' or 'letterbox'")
    begun = report.get("initializer")
    if begun not in (None, *STARTS, *INITIALIZERS):
        raise ValueError(f"report's initializer {begun!r} is unknown: choose one of {', '.join(INITIALIZERS)}, native")
    folder = writable_folder(folder)
    facts = {
        "name": name,
        "classes": json.dumps(list(classes)),
        "mean": json.dumps(list(mean)),
        "std": json.dumps(list(std)),
        "image_size": str(image_size),
        "fit": json.dumps(fit),
    }
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    write_atomically(folder / "model.safetensors", lambda part: save_file(tensors, part, metadata=facts))
    text = {key: report.get(key, "unknown") for key in ("data", "teacher", "method")}
    rows = "\n".join(
        f"| {key.replace('_', ' ')} | {value} |" for key, value in report.items() if key not in (*text, "initializer")
    )
    card = CARD.format(
        **text,
        tags="medical-imaging" + (", weight-selection" if begun == "weight_selection" else ""),
        start=STARTS.get(begun, RANDOM).format(**text) if begun else "",
        name=name,
        parameters=sum(p.numel() for p in model.parameters()),
        classes=", ".join(classes),
        image_size=image_size,
        mean=list(mean),
        std=list(std),
        fit=FITS[fit],
        rows=rows,
        folder=folder.name,
    )
    write_atomically(folder / "README.md", lambda part: part.write_text(card, encoding="utf-8"))
    return folder


def add_to_card(folder: str | Path, heading: str, text: str) -> Path:
    """Put a section at the end of a student's card, in the place of an earlier one with this heading.

    text: Markdown without headings. Returns the card's path.
    Raises FileNotFoundError when the folder holds no card, OSError when it cannot be written.
    """
    path = Path(folder) / "README.md"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: pass the folder that save_student wrote")
    parts = re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    kept = "".join(part for part in parts if not part.startswith(f"## {heading}\n")).rstrip()
    card = f"{kept}\n\n## {heading}\n\n{text.strip()}\n"
    return write_atomically(path, lambda part: part.write_text(card, encoding="utf-8"))


def load_student(folder: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The student that `save_student` wrote, in eval mode, and its facts (name, classes, mean, std, image_size, fit).

    Raises FileNotFoundError or ValueError when the folder holds no such student.
    """
    path = Path(folder) / "model.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: pass the folder that save_student wrote")
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = dict(file.metadata() or {})
        facts.setdefault("fit", '"crop"')  # files of before it was noted
        facts.update({key: json.loads(facts[key]) for key in ("classes", "mean", "std", "image_size", "fit")})
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} was not written by save_student ({error})") from error
    model = build(facts["name"], len(facts["classes"]), facts["image_size"])
    model.load_state_dict(load_file(path))
    return model.eval(), facts
