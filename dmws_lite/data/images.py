"""Image files into small square uint8 pictures of one size, with what is known of the file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageOps

from dmws_lite.data import medical

Array = np.ndarray
Window = tuple[float, float]
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DICOM = (".dcm", ".dicom")
NIFTI = (".nii", ".nii.gz")
THUMBNAIL = 32  # pixels per side
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")  # Pillow's other readers stay off: some start other programs
DRAFT = 2 * THUMBNAIL  # pixels of a JPEG's short side from which its thumbnail is made
ORIENTATION, BITS, COMPRESSION, PHOTOMETRIC, PLANES, SAMPLES = 274, 258, 259, 262, 284, 339  # TIFF tags
MIN_IS_WHITE, RGB = 0, 2  # values of PHOTOMETRIC
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it says of broken files is in our own errors


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
    """A decoded picture before it is resized: upright, in Pillow's mode L, RGB, or F with values 0 to 255.

    small: the same or a smaller version of it, which does not depend on the size that is asked for.
    """

    image: Image.Image
    small: Image.Image
    width: int
    height: int
    depth: int
    alpha: bool = False
    patient: str = ""


def decode(
    data: bytes, suffix: str, size: int, fit: str = "crop", frame: int = 0, window: Window | None = None
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
    Orientation tags are honoured, transparency is laid on black. DICOM and NIfTI: see `medical`.
    Raises ValueError with the reason when the file is broken, too large or of an unknown kind, ImportError when the
    reader for DICOM or NIfTI is not installed. The text names no file, and nothing that identifies a patient.

    >>> from io import BytesIO
    >>> file = BytesIO()
    >>> Image.new("L", (60, 40), 7).save(file, "PNG")
    >>> decode(file.getvalue(), ".png", size=4, fit="letterbox").image[0, :, 0].tolist()
    [7, 7, 7, 0]
    """
    if suffix in DICOM + NIFTI:
        picture = _medical(data, suffix, frame, window)
    else:
        with _pillow_errors():
            picture = _raster(data, size, frame, window)
    image = _square(picture.image, size) if fit == "crop" else _letterbox(picture.image, size)
    if len(image) == 3 and (image == image[0]).all():
        image = image[:1]
    gray = picture.small if picture.small.mode == "F" else picture.small.convert("L")
    thumbnail = _rounded(gray.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC, reducing_gap=3))[0]
    mode = "colour" if picture.alpha or _coloured(picture.small) else "gray"
    depth = next(depth for depth in (1, 8, 16, 32, 64) if picture.depth <= depth or depth == 64)
    extremes = np.reshape(picture.small.getextrema(), (-1, 2))
    blank = bool((extremes[:, 0] == extremes[:, 1]).all())
    return Decoded(image, thumbnail, picture.width, picture.height, mode, depth, blank, picture.patient)


def frames(path: str | Path) -> int:
    """The number of pictures in a file: TIFF pages (but reduced ones), DICOM frames, axial NIfTI slices, else 1.

    A broken file counts as one picture; `decode` says what is wrong with it.
    Raises ImportError when the reader for DICOM or NIfTI is not installed.
    """
    suffix = suffix_of(path) or (".dcm" if is_dicom(path) else "")
    if suffix in DICOM + NIFTI:
        _check_reader(suffix)
        return medical.count_dicom(path) if suffix in DICOM else medical.count_nifti(path)
    return len(_pages(path)) if suffix in (".tif", ".tiff") else 1


def suffix_of(path: str | Path) -> str:
    """A file name's suffix in lower case; numbers after a dot are none, as in the ids that name exported DICOM files.

    >>> suffix_of("study 1.5/Brain.NII.gz"), suffix_of("scan.v2.PNG"), suffix_of("1.2.840.10008")
    ('.nii.gz', '.png', '')
    """
    name = os.path.basename(path).lower()
    suffix = ".nii.gz" if name.endswith(".nii.gz") else os.path.splitext(name)[1]
    return "" if suffix[1:].isdigit() else suffix


