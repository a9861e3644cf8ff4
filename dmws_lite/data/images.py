"""Image files into small square uint8 pictures of one size, with what is known of the file."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageOps

from dmws_lite.data import medical

Array = np.ndarray
Window = tuple[float, float]
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
DICOM = (".dcm", ".dicom")
NIFTI = (".nii", ".nii.gz")
THUMBNAIL = 32  # pixels per side
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")  # Pillow's other readers stay off: some start other programs
ORIENTATION = 274  # a tag of TIFF and EXIF
MIN_IS_WHITE, RGB, PALETTE, CMYK = 0, 2, 3, 5  # values of a TIFF's photometric interpretation
TONES = (MIN_IS_WHITE, 1, RGB, PALETTE)
SEPARATE, PREMULTIPLIED, ALPHA = 2, 1, (1, 2)  # of its planar configuration, and its extra samples
REDUCED, MASK = 1, 4  # bits of its subfile type
PACKBITS, ZSTD, FLOATING = 32773, 50000, 3  # compressions, and a predictor
PNG = "save it as PNG"
KINDS: tuple[Any, ...] = (  # other kinds of files, the way out, and the place and bytes by which they are known
    ("a HEIC image", PNG, 4, b"ftyphei", b"ftypmif1", b"ftypmsf1", b"ftyphevc"),
    ("an AVIF image", PNG, 4, b"ftypavif", b"ftypavis"),
    ("a JPEG 2000 image", PNG, 0, b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    ("a JPEG XL image", PNG, 0, b"\xff\x0a", b"\0\0\0\x0cJXL "),
    ("a DICOM file", "name it .dcm", 128, b"DICM"),
    ("a NIfTI file", "name it .nii", 344, b"n+1\0"),
    ("a JPEG that is damaged or of a rare kind (12 bits, lossless)", PNG, 0, b"\xff\xd8"),
    ("a PDF", PNG, 0, b"%PDF"),
    ("a PostScript file", PNG, 0, b"%!PS"),
    ("a web page", "download the image again", 0, b"<!DOCTYPE", b"<!doctype", b"<html"),
    ("a pointer of Git LFS", "fetch the file that it stands for (git lfs pull)", 0, b"version https://git-lfs"),
)
RASTER = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")  # how other images begin
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it says of broken files is in our own errors


@dataclass(frozen=True, eq=False)
class Decoded:
    """One picture of a file, and what is known of it. All but `image` is the same for every size and fit."""

    image: Array  # uint8 (C, size, size), C = 1 when it is gray (also RGB files with equal channels), else 3
    thumbnail: Array  # uint8 (32, 32), the whole picture in gray, squashed
    width: int  # pixels of the picture, upright, before resizing
    height: int
    mode: str  # "gray", or "colour" where some pixel's channels differ or it is not opaque
    depth: int  # bits per channel of the file: 1, 8, 16, 32 or 64
    blank: bool  # whether all pixels have one value
    patient: str = field(default="", repr=False)  # the id in a DICOM file: the only thing here that identifies someone


class Picture(NamedTuple):
    """A decoded picture before it is resized: upright, in Pillow's mode L, RGB, or F with values 0 to 255."""

    image: Image.Image
    depth: int
    alpha: bool = False  # whether some pixel is not opaque
    patient: str = ""
    small: Image.Image | None = None  # a smaller version of it, which does not depend on the size that is asked for
    size: tuple[int, int] | None = None  # of the whole picture, where `image` is smaller


def decode(
    data: bytes, suffix: str, size: int, fit: str = "crop", frame: int = 0, window: Window | None = None
) -> Decoded:
    """One picture out of a file's bytes (PNG, JPEG, BMP, TIFF, GIF, WebP, DICOM or NIfTI; for suffix, see `suffix_of`).

    size, fit: pixels per side; "crop" keeps the middle square, "letterbox" everything, with black beside it.
    frame:     page of a TIFF (no smaller versions, no masks), frame of a DICOM, axial slice of a NIfTI from the feet.
    window:    (low, high), shown as black and white, in the units of DICOM, NIfTI and gray images of 16 bits or more.
               None: the window that a DICOM file names, else the picture's minimum and maximum, for NIfTI the volume's
               0.5 and 99.5 percentiles (our choice). Colour with 16 bits per channel keeps the upper 8.
    Orientation tags are honoured, transparency and DICOM padding are black, DICOM and NIfTI pixels are made square.
    Raises ValueError for a broken, too large or unknown file, ImportError without the reader for DICOM or NIfTI; the
    text names no file and nothing of a patient.
    """
    picture = _read_picture(data, suffix, size, frame, window)
    whole = picture.image
    image = _to_uint8(ImageOps.fit(whole, (size, size))) if fit == "crop" else _letterbox(whole, size)
    if len(image) == 3 and (image == image[0]).all():
        image = image[:1]
    small = picture.small or whole
    gray = small if small.mode == "F" else small.convert("L")
    thumbnail = _to_uint8(gray.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC, reducing_gap=3))[0]
    first, *others = small.split()
    coloured = picture.alpha or any(ImageChops.difference(first, other).getbbox() for other in others)
    depth = next(depth for depth in (1, 8, 16, 32, 64) if picture.depth <= depth or depth == 64)
    extremes = np.reshape(small.getextrema(), (-1, 2))
    blank = bool((extremes[:, 0] == extremes[:, 1]).all())
    width, height = picture.size or whole.size
    mode = "colour" if coloured else "gray"
    return Decoded(image, thumbnail, width, height, mode, depth, blank, picture.patient)


