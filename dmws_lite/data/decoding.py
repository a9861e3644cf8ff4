"""Image files into small square uint8 pictures of one size, with what is known of the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops

Array = np.ndarray
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DICOM = (".dcm", ".dicom")
NIFTI = (".nii", ".nii.gz")
FITS = ("crop", "letterbox")
THUMBNAIL = 32  # pixels per side
MAX_PIXELS = 80_000_000  # of one picture: our choice, below the 89 million at which Pillow warns


@dataclass(frozen=True, eq=False)
class Decoded:
    """One picture of a file, and what is known of it.

    image:         uint8 (C, size, size), C = 1 when it is gray (also RGB files with equal channels), else 3.
    thumbnail:     uint8 (32, 32), the whole picture in gray, squashed; the same for every `size` and `fit`.
    width, height: pixels of the picture, upright, before resizing.
    mode:          "gray", or "colour" where channels differ or a pixel is not opaque, in the square or outside of it.
    depth:         bits a channel of the file: 1, 8, 16, 32 or 64.
    blank:         whether all pixels have one value. Like mode, it is the same for every `size` and `fit`.
    patient:       the id in a DICOM file, else "". The only thing here that identifies someone: `repr` leaves it out.
    """

    image: Array
    thumbnail: Array
    width: int
    height: int
    mode: str
    depth: int
    blank: bool
    patient: str = field(default="", repr=False)


class Picture(NamedTuple):
    """A decoded picture before it is resized.

    image: upright, in Pillow's mode L, RGB, or F with values 0 to 255.
    small: the same or a smaller version of it, which does not depend on the size that is asked for.
    alpha: whether some pixel is not opaque.
    """

    image: Image.Image
    small: Image.Image
    width: int
    height: int
    depth: int
    alpha: bool = False
    patient: str = ""


def decode(
    data: bytes,
    suffix: str,
    size: int,
    fit: str = "crop",
    frame: int = 0,
    window: tuple[float, float] | None = None,
) -> Decoded:
    """One picture out of a file's bytes.

    data, suffix: the file's bytes and its suffix, see `suffix_of`: PNG, JPEG, BMP, TIFF, DICOM or NIfTI.
    size:   pixels per side, 1 or more, reached with anti-aliasing.
    fit:    "crop" (the short side fills the square, the middle is kept) or "letterbox" (the long side fills it, the
            rest is black). Nothing is squashed; pixels are taken to be square.
    frame:  page of a TIFF, frame of a multi-frame DICOM, axial slice of a NIfTI volume (from foot to head), from 0.
    window: (low, high), shown as black and white, in the file's units (such as Hounsfield) for DICOM, NIfTI and images
            with one channel of 16 bits or more. None: the window that a DICOM file names, else the picture's minimum
            and maximum, for NIfTI the volume's 0.5 and 99.5 percentiles (our choice). Files with 8 bits or with colour
            are taken as they are; colour with 16 bits a channel keeps the upper 8.
    Orientation tags are honoured, transparency is laid on black. DICOM and NIfTI: see `dicom.read` and `volumes.read`.
    Raises ValueError with the reason when the file is broken, too large (MAX_PIXELS) or of an unknown kind, ImportError
    when the reader for DICOM or NIfTI is not installed. The text names no file, and nothing that identifies a patient.

    >>> from io import BytesIO
    >>> file = BytesIO()
    >>> Image.new("L", (60, 40), 7).save(file, "PNG")
    >>> decode(file.getvalue(), ".png", size=4, fit="letterbox").image[0, :, 0].tolist()
    [7, 7, 7, 0]
    """
    from dmws_lite.data import rasters

    _check(data, size, fit, frame, window)
    if suffix in DICOM or suffix in NIFTI:
        picture = _reader(suffix).read(data, frame, window)
    elif suffix in SUFFIXES:
        picture = rasters.read(data, size, frame, window)
    else:
        raise ValueError(f"files of the kind {suffix!r} are not read: use {', '.join(SUFFIXES + DICOM + NIFTI)}")
    image = _square(picture.image, size) if fit == "crop" else _letterbox(picture.image, size)
    if len(image) == 3 and (image == image[0]).all():
        image = image[:1]
    gray = picture.small if picture.small.mode == "F" else picture.small.convert("L")
    thumbnail = _rounded(gray.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC, reducing_gap=3))[0]
    mode = "colour" if picture.alpha or _coloured(picture.small) else "gray"
    return Decoded(
        image, thumbnail, picture.width, picture.height, mode, picture.depth, _blank(picture.small), picture.patient
    )


def frames(path: str | Path) -> int:
    """The number of pictures in a file: TIFF pages, DICOM frames, axial NIfTI slices, else 1.

    A broken file counts as one picture; `decode` says what is wrong with it.
    Raises ImportError when the reader for DICOM or NIfTI is not installed.
    """
    suffix = suffix_of(path) or (".dcm" if is_dicom(path) else "")
    if suffix in DICOM or suffix in NIFTI:
        return _reader(suffix).count(path)
    from dmws_lite.data import rasters

    return rasters.count(path) if suffix in (".tif", ".tiff") else 1


def suffix_of(path: str | Path) -> str:
    """A file name's suffix in lower case; numbers after a dot are none, as in the ids that name exported DICOM files.

    >>> suffix_of("study 1.5/Brain.NII.gz"), suffix_of("scan.v2.PNG"), suffix_of("1.2.840.10008")
    ('.nii.gz', '.png', '')
    """
    name = Path(path).name.lower()
    suffix = ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix
    return "" if suffix[1:].isdigit() else suffix


def is_dicom(path: str | Path) -> bool:
    """Whether a file begins as DICOM files do, whatever its name: "DICM" after 128 bytes."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def check_pixels(width: int, height: int) -> None:
    """Refuse pictures that would fill the memory, by what their header says."""
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are more than {MAX_PIXELS // 10**6} million: make it smaller")


def stretched(values: Array, window: tuple[float, float] | None, inverted: bool = False) -> Image.Image:
    """Values (H, W) as a picture of mode F: `window`, or the smallest and largest finite value, become 0 and 255.

    Not-a-number becomes the lower end. inverted: the lower end is white.
    """
    values = np.asarray(values, np.float32)
    finite = np.isfinite(values)
    if window is None:
        known = values[finite]
        low, high = (known.min(), known.max()) if known.size else (np.float32(0), np.float32(0))
    else:
        low, high = np.float32(window[0]), np.float32(window[1])
    if not finite.all():
        values = np.nan_to_num(values, nan=float(low), posinf=float(high), neginf=float(low))
    values = (np.clip(values, low, high) - low) * (255 / max(float(high - low), 1e-6))
    return Image.fromarray(255 - values if inverted else values)


def _check(data: bytes, size: int, fit: str, frame: int, window: tuple[float, float] | None) -> None:
    if size < 1:
        raise ValueError(f"size={size}: pass the number of pixels per side, such as 64")
    if fit not in FITS:
        raise ValueError(f"fit={fit!r} is unknown: pass 'crop' or 'letterbox'")
    if frame < 0:
        raise ValueError(f"frame={frame}: pass 0 for the first one")
    if window is not None and not window[0] < window[1]:
        raise ValueError(f"window={tuple(window)}: pass (low, high) with low < high")
    if not data:
        raise ValueError("the file is empty")


def _reader(suffix: str) -> ModuleType:
    """The module that reads DICOM or NIfTI files; both have `read` and `count`."""
    package, kind = ("pydicom", "DICOM") if suffix in DICOM else ("nibabel", "NIfTI")
    if find_spec(package) is None:
        raise ImportError(f'{package} is not installed, and reads {kind} files: pip install "dmws-lite[medical]"')
    return import_module("dmws_lite.data.dicom" if suffix in DICOM else "dmws_lite.data.volumes")


def whole_depth(bits: int) -> int:
    """The depth that holds so many bits: 1, 8, 16, 32 or 64."""
    return next(depth for depth in (1, 8, 16, 32, 64) if bits <= depth or depth == 64)


def _square(picture: Image.Image, size: int) -> Array:
    """The short side resized to `size` with anti-aliasing, the middle square cut out."""
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return _rounded(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _letterbox(picture: Image.Image, size: int) -> Array:
    """The long side resized to `size` with anti-aliasing, in the middle of a black square."""
    width, height = (max(1, round(side * size / max(picture.size))) for side in picture.size)
    small = _rounded(picture.resize((width, height), Image.Resampling.BICUBIC))
    square = np.zeros((len(small), size, size), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[:, top : top + height, left : left + width] = small
    return square


def _rounded(picture: Image.Image) -> Array:
    """A picture as uint8 (C, H, W)."""
    values = np.asarray(picture)
    if values.dtype != np.uint8:
        values = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _coloured(picture: Image.Image) -> bool:
    """Whether some pixel's channels differ."""
    first, *others = picture.split()
    return any(ImageChops.difference(first, other).getbbox() for other in others)


def _blank(picture: Image.Image) -> bool:
    extremes = np.reshape(picture.getextrema(), (-1, 2))
    return bool((extremes[:, 0] == extremes[:, 1]).all())