def is_dicom(path: str | Path) -> bool:
    """Whether a file begins as DICOM files do, whatever its name: "DICM" after 128 bytes."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _check_reader(suffix: str) -> None:
    package, kind = ("pydicom", "DICOM") if suffix in DICOM else ("nibabel", "NIfTI")
    if find_spec(package) is None:
        raise ImportError(f'{package} is not installed, and reads {kind} files: pip install "dmws-lite[medical]"')


def _medical(data: bytes, suffix: str, frame: int, window: Window | None) -> Picture:
    """A slice of a DICOM or NIfTI file."""
    _check_reader(suffix)
    part = (medical.read_dicom if suffix in DICOM else medical.read_nifti)(data, frame, window)
    colour = part.values.dtype == np.uint8 and part.values.ndim == 3
    image = Image.fromarray(part.values) if colour else _stretched(part.values, part.window, part.inverted)
    return Picture(image, image, *image.size, part.depth, patient=part.patient)


def _raster(data: bytes, size: int, frame: int, window: Window | None) -> Picture:
    """One picture of a PNG, JPEG, BMP or TIFF file; of a JPEG no more is decoded than `size` and the thumbnail need."""
    is_tiff = data[:2] in (b"II", b"MM")
    pages = _pages(BytesIO(data)) if is_tiff else [0]
    if frame >= len(pages):
        raise ValueError(f"frame={frame}: the file holds {len(pages)}")
    try:
        opened = _opened(data, pages[frame])
    except (Image.UnidentifiedImageError, SyntaxError):
        if is_tiff:  # of a kind that Pillow does not know
            return _tiff(data, pages[frame], window)
        raise
    if is_tiff and _is_misread(opened):
        return _tiff(data, pages[frame], window)
    width, height = opened.size
    if not is_tiff and opened.getexif().get(ORIENTATION) in (5, 6, 7, 8):  # turned by 90 degrees
        width, height = height, width
    tags = opened.tag_v2 if is_tiff else {}
    bits = data[24] if opened.format == "PNG" else 1 if opened.mode == "1" else 8
    depth = tags.get(BITS, (1,))[0] if is_tiff else bits
    opened.draft("RGB" if opened.mode != "L" else "L", (size, size))
    small = opened
    if opened.format in ("JPEG", "MPO"):
        small = _opened(data, 0)
        small.draft(None, (DRAFT, DRAFT))
        small = opened if small.size == opened.size else small
    for image in (opened, small):
        ImageOps.exif_transpose(image, in_place=True)
    if opened.mode in ("I", "F") or opened.mode.startswith("I;16"):
        values = np.asarray(opened)
        if opened.mode == "I" and depth == 32 and tags.get(SAMPLES, (1,))[0] == 1:  # unsigned
            values = values.view(np.uint32)
        deep = _stretched(values, window, inverted=tags.get(PHOTOMETRIC) == MIN_IS_WHITE)
        return Picture(deep, deep, width, height, depth)
    flat, alpha = _flat(opened)
    return Picture(flat, flat if small is opened else _flat(small)[0], width, height, depth, alpha)


def _opened(data: bytes, page: int) -> Any:
    """The file with its header read and its pixels not yet decoded."""
    opened = Image.open(BytesIO(data), formats=FORMATS)
    if page:
        opened.seek(page)
    medical.check_pixels(*opened.size)
    return opened


def _pages(file: Any) -> list[int]:
    """The pages of a TIFF file that are no reduced versions of another one; [0] for a broken file."""
    import tifffile

    try:
        with tifffile.TiffFile(file) as opened:
            pages: Any = opened.pages
            full = [number for number, page in enumerate(pages) if not page.is_reduced]
            return full or [*range(len(pages))] or [0]
    except Exception:  # tifffile raises many kinds
        return [0]


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Pillow raises many kinds of errors for broken files; here they become one."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = medical.MAX_PIXELS // 10**6
        raise ValueError(f"the image has more than {most} million pixels: make it smaller") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError("not a PNG, JPEG, BMP or TIFF image of a known kind, or its start is damaged") from error
    except (MemoryError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"the image is damaged ({error or type(error).__name__})") from error


def _is_misread(opened: Any) -> bool:
    """Whether Pillow gets a TIFF page wrong: signed bytes, planes of 16 bits, compressed values in swapped order."""
    tags, (bits, *others) = opened.tag_v2, opened.tag_v2.get(BITS, (1,))
    compressed = tags.get(COMPRESSION, 1) != 1
    signed = bits <= 8 and tags.get(SAMPLES, (1,))[0] == 2
    planes = bool(others) and bits == 16 and tags.get(PLANES, 1) == 2 and not compressed
    return signed or planes or (opened.mode in ("I", "F") and tags.prefix == b"MM" and compressed)


def _tiff(data: bytes, number: int, window: Window | None) -> Picture:
    """A TIFF page that Pillow does not know, or gets wrong, read by tifffile: integers and floats of any size."""
    import tifffile

    try:
        with tifffile.TiffFile(BytesIO(data)) as file:
            page: Any = file.pages[number]
            medical.check_pixels(page.imagewidth * page.imagedepth, page.imagelength)
            planes = page.asarray(squeeze=False)[:, 0] if page.photometric <= RGB else None
    except (MemoryError, medical.Refused):
        raise
    except Exception as error:  # tifffile raises many kinds
        raise ValueError(f"the TIFF is damaged, or of a kind that is not read ({error}): save it as PNG") from error
    if planes is None:
        raise ValueError(f"a TIFF of {page.photometric.name} {page.dtype} is not read: save it as PNG")
    values = np.moveaxis(planes, 0, -1).reshape(*planes.shape[1:3], -1)  # (height, width, samples)
    if page.photometric != RGB:
        image = _stretched(values[..., 0], window, inverted=page.photometric == MIN_IS_WHITE)
    elif values.dtype.kind == "u":
        image = Image.fromarray((values[..., :3] >> max(page.bitspersample - 8, 0)).astype(np.uint8))
    else:
        wide = _rounded(_stretched(values[..., :3].reshape(len(values), -1), window))
        image = Image.fromarray(wide.reshape(*values.shape[:2], 3))
    image.getexif()[ORIENTATION] = page.tags.valueof(ORIENTATION, 1)
    ImageOps.exif_transpose(image, in_place=True)
    return Picture(image, image, *image.size, page.bitspersample)


def _flat(picture: Image.Image) -> tuple[Image.Image, bool]:
    """The picture as L or RGB, its transparency laid on black, and whether some pixel is not opaque."""
    if picture.mode == "La":  # gray with premultiplied alpha
        return picture.getchannel("L"), picture.getchannel("a").getextrema() != (255, 255)
    if picture.mode in ("1", "L"):
        return picture.convert("L"), False
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB"), False
    picture = picture.convert("RGBA")
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, picture).convert("RGB"), picture.getchannel("A").getextrema() != (255, 255)


def _stretched(values: Array, window: Window | None, inverted: bool = False) -> Image.Image:
    """Values (H, W) as mode F: `window`, or the finite extremes, become 0 and 255; not-a-number is the lower end."""
    values = np.asarray(values, np.float32)
    finite = np.isfinite(values)
    if window is None:
        window = (values[finite].min(), values[finite].max()) if finite.any() else (0, 0)
    low, high = np.float32(window[0]), np.float32(window[1])
    if not finite.all():
        values = np.nan_to_num(values, nan=float(low), posinf=float(high), neginf=float(low))
    values = (np.clip(values, low, high) - low) * (255 / max(float(high - low), 1e-6))
    return Image.fromarray(255 - values if inverted else values)


def _square(picture: Image.Image, size: int) -> Array:
    """The short side resized to `size` with anti-aliasing, the middle square cut out."""
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return _rounded(picture.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)))


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
