"""Image files into small square uint8 pictures of one size, with what is known of the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

Array = np.ndarray
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DICOM = (".dcm", ".dicom")
NIFTI = (".nii", ".nii.gz")
FITS = ("crop", "letterbox")
THUMBNAIL = 32  # pixels per side
MAX_PIXELS = 80_000_000  # of one picture: our choice, below the 89 million at which Pillow warns
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")  # Pillow's other readers stay off: some start other programs
_DRAFT = 2 * THUMBNAIL  # pixels of a JPEG's short side from which its thumbnail is made
_COMPRESSION, _PHOTOMETRIC, _SAMPLE_FORMAT = 259, 262, 339  # TIFF tags
_MIN_IS_WHITE, _UNSIGNED = 0, 1  # values of the last two


@dataclass(frozen=True, eq=False)
class Decoded:
    """One picture of a file, and what is known of it.

    image:         uint8 (C, size, size), C = 1 when it is gray (also RGB files with equal channels), else 3.
    thumbnail:     uint8 (32, 32), the whole picture in gray, squashed; the same for every `size` and `fit`.
    width, height: pixels of the picture, upright, before resizing.
    mode:          "gray", or "colour" for three different channels or an alpha channel.
    depth:         bits a channel of the file: 1, 8, 16, 32 or 64.
    blank:         whether all pixels have one value.
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
    small: the same or a smaller version of it, for the thumbnail.
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

    >>> file = BytesIO()
    >>> Image.new("L", (60, 40), 7).save(file, "PNG")
    >>> decode(file.getvalue(), ".png", size=4, fit="letterbox").image[0, :, 0].tolist()
    [7, 7, 7, 0]
    """
    _check(data, size, fit, frame, window)
    if suffix in DICOM or suffix in NIFTI:
        picture = _reader(suffix).read(data, frame, window)
    elif suffix in SUFFIXES:
        picture = _read_image(data, size, frame, window)
    else:
        raise ValueError(f"files of the kind {suffix!r} are not read: use {', '.join(SUFFIXES + DICOM + NIFTI)}")
    image = _square(picture.image, size) if fit == "crop" else _letterbox(picture.image, size)
    if len(image) == 3 and (image == image[0]).all():
        image = image[:1]
    gray = picture.small if picture.small.mode == "F" else picture.small.convert("L")
    thumbnail = _rounded(gray.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC, reducing_gap=3))[0]
    mode = "colour" if len(image) == 3 or picture.alpha else "gray"
    return Decoded(
        image, thumbnail, picture.width, picture.height, mode, picture.depth, _blank(picture.image), picture.patient
    )


def frames(path: str | Path) -> int:
    """The number of pictures in a file: TIFF pages, DICOM frames, axial NIfTI slices, else 1.

    A broken file counts as one picture; `decode` says what is wrong with it.
    Raises ImportError when the reader for DICOM or NIfTI is not installed.
    """
    suffix = suffix_of(path)
    if suffix in DICOM or suffix in NIFTI:
        return _reader(suffix).count(path)
    if suffix not in (".tif", ".tiff"):
        return 1
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            return getattr(opened, "n_frames", 1)
    except Exception:  # Pillow raises many kinds
        return 1


def suffix_of(path: str | Path) -> str:
    """A file name's suffix in lower case.

    >>> suffix_of("study 1.5/Brain.NII.gz"), suffix_of("scan.v2.PNG")
    ('.nii.gz', '.png')
    """
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


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


def _read_image(data: bytes, size: int, frame: int, window: tuple[float, float] | None) -> Picture:
    """A PNG, JPEG, BMP or TIFF file; of a JPEG no more is decoded than `size` and the thumbnail need."""
    with _pillow_errors():
        opened = _open(data, frame)
        width, height = opened.size
        if opened.format != "TIFF" and opened.getexif().get(0x0112) in (5, 6, 7, 8):  # turned by 90 degrees
            width, height = height, width
        depth = _depth(opened, data)
        opened.draft("RGB" if opened.mode != "L" else "L", (size, size))
        small = opened
        if opened.format in ("JPEG", "MPO"):
            small = _open(data, frame)
            small.draft(None, (_DRAFT, _DRAFT))
            small = opened if small.size == opened.size else small
        for image in (opened, small):
            ImageOps.exif_transpose(image, in_place=True)
        if opened.mode in ("I", "F") or opened.mode.startswith("I;16"):
            deep = _deep(opened, depth, window)
            return Picture(deep, deep, width, height, depth)
        alpha = "A" in opened.getbands() or ("transparency" in opened.info and opened.mode not in ("1", "L"))
        flat = _flat(opened)
        return Picture(flat, flat if small is opened else _flat(small), width, height, depth, alpha)


def _deep(picture: Image.Image, depth: int, window: tuple[float, float] | None) -> Image.Image:
    """One channel of 16 bits or more as mode F, mending what Pillow leaves of a TIFF file's tags."""
    values = np.asarray(picture)
    if picture.format != "TIFF":
        return stretched(values, window)
    tags = picture.tag_v2  # type: ignore[attr-defined]
    if picture.mode in ("I", "F") and tags.prefix == b"MM" and tags.get(_COMPRESSION, 1) != 1:
        raise ValueError("a compressed big-endian TIFF of signed or float values: save it as little-endian")
    if picture.mode == "I" and depth == 32 and tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED:
        values = values.view(np.uint32)
    return stretched(values, window, inverted=tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE)


def _open(data: bytes, frame: int) -> Image.Image:
    """The file with its header read and its pixels not yet decoded."""
    opened = Image.open(BytesIO(data), formats=_FORMATS)
    count = getattr(opened, "n_frames", 1) if opened.format == "TIFF" else 1
    if frame >= count:
        raise ValueError(f"frame={frame}: the file holds {count}")
    if frame:
        opened.seek(frame)
    check_pixels(*opened.size)
    return opened


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Pillow raises many kinds of errors for broken files; here they become one."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"the image has more than {MAX_PIXELS // 10**6} million pixels: make it smaller") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError("not a PNG, JPEG, BMP or TIFF image of a known kind, or its start is damaged") from error
    except (MemoryError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"the image is damaged ({error or type(error).__name__})") from error


def _depth(opened: Image.Image, data: bytes) -> int:
    """Bits a channel of a file whose header has been read."""
    bits = 1 if opened.mode == "1" else 8
    if opened.format == "PNG":
        bits = data[24]
    elif opened.format == "TIFF":
        bits = opened.tag_v2.get(258, (1,))[0]  # type: ignore[attr-defined]
    return whole_depth(bits)


def whole_depth(bits: int) -> int:
    """The depth that holds so many bits: 1, 8, 16, 32 or 64."""
    return next(depth for depth in (1, 8, 16, 32, 64) if bits <= depth or depth == 64)


def _flat(picture: Image.Image) -> Image.Image:
    """The picture as L or RGB, its transparency laid on black."""
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    return picture.convert("RGB")


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


def _blank(picture: Image.Image) -> bool:
    extremes = np.reshape(picture.getextrema(), (-1, 2))
    return bool((extremes[:, 0] == extremes[:, 1]).all())
