"""Pictures out of PNG, JPEG, BMP and TIFF files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dmws_lite.data.decoding import MAX_PIXELS, THUMBNAIL, Picture, check_pixels, stretched, whole_depth

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")  # Pillow's other readers stay off: some start other programs
_DRAFT = 2 * THUMBNAIL  # pixels of a JPEG's short side from which its thumbnail is made
_COMPRESSION, _PHOTOMETRIC, _SAMPLE_FORMAT = 259, 262, 339  # TIFF tags
_MIN_IS_WHITE, _UNSIGNED = 0, 1  # values of the last two


def read(data: bytes, size: int, frame: int, window: tuple[float, float] | None) -> Picture:
    """One picture of a file's bytes; of a JPEG no more is decoded than `size` and the thumbnail need.

    Raises ValueError.
    """
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
        alpha = _has_alpha(opened) and opened.convert("RGBA").getchannel("A").getextrema() != (255, 255)
        flat = _flat(opened)
        return Picture(flat, flat if small is opened else _flat(small), width, height, depth, alpha)


def count(path: str | Path) -> int:
    """The number of pages of a TIFF file, 1 when it is broken."""
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            return getattr(opened, "n_frames", 1)
    except Exception:  # Pillow raises many kinds
        return 1


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


def _has_alpha(picture: Image.Image) -> bool:
    return "A" in picture.getbands() or ("transparency" in picture.info and picture.mode not in ("1", "L"))


def _flat(picture: Image.Image) -> Image.Image:
    """The picture as L or RGB, its transparency laid on black."""
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    if _has_alpha(picture):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    return picture.convert("RGB")
