"""How hard are the phantoms? Test accuracy of chance, of a linear model on pixels, and of a small ViT from scratch.

With the package installed: `python benchmarks/phantom_difficulty.py`. A phantom family is fit for purpose when the
linear model is clearly below the trained student, and the student neither fails nor saturates.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from sklearn.linear_model import LogisticRegression

import dmws_lite as dm
from dmws_lite.data.phantoms import MODALITIES
from dmws_lite.data.sets import ImageSet, Splits


def linear(splits: Splits) -> float:
    """Test accuracy of multinomial logistic regression on 32 x 32 pixels, its C chosen on validation."""

    def pixels(s: ImageSet):
        n, _, h, w = s.images.shape
        return s.images.reshape(n, h // 2, 2, w // 2, 2).mean((2, 4)).reshape(n, -1) / 255 - 0.4

    def score(model: LogisticRegression, s: ImageSet) -> float:
        return float(model.score(pixels(s), s.labels))

    penalties = (1e-4, 1e-3, 1e-2, 1e-1)
    models = [LogisticRegression(C=c, max_iter=300).fit(pixels(splits.train), splits.train.labels) for c in penalties]
    return score(max(models, key=lambda m: score(m, splits.val)), splits.test)


def from_scratch(splits: Splits, share: float, steps: int, seed: int) -> float:
    """Test accuracy of a small ViT with random weights, trained on a share of the training images."""
    students = dm.Students(dm.build("embedded_vit_48", len(splits.classes), seed=seed))
    part = replace(splits, train=dm.fraction(splits.train, share, seed))
    run = dm.fit(students, part, dm.Training(steps=steps, seed=seed), dm.Distillation("none"), progress=False)
    return float((dm.predict(run.main, splits.test).argmax(1) == splits.test.labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--steps", type=int, default=1500, help="training steps of 32 images; a ViT from scratch needs more than 600"
    )
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    print(f"{'modality':12}{'chance':>8}{'linear':>8}   student from scratch on 60, 300, 600 images (mean, each seed)")
    for modality in MODALITIES:
        splits, cells = dm.phantoms(modality), []
        for share in (0.1, 0.5, 1.0):
            accuracies = [from_scratch(splits, share, args.steps, seed) for seed in range(args.seeds)]
            cells.append(f"{np.mean(accuracies):.2f} ({' '.join(f'{value:.2f}' for value in accuracies)})")
        print(f"{modality:12}{1 / len(splits.classes):8.2f}{linear(splits):8.2f}   {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
