"""How hard are the phantoms? Test accuracy of chance, of a linear model on pixels, and of a small ViT from scratch.

With the package installed: `python benchmarks/phantom_difficulty.py` (about nine minutes on one quiet core, three with
`--seeds 1`). One seed is not enough: the ViT stays at chance for some 100 to 600 steps, how long depends on its seed,
and it is often longer with all images than with 60, so a run that ends early can rank the two the wrong way round.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import timm
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from dmws_lite.data.augmentation import augment, normalise
from dmws_lite.data.loading import ImageSet, Splits, fraction
from dmws_lite.data.phantoms import MODALITIES, phantoms

MEAN = STD = 0.5
STUDENT = {"img_size": 64, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3}


def linear(splits: Splits) -> float:
    """Test accuracy of multinomial logistic regression on 32 x 32 pixels, its C chosen on validation."""

    def pixels(s: ImageSet) -> np.ndarray:
        n, _, h, w = s.images.shape
        return s.images.reshape(n, h // 2, 2, w // 2, 2).mean((2, 4)).reshape(n, -1) / 255 - 0.4

    def score(model: LogisticRegression, s: ImageSet) -> float:
        return float(model.score(pixels(s), s.labels))

    penalties = (1e-4, 1e-3, 1e-2, 1e-1)
    models = [LogisticRegression(C=c, max_iter=300).fit(pixels(splits.train), splits.train.labels) for c in penalties]
    return score(max(models, key=lambda m: score(m, splits.val)), splits.test)


def scratch(splits: Splits, train: ImageSet, steps: int, seed: int) -> float:
    """Test accuracy of a small ViT, trained from random weights, after its last step."""
    torch.manual_seed(seed)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=len(splits.classes), **STUDENT)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps, pct_start=0.1)
    draws = torch.Generator().manual_seed(seed)
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    for _ in range(steps):
        rows = torch.randperm(len(images), generator=draws)[:32]
        loss = F.cross_entropy(model(normalise(augment(images[rows], draws), MEAN, STD)), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.inference_mode():
        chosen = model(normalise(torch.from_numpy(splits.test.images), MEAN, STD)).argmax(1).numpy()
    return float((chosen == splits.test.labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600, help="training steps of 32 images")
    parser.add_argument("--seeds", type=int, default=3, help="training runs of the ViT; the images stay the same")
    parser.add_argument("--only", choices=MODALITIES, help="one modality")
    args = parser.parse_args()
    start = time.time()
    print(f"{'modality':12}{'chance':>8}{'linear':>8}   {'scratch 10 %':20}{'scratch 100 %':20}(one number a seed)")
    for modality in [args.only] if args.only else MODALITIES:
        splits = phantoms(modality)
        cells = [
            " ".join(
                f"{scratch(splits, fraction(splits.train, share), args.steps, seed):.2f}" for seed in range(args.seeds)
            )
            for share in (0.1, 1.0)
        ]
        line = f"{modality:12}{1 / len(splits.classes):8.2f}{linear(splits):8.2f}   {cells[0]:20}{cells[1]:20}"
        print(line, flush=True)
    print(f"600 training and 300 test images, {args.steps} steps of 32, {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
