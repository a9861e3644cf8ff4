"""Taking a student away: its weights and a model card, and loading them again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dmws_lite.method.networks import build, input_statistics, set_input_statistics
from dmws_lite.runtime.files import writable_folder, write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.training.fit import Run

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


def save_run(folder: str | Path, run: Run, evaluation: pd.DataFrame | None = None) -> Path:
    """What `Run.save` does: write model.safetensors and README.md (a model card) into a folder, which is returned."""
    folder, model = writable_folder(folder), run.main
    mean, std = input_statistics(model)
    facts = {
        "name": run.name,
        "classes": json.dumps(list(run.classes)),
        "mean": json.dumps(list(mean)),
        "std": json.dumps(list(std)),
        "image_size": str(run.image_size),
        "fit": json.dumps(run.fit),
    }
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    write_atomically(folder / "model.safetensors", lambda part: save_file(tensors, part, metadata=facts))
    selected = run.initializer == "weight_selection"
    card = CARD.format(
        tags="medical-imaging" + (", weight-selection" if selected else ""),
        start=STARTS.get(run.initializer, RANDOM).format(teacher=run.teacher) if run.initializer else "",
        method=_method(run),
        name=run.name,
        data=run.data,
        parameters=sum(p.numel() for p in model.parameters()),
        classes=", ".join(run.classes),
        image_size=run.image_size,
        mean=list(mean),
        std=list(std),
        fit=FITS[run.fit],
        rows="\n".join(f"| {name} | {value} |" for name, value in _rows(run, evaluation).items()),
        folder=folder.name,
    )
    write_atomically(folder / "README.md", lambda part: part.write_text(card, encoding="utf-8"))
    return folder


def _method(run: Run) -> str:
    d = run.distillation
    if d.strategy == "none" or d.alpha == 0:
        return "training on the labels"
    if d.strategy == "ema":
        dual = "dual" if len(run.plans) > 1 else "single" if run.plans else ""
        return f"{dual} selection and self-knowledge distillation" if dual else "self-knowledge distillation"
    if d.strategy == "kd":
        return "classic distillation from a fine-tuned teacher"
    return f"self-distillation ({d.strategy})"


def _rows(run: Run, evaluation: pd.DataFrame | None) -> dict[str, Any]:
    """What the card's table shows of training and test."""
    t = run.training
    rows: dict[str, Any] = {"training images": run.training_images, "training steps": t.steps, "seed": t.seed}
    if evaluation is not None:
        rows |= {"test images": evaluation.attrs["images"]} if "images" in evaluation.attrs else {}
        for row in evaluation.itertuples():
            rows[f"test {row.metric.replace('_', ' ')}"] = f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
    return rows


def add_to_card(folder: str | Path, heading: str, text: str) -> Path:
    """Put a section at the end of a student's card, in the place of an earlier one with this heading.

    text: Markdown without headings. Returns the card's path.
    Raises FileNotFoundError when the folder holds no card, OSError when it cannot be written.
    """
    path = Path(folder) / "README.md"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: pass the folder that Run.save wrote")
    parts = re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    kept = "".join(part for part in parts if not part.startswith(f"## {heading}\n")).rstrip()
    card = f"{kept}\n\n## {heading}\n\n{text.strip()}\n"
    return write_atomically(path, lambda part: part.write_text(card, encoding="utf-8"))


def load_student(folder: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The student that `Run.save` wrote, in eval mode, and its facts (name, classes, mean, std, image_size, fit).

    Raises FileNotFoundError or ValueError when the folder holds no such student.
    """
    path = Path(folder) / "model.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: pass the folder that Run.save wrote")
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = dict(file.metadata() or {})
        facts.setdefault("fit", '"crop"')  # files of before it was noted
        facts.update({key: json.loads(facts[key]) for key in ("classes", "mean", "std", "image_size", "fit")})
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} was not written by Run.save ({error})") from error
    model = build(facts["name"], len(facts["classes"]), facts["image_size"])
    model.load_state_dict(load_file(path))
    return set_input_statistics(model, facts["mean"], facts["std"]).eval(), facts
