"""What an average of two students is worth, a demonstration: do the channels of the second subset correspond?"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from dmws_lite.data.augmentation import normalise
from dmws_lite.data.opening import open_data
from dmws_lite.data.sets import ImageSet, Splits
from dmws_lite.method.alignment import axes_of
from dmws_lite.method.distillation import Distillation, update_auxiliary
from dmws_lite.method.networks import EMBEDDED_STUDENT, Teacher, load_teacher
from dmws_lite.method.students import make_students
from dmws_lite.training.evaluation import predict
from dmws_lite.training.fit import fit
from dmws_lite.training.settings import Training

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"same": ("same", False), "complementary": ("complementary", False), "aligned": ("complementary", True)}


def averaging(
    splits: Splits,
    training: Training = Training(),
    share: float = 0.1,
    teacher: Teacher | None = None,
    student: str = EMBEDDED_STUDENT,
) -> pd.DataFrame:
    """Two students and the average of their weights, at the start and after each was trained alone on the labels.

    share: part of the training images to train on; training's seed draws it.
    Returns a row an auxiliary ("same" subset, "complementary", "aligned": complementary with its channels in the order
    nearest to the main's) and a time: auxiliary, time ("start" or "trained"), cosine (of the two students' matrices,
    weighted by their norms), main, auxiliary_accuracy, average, on the validation images. At the start the classifier
    is random, so a linear one (scikit-learn's logistic regression) reads the features, fitted on all training images.
    Averages are what an EMA passes through. A demonstration, and our choice.
    Source: weights of independently trained networks average badly: Ainsworth et al. 2023 (arXiv 2209.04836).

    >>> averaging(open_data("phantom_brain_mri"), Training(steps=150))  # doctest: +SKIP
    """
    import pandas as pd

    teacher, rows = teacher or load_teacher(), []
    part, size = splits.part(share, training.seed), splits.train.images.shape[-1]
    alone = Distillation(alpha=0.0, auxiliary_update="trained")
    for name, (auxiliary, align) in KINDS.items():
        options: dict[str, Any] = {"align": align, "seed": training.seed, "image_size": size}
        pair = make_students(teacher, student, len(splits.classes), auxiliary, **options)
        main, other = pair.main, pair.auxiliary
        assert other is not None
        starts = [_probe(model, splits, teacher) for model in (main, other, average(main, other))]
        rows.append((name, "start", cosine(main, other), *starts))
        last: dict[str, Any] = {}
        fit(
            *(main, other, part, teacher.mean, teacher.std, training, alone),
            progress=False,
            on_evaluation=lambda _, m=main, last=last: last.update(copy.deepcopy(m.state_dict())),  # type: ignore[misc]
        )
        main.load_state_dict(last)  # the last weights, as the auxiliary's are; not the best on validation
        ends = [_accuracy(model, splits.val, teacher) for model in (main, other, average(main, other))]
        rows.append((name, "trained", cosine(main, other), *ends))
    return pd.DataFrame(rows, columns=["auxiliary", "time", "cosine", "main", "auxiliary_accuracy", "average"])


def average(main: nn.Module, auxiliary: nn.Module) -> nn.Module:
    """A network whose weights are the mean of both students': where an EMA stands after one half-life."""
    made = copy.deepcopy(auxiliary)
    update_auxiliary(made, main, 0.5)
    return made


def cosine(main: nn.Module, auxiliary: nn.Module) -> float:
    """Cosine of the two students' matrices, all taken as one vector; vectors and the shared classifier are left out.

    >>> from dmws_lite.method.networks import build
    >>> model = build("embedded_vit_48", 3)
    >>> round(cosine(model, model), 3)
    1.0
    """
    names = [name for name, axes in axes_of(main, classifier=False).items() if len(axes) > 1]
    a, b = (torch.cat([model.state_dict()[name].flatten() for name in names]) for model in (main, auxiliary))
    return float(torch.cosine_similarity(a, b, dim=0))


def _probe(model: Any, splits: Splits, teacher: Teacher) -> float:
    """Validation accuracy of a linear classifier on a network's features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(images: ImageSet) -> np.ndarray:
        pixels = normalise(torch.from_numpy(np.array(images.images)), teacher.mean, teacher.std)
        with torch.inference_mode():
            return torch.cat(
                [model.forward_head(model.forward_features(x), pre_logits=True) for x in pixels.split(256)]
            ).numpy()

    model.eval()
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    linear.fit(features(splits.train), splits.train.labels)
    return float(linear.score(features(splits.val), splits.val.labels))


def _accuracy(model: nn.Module, images: ImageSet, teacher: Teacher) -> float:
    return float((predict(model, images, teacher.mean, teacher.std).argmax(axis=1) == images.labels).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    import pandas as pd

    parser = argparse.ArgumentParser(prog="python -m dmws_lite.studies.averaging", description=__doc__)
    parser.add_argument("data", nargs="*", default=["phantom_brain_mri"], help="whatever open_data takes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=Training.steps)
    args = parser.parse_args(arguments)
    for data in args.data:
        splits = open_data(data)
        runs = [averaging(splits, Training(steps=args.steps, seed=seed)) for seed in range(args.seeds)]
        means = pd.concat(runs).groupby(["time", "auxiliary"], sort=False).mean()
        print(f"\n{splits.name}: mean of {args.seeds} seeds, accuracy on the validation images")
        print(means.to_string(float_format="{:.3f}".format), flush=True)


if __name__ == "__main__":
    main()
