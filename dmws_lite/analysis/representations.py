"""What networks make of images, layer by layer, and how alike two of them are: linear CKA.

Centred kernel alignment compares the similarities that each of two networks finds between the same images. It needs no
correspondence of channels: students may be cut from different places, and widths may differ.
Source: Kornblith et al. 2019 (arXiv 1905.00414); debiased as in Nguyen et al. 2021 (arXiv 2010.15327).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from dmws_lite.analysis.blocks import block_outputs, pool_output
from dmws_lite.data.sets import ImageSet
from dmws_lite.method.initializers import initialize
from dmws_lite.method.networks import Teacher, build
from dmws_lite.training.evaluation import normalised_batches

Array = np.ndarray
Features = Mapping[str, Array]


def features(model: nn.Module, images: ImageSet, places: bool = True, batch_size: int = 100) -> dict[str, Array]:
    """The output of each block of a ViT, ConvNeXt or MobileNet for each image, float32, by the block's name.

    places: True keeps every place, (image, place x channel), and begins with "stem", the input of the first block.
            False takes one vector per image, as for the classifier (class token or mean), (image, channel).
    """
    batches: dict[str, list[Array]] = {}
    for inputs in normalised_batches(model, images.images, batch_size):
        for name, output in block_outputs(model, inputs).items():
            if places or name != "stem":
                flat = output.flatten(1) if places else pool_output(output, model)
                batches.setdefault(name, []).append(flat.float().cpu().numpy())
    return {name: np.concatenate(arrays) for name, arrays in batches.items()}


def cka(first: Array, second: Array, debiased: bool = True) -> float:
    """Linear CKA of two representations of the same images: 1 for equal up to rotation and scale, 0 for unrelated.

    first, second: float (image, feature), rows in the same order, at least 4.
    debiased:      True takes the unbiased estimator of HSIC (Song et al. 2012), 0 on average for unrelated
                   representations; False the usual one, far above 0 where there are more features than images.

    >>> x = np.random.default_rng(0).standard_normal((20, 500))
    >>> y = np.random.default_rng(1).standard_normal((20, 500))
    >>> round(cka(x, 3 * x + 1), 3), cka(x, y, debiased=False) > 0.9, abs(cka(x, y)) < 0.2
    (1.0, True, True)
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} images: pass the same images in the same order")
    return _cosine(_similarities(first, debiased), _similarities(second, debiased))


def cka_table(first: Features, second: Features, debiased: bool = True) -> pd.DataFrame:
    """CKA of each layer of one network (rows) with each of another (columns)."""
    rows, columns = ({name: _similarities(x, debiased) for name, x in f.items()} for f in (first, second))
    values = [[_cosine(row, column) for column in columns.values()] for row in rows.values()]
    return pd.DataFrame(values, list(rows), list(columns))


def estimators(first: Array, second: Array, counts: Sequence[int], seed: int = 0, repeats: int = 10) -> pd.DataFrame:
    """Both estimators of CKA on fewer and fewer images, of the "same" and of "shuffled" ones, means of `repeats` draws.

    Returns images (of counts), pairs, biased and debiased.
    """
    rng, rows = np.random.default_rng(seed), []
    for count in np.repeat(counts, repeats):
        images = rng.choice(len(first), count, replace=False)
        for pairs, partners in (("same", images), ("shuffled", np.roll(images, 1))):
            biased, debiased = (cka(first[images], second[partners], debiased=kind) for kind in (False, True))
            rows.append({"images": count, "pairs": pairs, "biased": biased, "debiased": debiased})
    return pd.DataFrame(rows).groupby(["images", "pairs"], as_index=False).mean()


def over_training(
    model: nn.Module, snapshots: Mapping[int, Mapping[str, Mapping[str, Tensor]]], teacher: Features, images: ImageSet
) -> pd.DataFrame:
    """CKA of each block of both students with the teacher's block of the same number, and with each other's, by step.

    model is of the students' architecture, and is changed; snapshots are the state dicts of "main" and "auxiliary" by
    step; teacher is its `features` with places=False. Returns step, pair (as "main, teacher"), block (1, 2, ...), cka.
    """
    rows, tables = [], {"teacher": [_similarities(x) for x in teacher.values()]}
    for step, states in snapshots.items():
        for student, state in states.items():
            model.load_state_dict(state)
            tables[student] = [_similarities(x) for x in features(model, images, places=False).values()]
        for first, second in combinations(("main", "auxiliary", "teacher"), 2):
            if first in tables and second in tables:
                for block, (x, y) in enumerate(zip(tables[first], tables[second], strict=False), start=1):
                    rows.append((step, f"{first}, {second}", block, _cosine(x, y)))
    return pd.DataFrame(rows, columns=["step", "pair", "block", "cka"])


