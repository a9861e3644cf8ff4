"""Copies and look-alikes among images, found by hash and by the correlation of small thumbnails."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import ndimage, sparse

Array = np.ndarray
SIMILAR = 0.90  # correlation of local structure from which two images are look-alikes
NEAR, NEAR_DIFFERENCE = 0.98, 3.0  # correlation, and difference in gray levels, of the same picture saved again
KINDS = ("exact", "near", "similar")
MOST = 50  # pairs of one image with later ones that are kept, the closest ones
_BLOCK = 2048  # rows of the correlation matrix that are in memory at once


def find_pairs(hashes: Sequence[str], thumbnails: Array) -> pd.DataFrame:
    """All pairs of images that are copies or look-alikes: first < second (rows), kind, correlation, the closest first.

    hashes: one per file (N), "" for one that could not be read; thumbnails: uint8 (N, 32, 32), whole pictures in gray.
    "exact": the same bytes. "near": the same picture saved again (correlation of local structure at least NEAR, gray
    levels differ by at most NEAR_DIFFERENCE, root mean square). "similar" (at least SIMILAR): other brightness or
    contrast, a neighbouring slice, a second exposure of one patient, or another patient. At most MOST of one image.
    Source: our choice. Files saved again with JPEG quality 40, at half or one and a half times the size stay above
    0.98 on real chest X-rays, lung CT and brain MRI; X-rays of different patients stay below 0.9.
    """
    features = _local_structure(thumbnails)
    readable = np.array([bool(h) for h in hashes], bool)
    features[~readable] = 0
    codes = np.unique(np.asarray(hashes, str), return_inverse=True)[1]
    blocks = []
    for start in range(0, len(features), _BLOCK):
        correlation = features[start : start + _BLOCK] @ features[start:].T
        same = (codes[start : start + _BLOCK, None] == codes[None, start:]) & readable[start : start + _BLOCK, None]
        hits = np.triu((correlation >= SIMILAR) | same, 1)
        for row in np.flatnonzero(hits.sum(axis=1) > MOST):
            columns = np.flatnonzero(hits[row])
            closeness = correlation[row, columns] + 2 * same[row, columns]
            hits[row, columns[np.argsort(-closeness, kind="stable")[MOST:]]] = False
        rows, columns = np.nonzero(hits)
        blocks.append((rows + start, columns + start, correlation[rows, columns]))
    first, second, value = (np.concatenate(part) for part in zip(*blocks, strict=True))
    difference = np.sqrt(np.mean((thumbnails[first].astype(np.float32) - thumbnails[second]) ** 2, axis=(1, 2)))
    kind = np.where((value >= NEAR) & (difference <= NEAR_DIFFERENCE), "near", "similar")
    kind = np.where(codes[first] == codes[second], "exact", kind)
    table = pd.DataFrame({"first": first, "second": second, "kind": kind, "correlation": value})
    order = np.lexsort((second, first, -value, np.array([KINDS.index(k) for k in kind], int)))
    return table.iloc[order].reset_index(drop=True)


def group_pairs(count: int, linked: pd.DataFrame) -> Array:
    """A group number for each of `count` images, int64: images linked by a chain of `find_pairs` share one."""
    links = (np.ones(len(linked), bool), (linked["first"], linked["second"]))
    graph = sparse.coo_matrix(links, shape=(count, count))
    return sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int64)


def _local_structure(thumbnails: Array) -> Array:
    """What is left of thumbnails without brightness and contrast, each a unit vector: float32 (N, 1024)."""
    images = thumbnails.astype(np.float32)
    detail = images - ndimage.gaussian_filter(images, (0, 2, 2))
    contrast = np.sqrt(ndimage.gaussian_filter(detail**2, (0, 2, 2)))
    flat = (detail / (contrast + 4)).reshape(len(images), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-3)
