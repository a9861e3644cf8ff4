"""The result of a run, and its student as files: the weights and a model card, saved and loaded again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dmws_lite.data.sets import Splits
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.networks import build, input_statistics, set_input_statistics
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.method.students import Students
from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.text import escape_markdown
from dmws_lite.training.settings import Training

CARD = """---
{data}
---

# {run.name}, trained on {data_name}

A small image classifier made by dmws-lite. {start}Method: {method}.

| | |
|---|---|
{rows}

Load it with `dmws_lite.load_student("{folder}")`.

**Not a medical device.** For teaching and experiments only: trained on few images, not validated for any clinical use.
"""
STARTS = {  # by the initialiser: from what the student started
    **dict.fromkeys(("default", "xavier", "kaiming", "truncated_normal", "mimetic"), "random weights"),
    "weight_selection": "weights that were selected from the teacher `{teacher}`",
    "selection_ls": "weights that were selected from the teacher `{teacher}` and refitted to it",
    "projection": "principal components of the teacher `{teacher}`",
    "projection_ls": "principal components of the teacher `{teacher}`, refitted to it",
    "full_teacher": "all weights of `{teacher}`, but for the classifier",
    "native": "pretrained weights of its own",
}
LARGEST = 4096  # pixels per side of a student that is read
FITS = {
    "crop": "the short side fills the square, the middle is kept",
    "letterbox": "the long side fills the square, the rest is black",
}


@dataclass
class Run:
    """The result of a run: the main student of the best evaluation (by validation), the auxiliary, and the history.

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
        """Write the main student (model.safetensors) and its model card (README.md). Returns the folder.

        evaluation: the table of `evaluate` on the test images, for the card.
        Raises PermissionError or OSError when it can't be written.
        """
        folder = writable_folder(folder)
        mean, std = input_statistics(self.main)
        facts = {"classes": self.classes, "mean": mean, "std": std, "image_size": self.image_size, "fit": self.fit}
        metadata = {"name": self.name, **{key: json.dumps(value) for key, value in facts.items()}}
        tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in self.main.state_dict().items()}
        write_atomically(folder / "model.safetensors", lambda part: save_file(tensors, part, metadata=metadata))
        card = _format_card(self, evaluation, folder.name)
        write_atomically(folder / "README.md", lambda part: part.write_text(card, encoding="utf-8"))
        return folder


def make_run(
    students: Students, splits: Splits, training: Training, distillation: Distillation, record: dict[str, Any]
) -> Run:
    """The Run of these students after training; record: history, best_step, seconds and skipped_steps."""
    seconds, steps = record["seconds"], record["history"][-1]["step"]
    facts = {name: getattr(students, name) for name in ("main", "name", "teacher", "initializer", "plans")}
    facts |= {name: record[name] for name in ("history", "best_step", "seconds", "skipped_steps")}
    facts |= {"data": splits.name, "classes": splits.classes, "fit": splits.fit, "training_images": len(splits.train)}
    return Run(
        **facts,
        auxiliary=None if distillation.strategy == "kd" else students.auxiliary,
        images_per_second=steps * training.batch_size / seconds if seconds else 0.0,
        image_size=splits.train.images.shape[-1],
        training=training,
        distillation=distillation,
    )


def _format_card(run: Run, evaluation: pd.DataFrame | None, folder: str) -> str:
    from huggingface_hub import ModelCardData

    tags = ["medical-imaging", *(["weight-selection"] if run.initializer == "weight_selection" else [])]
    mean, std = map(list, input_statistics(run.main))
    size, weights = f"{run.image_size} x {run.image_size} pixels", sum(p.numel() for p in run.main.parameters())
    rows: dict[str, Any] = {
        "architecture": f"`{run.name}`, {weights:,} parameters",
        "classes": escape_markdown(", ".join(run.classes)),
        "input": f"{size}, values in [0, 1], normalised with mean {mean} and std {std}",
        "other shapes": FITS[run.fit],
        "training images": run.training_images,
        "training steps": run.training.steps,
        "seed": run.training.seed,
    }
    if evaluation is not None:
        rows["test images"] = evaluation.attrs.get("images", "unknown")
        for row in evaluation.itertuples():
            metric, *class_name = row.metric.split("/", 1)
            name = escape_markdown(" of ".join(["test " + metric.replace("_", " "), *class_name]))
            rows[name] = f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
    selection = ("", "single selection and ", "dual selection and ")[len(run.plans)]
    strategy = run.distillation.strategy if run.distillation.alpha else "none"
    start = STARTS.get(run.initializer, f"`{run.initializer}`")
    methods = {
        "none": "training on the labels",
        "kd": "classic distillation from a fine-tuned teacher",
        "ema": f"{selection}self-knowledge distillation",
    }
    return CARD.format(
        run=run,
        data_name=escape_markdown(run.data),
        data=ModelCardData(library_name="timm", pipeline_tag="image-classification", tags=tags).to_yaml(),
        start=f"It started from {start.format(teacher=run.teacher)}. " if run.initializer else "",
        method=methods.get(strategy, f"self-distillation ({strategy})"),
        rows="\n".join(f"| {name} | {value} |" for name, value in rows.items()),
        folder=folder,
    )


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
        facts |= {key: json.loads(facts[key]) for key in ("classes", "mean", "std", "image_size", "fit")}
        if not 1 <= facts["image_size"] <= LARGEST:
            raise ValueError(f"image_size={facts['image_size']}")
        model = build(facts["name"], len(facts["classes"]), facts["image_size"])
        model.load_state_dict(load_file(path))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} was not written by Run.save ({error})") from error
    return set_input_statistics(model, facts["mean"], facts["std"]).eval(), facts