def frames(path: str | Path) -> int:
    """The number of pictures in a file, see `decode`; a broken file counts as one."""
    suffix = suffix_of(path) or (".dcm" if is_dicom(path) else "")
    if suffix in DICOM + NIFTI:
        return medical.count_slices(path, suffix in DICOM)
    if suffix not in (".tif", ".tiff"):
        return 1
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return len(_find_pages(file)) or 1
    except Exception:  # tifffile raises many kinds
        return 1


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


def _read_picture(data: bytes, suffix: str, size: int, frame: int, window: Window | None) -> Picture:
    """A file's picture; Pillow's many kinds of errors become one, which tells the file's true kind."""
    try:
        if suffix in DICOM + NIFTI and (data[128:132] == b"DICM" or not data.startswith(RASTER)):
            shown = medical.read_slice(data, suffix in DICOM, frame, window)
            colour = shown.values.dtype == np.uint8 and shown.values.ndim == 3
            image = Image.fromarray(shown.values) if colour else _stretch(shown.values, shown.window, shown.inverted)
            return Picture(_make_square(image, shown.aspect), shown.depth, patient=shown.patient)
        if data[:2] in (b"II", b"MM"):
            return _read_tiff(data, frame, window)
        return _read_raster(data, suffix, size, frame, window)
    except Image.UnidentifiedImageError as error:
        for kind, way_out, place, *marks in KINDS:
            if data.startswith(tuple(marks), place):
                raise ValueError(f"{kind}, whatever its name says: {way_out}") from error
        raise ValueError("not a PNG, JPEG, BMP or TIFF image of a known kind, or its start is damaged") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = medical.MAX_PIXELS // 10**6
        raise ValueError(f"the image has more than {most} million pixels: make it smaller") from error
    except (MemoryError, ValueError, ImportError):
        raise
    except Exception as error:
        raise ValueError(f"the image is damaged ({error or type(error).__name__})") from error


def _read_raster(data: bytes, suffix: str, size: int, frame: int, window: Window | None) -> Picture:
    """The picture of a PNG, JPEG, BMP, GIF or WebP file; a JPEG is decoded no larger than `size` and thumbnail need."""
    if frame:
        raise ValueError(f"frame={frame}: the file holds 1")
    opened = _open_header(data)
    form, (width, height) = opened.format, opened.size
    if form == "PNG" and data[24:26] == b"\x10\4":  # of which Pillow keeps the upper 8 bits
        raise medical.Refused("16-bit gray PNG files with transparency are not read: save it without transparency")
    named = f" named {suffix}" if form in ("GIF", "WEBP") and suffix != f".{form.lower()}" else ""
    if named or getattr(opened, "n_frames", 1) > 1:
        warnings.warn(f"{form} files{named} are read, the first frame of each", stacklevel=2)
    if opened.getexif().get(ORIENTATION) in (5, 6, 7, 8):  # turned by 90 degrees
        width, height = height, width
    depth = data[24] if form == "PNG" else 1 if opened.mode == "1" else 8
    opened.draft("RGB" if opened.mode != "L" else "L", (size, size))
    small = opened
    if form in ("JPEG", "MPO"):
        small = _open_header(data)
        small.draft(None, (2 * THUMBNAIL, 2 * THUMBNAIL))
        small = opened if small.size == opened.size else small
    for image in (opened, small):
        ImageOps.exif_transpose(image, in_place=True)
    flat, alpha = _flatten(opened, window)
    return Picture(flat, depth, alpha, small=flat if small is opened else _flatten(small)[0], size=(width, height))


def _open_header(data: bytes, formats: tuple[str, ...] = FORMATS) -> Any:
    """The file with its header read and its pixels not yet decoded."""
    opened = Image.open(BytesIO(data), formats=formats)
    medical.check_pixels(*opened.size)
    return opened