def in_plane(
    models: Mapping[str, nn.Module],
    images: ImageSet,
    snapshots: Mapping[int, Mapping[str, Mapping[str, Tensor]]] | None = None,
) -> pd.DataFrame:
    """Where each network puts each image, in the plane of the two principal components of what its classifier reads.

    snapshots: by step, state dicts of some of them: these move, in the plane of the trained network.
    Returns one row per network, step (nan without snapshots) and image: network, step, image (its number), x, y,
    class, answer and file.
    """
    from sklearn.decomposition import PCA

    names, tables = np.array(images.classes), []
    for name, model in models.items():
        states = {step: states[name] for step, states in (snapshots or {}).items() if name in states}
        trained, copy = read_by_classifier(model, images), deepcopy(model)
        plane = PCA(2, random_state=0).fit(trained[0])
        outputs: dict[Any, tuple[Array, Array]] = {} if states else {np.nan: trained}
        for step, state in states.items():
            copy.load_state_dict(state)
            outputs[step] = read_by_classifier(copy, images)
        for step, (read, scores) in outputs.items():
            x, y = plane.transform(read).T
            positions = {"network": name, "step": step, "image": range(len(images)), "x": x, "y": y}
            facts = {"class": names[images.labels], "answer": names[scores.argmax(1)], "file": images.names}
            tables.append(pd.DataFrame(positions | facts))
    return pd.concat(tables, ignore_index=True)


@torch.inference_mode()
def read_by_classifier(model: Any, images: ImageSet) -> tuple[Array, Array]:
    """What a network's classifier reads of each image, (image, feature), and what it makes of it, (image, class)."""
    inputs = normalised_batches(model.eval(), images.images)
    read = torch.cat([model.forward_head(model.forward_features(x), pre_logits=True) for x in inputs])
    return read.float().cpu().numpy(), model.get_classifier()(read).float().cpu().numpy()


def linear_probe(teacher: Teacher, train: ImageSet) -> nn.Module:
    """The teacher itself with a logistic regression on its standardised features of `train` as its classifier.

    Source: linear probes as in Alain & Bengio 2017 (arXiv 1610.01644).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if 0 in train.counts:
        raise ValueError(f"class {train.classes[train.counts.index(0)]!r} has no image: remove the class")
    size = train.images.shape[-1]
    model = initialize("full_teacher", build(teacher.name, len(train.classes), size), teacher_state=teacher).eval()
    x = read_by_classifier(model, train)[0]
    scaler = StandardScaler().fit(x)
    fitted = LogisticRegression(max_iter=3000).fit(scaler.transform(x), train.labels)
    weight, bias = fitted.coef_, fitted.intercept_
    if len(weight) == 1:  # two classes: scikit-learn keeps the difference of their scores
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / scaler.scale_
    classifier = model.get_classifier()
    with torch.no_grad():
        classifier.weight.copy_(torch.from_numpy(weight))
        classifier.bias.copy_(torch.from_numpy(bias - weight @ scaler.mean_))
    return model


def _similarities(x: Array, debiased: bool = True) -> Array:
    """Centred inner products of all pairs of images; debiased by U-centring (Székely & Rizzo 2014, arXiv 1310.2926)."""
    x, n = np.asarray(x, np.float64), len(x)
    if n < 4:
        raise ValueError(f"{n} images are too few: pass at least 4")
    x = x - x.mean(0)
    products = x @ x.T
    if not debiased:
        return products
    np.fill_diagonal(products, 0)
    sums = products.sum(1) / (n - 2)
    products += sums.sum() / (n - 1) - sums[:, None] - sums
    np.fill_diagonal(products, 0)
    return products


def _cosine(a: Array, b: Array) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
