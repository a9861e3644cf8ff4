"""What a second student is worth by where its start comes from: another draw of images, or other principal components.

    python benchmarks/second_student.py --data brain_mri lung_ct chest_xray --out benchmarks/second_student.md

The embedded pair, 64 px, 10 % of the training images, 100 steps, both students compensated, as in the kept study
`two_students`, which has the complementary subset and the same start. Rows are kept in outputs/second_student.csv: what
is there is not run again. One thread; some 15 s a row.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import dmws_lite as dm
from dmws_lite.data.sets import Splits
from dmws_lite.method.measuring import CALIBRATION, calibration_images
from dmws_lite.method.networks import EMBEDDED_STUDENT
from dmws_lite.method.projection import principal_components
from dmws_lite.studies.statistics import paired_statistics

ROWS = Path("outputs/second_student.csv")
SHARE, SIZE, STEPS = 0.1, 64, 100
TRAININGS = {"SKD": dm.Distillation(), "each on the labels": dm.Distillation(alpha=0.0, auxiliary_update="trained")}
KEYS = ["start", "auxiliary", "training", "data", "seed"]


def another_draw(images: Tensor, seed: int) -> Tensor:
    """As many of the calibration images, drawn with replacement."""
    return images[np.random.default_rng(seed).integers(len(images), size=len(images))]


def components(choose: Callable[[int], np.ndarray], moment: Tensor, count: int) -> Tensor:
    """Those `count` of all principal components that `choose` takes, in place of the leading ones."""
    return principal_components(moment, len(moment) - 1)[:, choose(count)]


COMPONENTS: dict[str, Callable[[int], np.ndarray]] = {  # of the auxiliary student, by rank
    "the leading components, as the main": np.arange,
    "every other leading component, and the next ones": lambda n: np.r_[0:n:2, n : n + n // 2],
    "the components after the main's": lambda n: np.arange(n, 2 * n),
}
AUXILIARIES = {"selection_ls": ["fitted on another draw of the images"], "projection_ls": list(COMPONENTS)}


def make_pair(start: str, auxiliary: str, splits: Splits, seed: int) -> dm.Students:
    """A main student with its start, and an auxiliary with the start that `auxiliary` describes."""
    teacher, classes = dm.load_teacher(), len(splits.classes)
    images = calibration_images(splits.train, teacher, CALIBRATION)

    def make(images: Tensor) -> nn.Module:
        options = {"initializer": start, "images": images, "seed": seed, "image_size": SIZE}
        return dm.make_students(teacher, EMBEDDED_STUDENT, classes, None, **options).main

    main = make(images)
    if start == "selection_ls":
        return dm.Students(main, make(another_draw(images, seed)))
    chosen = partial(components, COMPONENTS[auxiliary])
    with mock.patch("dmws_lite.method.projection.principal_components", chosen):
        return dm.Students(main, make(images))


def run(start: str, auxiliary: str, training: str, data: str, seed: int) -> dict[str, float]:
    """Test accuracy of the main student and of both at inference."""
    splits = dm.open_data(data, SIZE, progress=False).part(SHARE, seed)
    students = make_pair(start, auxiliary, splits, seed)
    budget = dm.Training(steps=STEPS, batch_size=min(32, len(splits.train) // 2 * 2), seed=seed)
    trained = dm.fit(students, splits, budget, TRAININGS[training], device="cpu", progress=False)
    main, second = (dm.predict(network, splits.test) for network in (trained.main, trained.auxiliary))
    right = {name: (p.argmax(1) == splits.test.labels).mean() for name, p in (("main", main), ("both", main + second))}
    return {name: float(share) for name, share in right.items()}


def table(rows: pd.DataFrame) -> list[str]:
    """What the second student adds to the main one, which on the labels alone is trained as if it were the only one."""
    on = ["start", "data", "seed"]
    alone = rows[rows["training"] == "each on the labels"].drop_duplicates(on).set_index(on)["main"]
    lines = ["| start | auxiliary | training | main alone adds | both at inference add | pairs |", "|" + "---|" * 6]
    for names, group in rows.groupby(KEYS[:3], sort=False):
        cells = []
        for used in ("main", "both"):
            numbers = paired_statistics((group.set_index(on)[used] - alone).dropna().round(12).to_numpy())
            cells.append("{difference:+.3f} [{low:+.3f}, {high:+.3f}]".format(**numbers))
        lines.append(f"| {' | '.join([*names, *cells])} | {len(group)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["phantom_chest_xray"], help="names of cards, or folders")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=[*KEYS, "main", "both"])
    ROWS.parent.mkdir(exist_ok=True)
    pairs = [(start, auxiliary) for start, names in AUXILIARIES.items() for auxiliary in names]
    for seed, data, (start, auxiliary), training in product(range(options.seeds), options.data, pairs, TRAININGS):
        names = dict(zip(KEYS, (start, auxiliary, training, Path(data).name, seed), strict=True))
        if not (rows[KEYS] == pd.Series(names)).all(axis=1).any():
            row = names | run(start, auxiliary, training, data, seed)
            rows = pd.concat([rows, pd.DataFrame([row])], ignore_index=True)
            rows.to_csv(ROWS, index=False)
    caption = "Test accuracy minus that of the main student trained alone on the labels; mean and 95 % t interval."
    text = "\n".join(["# Where a second student's start comes from", "", caption, "", *table(rows), ""])
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