def _flatten(picture: Image.Image, window: Window | None = None, inverted: bool = False) -> tuple[Image.Image, bool]:
    """The picture as L, RGB or, when deep, F, its transparency laid on black; and whether some pixel is not opaque."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _stretch(np.asarray(picture), window, inverted), False
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("L" if picture.mode in ("1", "L") else "RGB"), False
    picture = picture.convert("RGBA")
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, picture).convert("RGB"), picture.getchannel("A").getextrema() != (255, 255)


def _stretch(values: Array, window: Window | None, inverted: bool = False) -> Image.Image:
    """Values (H, W) as mode F: `window`, or the finite extremes, become 0 and 255; not-a-number is black."""
    wide = values.dtype.itemsize > (4 if values.dtype.kind == "f" else 2)  # for the 24 bits that float32 keeps
    values = np.asarray(values, np.float64 if wide else np.float32)
    finite = np.isfinite(values)
    if window is None:
        window = (values[finite].min(), values[finite].max()) if finite.any() else (0, 0)
    low, high = values.dtype.type(window[0]), values.dtype.type(window[1])
    if not finite.all():
        values = np.nan_to_num(values, nan=float(high if inverted else low), posinf=float(high), neginf=float(low))
    values = (np.clip(values, low, high) - low) * (255 / float(high - low) if high > low else 0.0)
    return Image.fromarray((255 - values if inverted else values).astype(np.float32, copy=False))


def _make_square(picture: Image.Image, aspect: float) -> Image.Image:
    """The picture with square pixels, no axis made smaller; `aspect` is the height of its pixels in their widths."""
    if not 1.01 < max(aspect, 1 / aspect) < 50:  # square, or nonsense
        return picture
    width, height = round(picture.width * max(1, 1 / aspect)), round(picture.height * max(1, aspect))
    medical.check_pixels(width, height)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _letterbox(picture: Image.Image, size: int) -> Array:
    """The long side resized to `size` with anti-aliasing, in the middle of a black square."""
    width, height = (max(1, round(side * size / max(picture.size))) for side in picture.size)
    small = _to_uint8(picture.resize((width, height), Image.Resampling.BICUBIC))
    top, left = (size - height) // 2, (size - width) // 2
    return np.pad(small, ((0, 0), (top, size - height - top), (left, size - width - left)))


def _to_uint8(picture: Image.Image) -> Array:
    """A picture as uint8 (C, H, W)."""
    values = np.asarray(picture)
    if values.dtype != np.uint8:
        values = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _read_tiff(data: bytes, frame: int, window: Window | None) -> Picture:
    """A page of a TIFF, read by tifffile; by Pillow only where it has a compression or colours that tifffile lacks."""
    import tifffile

    kind = "TIFF"
    try:
        with tifffile.TiffFile(BytesIO(data)) as file:
            pages = _find_pages(file)
            if frame >= len(pages):
                raise medical.Refused(f"frame={frame}: the file holds {len(pages)}" if pages else "the TIFF is damaged")
            page: Any = pages[frame]
            kind = _describe_page(page)
            number = next((k for k, other in enumerate(file.pages) if other is page), None)
            medical.check_pixels(page.imagewidth * page.imagedepth * -(-page.samplesperpixel // 4), page.imagelength)
            lacking = page.compression not in tifffile.TIFF.DECOMPRESSORS or page.compression == ZSTD
            if page.photometric in TONES and not lacking and page.predictor != FLOATING:
                image, alpha = _render_samples(page, _read_samples(page), window)
                image.getexif()[ORIENTATION] = page.tags.valueof(ORIENTATION, 1)
            elif number is None or _is_misread(page):
                raise Image.UnidentifiedImageError
            else:
                image = _open_header(data, ("TIFF",))
                image.seek(number)
                ImageOps.exif_transpose(image, in_place=True)
                image, alpha = _flatten(image, window, inverted=page.photometric == MIN_IS_WHITE)
            ImageOps.exif_transpose(image, in_place=True)
            return Picture(image, page.bitspersample, alpha)
    except (MemoryError, medical.Refused, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"the {kind} is not read: save it as PNG") from error
    except Exception as error:  # tifffile and Pillow raise many kinds
        raise ValueError(f"the {kind} is damaged, or of a kind that is not read ({error}): save it as PNG") from error


def _find_pages(file: Any) -> list[Any]:
    """The pages of a TIFF that are no smaller version of another one, nor its mask; they may lie below small ones."""
    pages = [*file.pages]
    full = [page for page in pages if not page.subfiletype & (REDUCED | MASK)]
    below = [sub for page in pages if not full and page.subifds for sub in page.pages]
    full = full or [page for page in below if not page.subfiletype & (REDUCED | MASK)] or pages
    largest = max((page.imagewidth * page.imagelength for page in full), default=0)
    return [page for page in full if 4 * page.imagewidth * page.imagelength > largest] or full


def _describe_page(page: Any) -> str:
    """What a TIFF page is, such as "float64 planar CMYK TIFF"."""
    number = "" if page.dtype is None else str(page.dtype)
    if number[:4] in ("", "uint", "bool"):
        number = f"{page.bitspersample}-bit"
    colours = {"SEPARATED": "CMYK", "MINISBLACK": "gray", "MINISWHITE": "gray"}
    photometric = getattr(page.photometric, "name", str(page.photometric))
    packed = f" {page.compression.name}" if page.compression != 1 else ""
    planar = " planar" if page.planarconfig == SEPARATE and page.samplesperpixel > 1 else ""
    return f"{number}{planar} {colours.get(photometric, photometric)}{packed} TIFF"


def _is_misread(page: Any) -> bool:
    """Whether Pillow gets a TIFF page wrong that tifffile does not read."""
    bits, kind = page.bitspersample, "" if page.dtype is None else page.dtype.kind
    planes = page.planarconfig == SEPARATE and page.samplesperpixel > 1 and (bits > 8 or page.photometric == CMYK)
    packed = page.predictor != 1 and page.compression == PACKBITS
    big = page.parent.byteorder == ">" and (kind == "i" or bits == 32)
    return planes or packed or big or (kind == "i" and bits == 8) or (kind == "u" and bits == 32)


def _read_samples(page: Any) -> Array:
    """The values of a TIFF page (H, W, samples); integers such as those of 12 bits, which tifffile lacks, by hand."""
    import tifffile

    bits, height, width = page.bitspersample, page.imagelength, page.imagewidth
    if bits in (1, 8, 16, 32, 64) or page.is_tiled:
        planes = page.asarray(squeeze=False)[:, 0]  # (planes, H, W, samples of each)
        return np.moveaxis(planes, 0, -1).reshape(height, width, -1)
    if bits > 16 or page.predictor != 1:
        raise ValueError(f"{bits} bits")
    planes, each = (page.samplesperpixel, 1) if page.planarconfig == SEPARATE else (1, page.samplesperpixel)
    decompress = tifffile.TIFF.DECOMPRESSORS[page.compression]
    strips = page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts)
    data = np.frombuffer(b"".join(bytes(decompress(strip)) for strip, _ in strips), np.uint8)
    row_bytes, row_bits = -(-width * each * bits // 8), width * each * bits
    packed = data.reshape(-1, row_bytes)
    rows = np.unpackbits(packed, axis=1, bitorder="little" if page.fillorder == 2 else "big")[:, :row_bits]
    numbers = rows.reshape(-1, bits) @ (1 << np.arange(bits, dtype=np.uint16)[::-1])
    return numbers.reshape(planes, height, width, each).transpose(1, 2, 3, 0).reshape(height, width, -1)


def _render_samples(page: Any, values: Any, window: Window | None) -> tuple[Image.Image, bool]:
    """A TIFF page's values as mode L, RGB or F, and whether some pixel is not opaque."""
    if values.dtype.kind == "c":
        raise medical.Refused(f"the {_describe_page(page)} is not read: save it as PNG")
    bits, unsigned = page.bitspersample, values.dtype.kind in "bu"
    exact = unsigned and (bits <= 8 or page.photometric == RGB)
    colours = values[..., :3] if page.photometric == RGB else values[..., :1]
    if page.photometric == PALETTE:
        table = page.colormap if page.colormap.max() < 256 else page.colormap >> 8  # some write 8 bits
        colours = table[:, colours[..., 0].astype(np.intp)].transpose(1, 2, 0)
    elif unsigned and bits <= 8:
        colours = colours if bits == 8 else np.rint(colours * (255 / (2**bits - 1)))
    elif exact:
        colours = (colours >> (bits - 8)).astype(np.uint8)
    else:
        flat = colours.reshape(len(colours), -1)
        colours = np.asarray(_stretch(flat, window)).reshape(colours.shape)
    if page.photometric == MIN_IS_WHITE:
        colours = 255 - colours
    alpha = next((place for place, kind in enumerate(page.extrasamples) if kind in ALPHA), None)
    opaque: Array = np.ones(1)
    if alpha is not None and unsigned:
        opaque = values[..., values.shape[-1] - len(page.extrasamples) + alpha] / (2**bits - 1)
        if page.extrasamples[alpha] != PREMULTIPLIED:
            colours = np.rint(colours * opaque[..., None])
    if colours.dtype != np.uint8:  # of 8 bits they are all the while, in an eighth of the memory
        colours = colours.astype(np.float32)
        colours = np.rint(colours).astype(np.uint8) if exact or colours.shape[-1] == 3 else colours
    return Image.fromarray(colours[..., 0] if colours.shape[-1] == 1 else colours), bool((opaque < 1).any())
