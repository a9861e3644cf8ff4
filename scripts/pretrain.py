"""Pretrain the embedded teacher on formula-drawn images (`make teacher`)."""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import formulas
import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.scheduler import CosineLRScheduler
from torch.nn import functional as F

from dmws_lite.data.augmentation import normalise
from dmws_lite.method.networks import EMBEDDED_TEACHER, build, input_statistics
from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.progress import tqdm

STATISTICS = input_statistics(EMBEDDED_TEACHER)


def to_input(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W) to normalised float (N, 3, H, W)."""
    return normalise(torch.from_numpy(images)[:, None], *STATISTICS)


@torch.inference_mode()
def accuracy(model: torch.nn.Module, seed: int, batches: int, batch_size: int = 256) -> float:
    """Share of right answers on `batches` batches of images the teacher was not trained on, at full difficulty."""
    model.eval()
    hits = 0
    for step in range(batches):
        images, labels = formulas.batch(seed, step, batch_size)
        hits += int((model(to_input(images)).argmax(1).numpy() == labels).sum())
    model.train()
    return hits / (batches * batch_size)


def pretrain(steps: int, batch_size: int, lr: float = 1e-3, seed: int = 0, out: str | Path = "outputs") -> dict:
    """Train the teacher on `steps` fresh batches, easy images first, and save it as safetensors with its report.

    The images' difficulty rises linearly over the first half of the run. One thread, so that the same machine and
    versions give the same weights. Returns the report that is also written to `<out>/embedded_vit_96.json`.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    folder = writable_folder(out)
    model = build(EMBEDDED_TEACHER, len(formulas.CLASSES), seed=seed)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    schedule = CosineLRScheduler(optimizer, steps, warmup_t=min(200, steps // 10), t_in_epochs=False)
    start, curve = time.time(), []
    with ProcessPoolExecutor(1) as pool:

        def draw(step: int):
            return pool.submit(formulas.batch, seed, step, batch_size, 64, min(1.0, 2 * step / steps))

        queue = [draw(step) for step in range(min(4, steps))]
        for step in (bar := tqdm(range(steps), desc="pretraining", mininterval=10)):
            images, labels = queue.pop(0).result()
            if step + 4 < steps:
                queue.append(draw(step + 4))
            schedule.step_update(step)
            logits = model(to_input(images))
            loss = F.cross_entropy(logits, torch.from_numpy(labels), label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if (step + 1) % 250 == 0 or step + 1 == steps:
                curve.append((step + 1, round(accuracy(model, seed + 1, 2), 4)))
                bar.set_postfix(loss=f"{loss.item():.3f}", accuracy=f"{curve[-1][1]:.3f}")
                save_teacher(model, folder / f"{EMBEDDED_TEACHER}.safetensors")
    report = {
        "classes": len(formulas.CLASSES), "steps": steps, "batch_size": batch_size, "lr": lr, "seed": seed,
        "images_seen": steps * batch_size, "accuracy": accuracy(model, seed + 2, 20), "accuracy_curve": curve,
        "minutes": round((time.time() - start) / 60, 1), "torch": torch.__version__, "timm": timm.__version__,
        "parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip
    (folder / f"{EMBEDDED_TEACHER}.json").write_text(json.dumps(report, indent=2))
    return report


def save_teacher(model: torch.nn.Module, path: Path) -> None:
    """Write the weights, with the names of the classes they were trained on."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    names = {"classes": json.dumps(list(formulas.CLASSES))}
    write_atomically(path, lambda part: save_file(state, part, names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    options = {"steps": 5000, "batch-size": 128, "lr": 1e-3, "seed": 0, "out": "outputs/teacher"}
    for name, default in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    print(json.dumps(pretrain(**vars(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
