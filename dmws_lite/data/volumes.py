"""Axial slices out of NIfTI volumes."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from dmws_lite.data.decoding import Picture, stretched, whole_depth

Array = np.ndarray
Window = tuple[float, float]
MAX_VOXELS = 512 * 512 * 2048  # of one volume: our choice
MAX_HEADER = 2**26  # bytes before the voxels: our choice
MAX_RATIO = 1100  # bytes that gzip can make of one: a little more than its format allows
PERCENTILES = (0.5, 99.5)  # of a volume's voxels, shown as black and white: our choice
_locks = [threading.Lock() for _ in range(8)]


def read(data: bytes, frame: int, window: Window | None) -> Picture:
    """One axial slice of a NIfTI file's bytes (.nii or .nii.gz), counted from the feet.

    The volume is turned to the nearest axes of the body: anterior is up, and the patient's left is on the right side of
    the picture, as in DICOM files. Nothing is resampled, so an oblique volume keeps its own slices. Of 4D files the
    first volume is used. Black and white are `window`, else the volume's PERCENTILES; voxels that are not a number are
    black. Raises ValueError.
    """
    with _locks[hash(data) % len(_locks)]:
        volume, own, depth = _volume(data)
    if frame >= volume.shape[2]:
        raise ValueError(f"frame={frame}: the file holds {volume.shape[2]}")
    image = stretched(volume[::-1, ::-1, frame].T, window or own)
    return Picture(image, image, *image.size, depth)


def count(path: str | Path) -> int:
    """The number of axial slices of a NIfTI file, 1 when it is broken."""
    import nibabel

    try:
        with open(path, "rb") as file:
            header = _header(_unpacked(file))
        axes = nibabel.io_orientation(header.get_best_affine())[:, 0]
        return int(_shape(header)[list(axes).index(2)])
    except Exception:  # nibabel raises many kinds
        return 1


@lru_cache(maxsize=1)
def _volume(data: bytes) -> tuple[Array, Window | None, int]:
    """The first volume as float32 (right, anterior, superior), its window and depth. Slices are asked for in turn."""
    import nibabel

    with _nibabel_errors():
        header = _header(_unpacked(BytesIO(data)))
        shape, kind = _shape(header), header.get_data_dtype()
        if kind.fields or kind.kind == "c":
            raise ValueError("the NIfTI file holds colours or complex numbers: save it with one real number a voxel")
        voxels, size = np.prod(shape, dtype=float), " x ".join(map(str, shape))
        if min(shape) < 1 or voxels > MAX_VOXELS:
            raise ValueError(f"the NIfTI file says its volume is {size}: 1 to {MAX_VOXELS} voxels are read")
        if voxels * kind.itemsize > MAX_RATIO * len(data):
            raise ValueError(f"the NIfTI file cannot hold the {size} voxels it speaks of: it is damaged or cut off")
        image_class = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
        image = image_class.from_stream(_unpacked(BytesIO(data)))
        first = (slice(None),) * min(3, image.ndim) + (0,) * (image.ndim - 3)
        values = np.asarray(image.dataobj[first], np.float32).reshape(shape)
        volume = nibabel.apply_orientation(values, nibabel.io_orientation(image.affine))
    return volume, _percentiles(volume), whole_depth(8 * kind.itemsize)


@contextmanager
def _nibabel_errors() -> Iterator[None]:
    """nibabel raises many kinds of errors for broken files; here they become one."""
    try:
        yield
    except (MemoryError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"not a NIfTI file, or a damaged or cut off one ({type(error).__name__})") from error


def _unpacked(file: IO[bytes]) -> Any:
    """The file, or a stream that unpacks it no further than it is read."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file


def _header(stream: Any) -> Any:
    import nibabel

    start = stream.read(540)
    second = 540 in (int.from_bytes(start[:4], order) for order in ("little", "big"))
    kind = nibabel.Nifti2Header if second else nibabel.Nifti1Header
    header = kind(start[: kind.sizeof_hdr], check=False)
    if header["magic"] not in (b"n+1", b"n+2") or not 0 <= float(header["vox_offset"]) <= MAX_HEADER:
        raise ValueError("not a single-file NIfTI, or a damaged one")
    return header


def _shape(header: Any) -> tuple[int, ...]:
    """The lengths of a volume's three axes."""
    return (*header.get_data_shape()[:3], 1, 1)[:3]


def _percentiles(volume: Array) -> Window | None:
    known = volume[np.isfinite(volume)]
    low, high = np.percentile(known, PERCENTILES) if known.size else (0, 0)
    if low == high and known.size:
        low, high = known.min(), known.max()
    return (float(low), float(high)) if low < high else None
