"""What a run leaves, and taking its student away: the weights and a model card, and loading them again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dmws_lite.data.sets import Splits
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.networks import build, input_statistics, set_input_statistics
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.method.students import Students
from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.training.settings import Training

if TYPE_CHECKING:
    import pandas as pd

CARD = """---
{{ card_data }}
---

# {{ name }}, trained on {{ data }}

A small image classifier made by dmws-lite. {{ start }}Method: {{ method }}.

| | |
|---|---|
{% for name, value in rows.items() %}| {{ name }} | {{ value }} |
{% endfor %}
Load it with `dmws_lite.load_student("{{ folder }}")`.

**Not a medical device.** For teaching and experiments only: trained on few images, not validated for any clinical use.
"""
STARTS = {  # by the initialiser; all others draw random weights
    "": "",
    "weight_selection": "It started from weights that were selected from the teacher `{teacher}`. ",
    "full_teacher": "It started from all weights of `{teacher}`, but for the classifier. ",
    "native": "It started from pretrained weights of its own. ",
}
RANDOM = "It started from random weights. "
FITS = {
    "crop": "the short side fills the square, the middle is kept",
    "letterbox": "the long side fills the square, the rest is black",
}


@dataclass
class Run:
    """What a run leaves: the main student of the best evaluation (by validation), the auxiliary, and the history.

    auxiliary: None where there was none, and for classic distillation, whose teacher stays as it was.
    From `name` on, the fields say what was trained on what, for the student's card.
    """

    main: nn.Module
    auxiliary: nn.Module | None
    history: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    seconds: float = 0.0
    skipped_steps: int = 0
    images_per_second: float = 0.0
    name: str = ""
    teacher: str = ""
    initializer: str = ""
    plans: tuple[SelectionPlan, ...] = ()
    data: str = ""
    classes: tuple[str, ...] = ()
    image_size: int = 0
    fit: str = "crop"
    training_images: int = 0
    training: Training = Training()
    distillation: Distillation = Distillation()

    def save(self, folder: str | Path, evaluation: pd.DataFrame | None = None) -> Path:
        """Write the main student (model.safetensors) and its model card (README.md); `load_student` reads it again.

        evaluation: the table of `evaluate` on the test images, for the card.
        Returns the folder. Raises PermissionError or OSError when it can't be written.
        """
        folder = writable_folder(folder)
        mean, std = input_statistics(self.main)
        facts = {"classes": self.classes, "mean": mean, "std": std, "image_size": self.image_size, "fit": self.fit}
        metadata = {"name": self.name, **{key: json.dumps(value) for key, value in facts.items()}}
        tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in self.main.state_dict().items()}
        write_atomically(folder / "model.safetensors", lambda part: save_file(tensors, part, metadata=metadata))
        card = _card(self, evaluation, folder.name)
        write_atomically(folder / "README.md", lambda part: part.write_text(card, encoding="utf-8"))
        return folder


def run_of(
    students: Students, splits: Splits, training: Training, distillation: Distillation, record: dict[str, Any]
) -> Run:
    """The Run of these students after training; record: "history", "best_step" and "seconds"."""
    seconds, steps = record["seconds"], record["history"][-1]["step"]
    return Run(
        students.main,
        None if distillation.strategy == "kd" else students.auxiliary,
        record["history"],
        record["best_step"],
        seconds,
        record.get("skipped_steps", 0),
        steps * training.batch_size / seconds if seconds else 0.0,
        students.name,
        students.teacher,
        students.initializer,
        students.plans,
        splits.name,
        splits.classes,
        splits.train.images.shape[-1],
        splits.fit,
        len(splits.train),
        training,
        distillation,
    )


def _card(run: Run, evaluation: pd.DataFrame | None, folder: str) -> str:
    from huggingface_hub import ModelCard, ModelCardData

    tags = ["medical-imaging", *(["weight-selection"] if run.initializer == "weight_selection" else [])]
    mean, std = map(list, input_statistics(run.main))
    size = f"{run.image_size} x {run.image_size} pixels"
    rows: dict[str, Any] = {
        "architecture": f"`{run.name}`, {sum(p.numel() for p in run.main.parameters()):,} parameters",
        "classes": ", ".join(run.classes),
        "input": f"{size}, values in [0, 1], normalised with mean {mean} and std {std}",
        "other shapes": FITS[run.fit],
        "training images": run.training_images,
        "training steps": run.training.steps,
        "seed": run.training.seed,
    }
    if evaluation is not None:
        rows["test images"] = evaluation.attrs.get("images", "unknown")
        for row in evaluation.itertuples():
            metric, _, name = row.metric.partition("/")
            title = f"test {metric.replace('_', ' ')}" + (f" of {name}" if name else "")
            rows[title] = f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
    card = ModelCard.from_template(
        ModelCardData(library_name="timm", pipeline_tag="image-classification", tags=tags),
        template_str=CARD,
        start=STARTS.get(run.initializer, RANDOM).format(teacher=run.teacher),
        method=_method(run),
        name=run.name,
        data=run.data,
        rows=rows,
        folder=folder,
    )
    return card.content


def _method(run: Run) -> str:
    d = run.distillation
    if d.strategy == "none" or d.alpha == 0:
        return "training on the labels"
    if d.strategy == "kd":
        return "classic distillation from a fine-tuned teacher"
    if d.strategy != "ema":
        return f"self-distillation ({d.strategy})"
    selection = ("", "single selection and ", "dual selection and ")[len(run.plans)]
    return f"{selection}self-knowledge distillation"


def add_to_card(folder: str | Path, heading: str, text: str) -> Path:
    """Put a section at the end of a student's card, in the place of an earlier one with this heading.

    text: Markdown without headings. Returns the card's path.
    Raises FileNotFoundError when the folder holds no card, OSError when it cannot be written.
    """
    path = Path(folder) / "README.md"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: pass the folder that Run.save wrote")
    sections = re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    others = "".join(section for section in sections if not section.startswith(f"## {heading}\n")).rstrip()
    card = f"{others}\n\n## {heading}\n\n{text.strip()}\n"
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
            facts: dict[str, Any] = {"fit": '"crop"', **(file.metadata() or {})}  # old files do not say how they fit
        facts |= {key: json.loads(facts[key]) for key in ("classes", "mean", "std", "image_size", "fit")}
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} was not written by Run.save ({error})") from error
    model = build(facts["name"], len(facts["classes"]), facts["image_size"])
    model.load_state_dict(load_file(path))
    return set_input_statistics(model, facts["mean"], facts["std"]).eval(), facts
