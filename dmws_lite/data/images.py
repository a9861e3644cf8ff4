"""Image files into small square uint8 pictures of one size, with what is known of the file."""

from __future__ import annotations

import logging
import os
import warnings
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
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
DICOM = (".dcm", ".dicom")
NIFTI = (".nii", ".nii.gz")
THUMBNAIL = 32  # pixels per side
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")  # Pillow's other readers stay off: some start other programs
DRAFT = 2 * THUMBNAIL  # pixels of a JPEG's short side from which its thumbnail is made
ORIENTATION = 274  # a tag of TIFF and EXIF
MIN_IS_WHITE, RGB, PALETTE, CMYK = 0, 2, 3, 5  # values of a TIFF's photometric interpretation
TONES = (MIN_IS_WHITE, 1, RGB, PALETTE)
SEPARATE, PREMULTIPLIED, ALPHA = 2, 1, (1, 2)  # of its planar configuration, and its extra samples
REDUCED, MASK = 1, 4  # bits of its subfile type
KINDS = (  # place and bytes by which other kinds of files are known
    *((4, b"ftyp" + brand, "a HEIC image") for brand in (b"heic", b"heix", b"mif1", b"msf1", b"hevc")),
    *((4, b"ftyp" + brand, "an AVIF image") for brand in (b"avif", b"avis")),
    *((0, mark, "a JPEG 2000 image") for mark in (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    *((0, mark, "a JPEG XL image") for mark in (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    *((128, b"DICM", "a DICOM file"), (344, b"n+1\0", "a NIfTI file"), (0, b"\x1f\x8b", "a gzip file")),
    *((0, b"%PDF", "a PDF"), (0, b"%!PS", "a PostScript file"), (0, b"8BPS", "a Photoshop file")),
    *((0, b"PK\3\4", "a zip archive"), (0, b"\x89HDF", "an HDF5 file"), (0, b"\x93NUMPY", "a NumPy array")),
    *((0, mark, "a web page") for mark in (b"<!DOCTYPE", b"<!doctype", b"<html")),
    *((0, b"<svg", "an SVG drawing"), (0, b"version https://git-lfs", "a pointer of Git LFS")),
)
WAYS_OUT = {
    "a DICOM file": "name it .dcm",
    "a NIfTI file": "name it .nii",
    "a web page": "download the image again",
    "a pointer of Git LFS": "fetch the file that it stands for (git lfs pull)",
}
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

    data, suffix: the file's bytes and its suffix, see `suffix_of`: PNG, JPEG, BMP, TIFF, GIF, WebP, DICOM or NIfTI.
    size:   pixels per side, 1 or more, reached with anti-aliasing.
    fit:    "crop" (the short side fills the square, the middle is kept) or "letterbox" (the long side fills it, the
            rest is black). Nothing is squashed; pixels are taken to be square.
    frame:  page of a TIFF (smaller versions and masks of others do not count), frame of a multi-frame DICOM, axial
            slice of a NIfTI volume (from foot to head), from 0.
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
        with _pillow_errors(data):
            is_tiff = data[:2] in (b"II", b"MM")
            picture = _tiff(data, frame, window) if is_tiff else _raster(data, suffix, size, frame, window)
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
    if suffix not in (".tif", ".tiff"):
        return 1
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return len(_pages(file)) or 1
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


def _raster(data: bytes, suffix: str, size: int, frame: int, window: Window | None) -> Picture:
    """One picture of a PNG, JPEG, BMP, GIF or WebP file; a JPEG is decoded no larger than `size` and thumbnail need."""
    if frame:
        raise ValueError(f"frame={frame}: the file holds 1")
    opened = _opened(data)
    if opened.format in ("GIF", "WEBP"):
        count, form = getattr(opened, "n_frames", 1), {"GIF": ".gif", "WEBP": ".webp"}[opened.format]
        if count > 1 or suffix != form:
            text = f"{form[1:].upper()} files" + f" named {suffix}" * (suffix != form)
            warnings.warn(text + " are read, the first frame of each", stacklevel=2)
    width, height = opened.size
    if opened.getexif().get(ORIENTATION) in (5, 6, 7, 8):  # turned by 90 degrees
        width, height = height, width
    depth = data[24] if opened.format == "PNG" else 1 if opened.mode == "1" else 8
    opened.draft("RGB" if opened.mode != "L" else "L", (size, size))
    small = opened
    if opened.format in ("JPEG", "MPO"):
        small = _opened(data)
        small.draft(None, (DRAFT, DRAFT))
        small = opened if small.size == opened.size else small
    for image in (opened, small):
        ImageOps.exif_transpose(image, in_place=True)
    flat, alpha = _flat(opened, window)
    return Picture(flat, flat if small is opened else _flat(small)[0], width, height, depth, alpha)


def _opened(data: bytes, formats: tuple[str, ...] = FORMATS) -> Any:
    """The file with its header read and its pixels not yet decoded."""
    opened = Image.open(BytesIO(data), formats=formats)
    medical.check_pixels(*opened.size)
    return opened


@contextmanager
def _pillow_errors(data: bytes) -> Iterator[None]:
    """Pillow raises many kinds of errors for broken files; here they become one, which tells the file's true kind."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = medical.MAX_PIXELS // 10**6
        raise ValueError(f"the image has more than {most} million pixels: make it smaller") from error
    except Image.UnidentifiedImageError as error:
        kind = next((kind for place, mark, kind in KINDS if data[place : place + len(mark)] == mark), "")
        if kind:
            raise ValueError(f"{kind}, whatever its name says: {WAYS_OUT.get(kind, 'save it as PNG')}") from error
        raise ValueError("not a PNG, JPEG, BMP or TIFF image of a known kind, or its start is damaged") from error
    except (MemoryError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"the image is damaged ({error or type(error).__name__})") from error


def _pages(file: Any) -> list[Any]:
    """The pages of a TIFF that are no smaller version of another one, nor its mask; they may lie below small ones."""
    pages = [*file.pages]
    full = [page for page in pages if not page.subfiletype & (REDUCED | MASK)]
    below = [sub for page in pages if not full and page.subifds for sub in page.pages]
    full = full or [page for page in below if not page.subfiletype & (REDUCED | MASK)] or pages
    largest = max((page.imagewidth * page.imagelength for page in full), default=0)
    return [page for page in full if 4 * page.imagewidth * page.imagelength > largest] or full


def _tiff(data: bytes, frame: int, window: Window | None) -> Picture:
    """A page of a TIFF, read by tifffile; by Pillow only where it has a compression or colours that tifffile lacks."""
    import tifffile

    kind = "TIFF"
    try:
        with tifffile.TiffFile(BytesIO(data)) as file:
            pages = _pages(file)
            if frame >= len(pages):
                raise medical.Refused(f"frame={frame}: the file holds {len(pages)}" if pages else "the TIFF is damaged")
            page: Any = pages[frame]
            kind = _kind(page)
            number = next((k for k, other in enumerate(file.pages) if other is page), None)
            medical.check_pixels(page.imagewidth * page.imagedepth, page.imagelength)
            if page.photometric in TONES and page.compression in tifffile.TIFF.DECOMPRESSORS:
                image, alpha = _toned(page, _samples(page), window)
                image.getexif()[ORIENTATION] = page.tags.valueof(ORIENTATION, 1)
                ImageOps.exif_transpose(image, in_place=True)
                return Picture(image, image, *image.size, page.bitspersample, alpha)
    except (MemoryError, medical.Refused):
        raise
    except Exception as error:  # tifffile raises many kinds
        raise ValueError(f"the {kind} is damaged, or of a kind that is not read ({error}): save it as PNG") from error
    try:
        if number is None or _is_misread(page):
            raise SyntaxError
        opened = _opened(data, ("TIFF",))
        opened.seek(number)
    except (Image.UnidentifiedImageError, SyntaxError, EOFError) as error:
        raise ValueError(f"the {kind} is not read: save it as PNG") from error
    ImageOps.exif_transpose(opened, in_place=True)
    flat, alpha = _flat(opened, window, inverted=page.photometric == MIN_IS_WHITE)
    return Picture(flat, flat, *flat.size, page.bitspersample, alpha)


def _is_misread(page: Any) -> bool:
    """Whether Pillow gets a TIFF page wrong that tifffile does not read."""
    bits, kind = page.bitspersample, "" if page.dtype is None else page.dtype.kind
    planes = page.planarconfig == SEPARATE and page.samplesperpixel > 1 and (bits > 8 or page.photometric == CMYK)
    return planes or (kind == "i" and bits == 8) or (bits == 32 and (kind == "u" or page.parent.byteorder == ">"))


def _kind(page: Any) -> str:
    """What a TIFF page is, such as "float64 planar CMYK TIFF"."""
    number = f"{page.bitspersample}-bit" if page.dtype is None else str(page.dtype)
    number = f"{page.bitspersample}-bit" if number[:4] in ("uint", "bool") else number
    colours = {"SEPARATED": "CMYK", "MINISBLACK": "gray", "MINISWHITE": "gray"}
    photometric = getattr(page.photometric, "name", str(page.photometric))
    packed = f" {page.compression.name}" if page.compression != 1 else ""
    planar = " planar" if page.planarconfig == SEPARATE and page.samplesperpixel > 1 else ""
    return f"{number}{planar} {colours.get(photometric, photometric)}{packed} TIFF"


def _samples(page: Any) -> Array:
    """The values of a TIFF page (H, W, samples)."""
    bits, height, width = page.bitspersample, page.imagelength, page.imagewidth
    if bits in (1, 8, 16, 32, 64) or page.is_tiled:
        planes = page.asarray(squeeze=False)[:, 0]  # (planes, H, W, samples of each)
        return np.moveaxis(planes, 0, -1).reshape(height, width, -1)
    planes, each = (page.samplesperpixel, 1) if page.planarconfig == SEPARATE else (1, page.samplesperpixel)
    if bits > 16 or page.predictor != 1:
        raise ValueError(f"{bits} bits")
    return (
        _unpacked(page, -(-width * each * bits // 8), bits)[:, : width * each]
        .reshape(planes, height, width, each)
        .transpose(1, 2, 3, 0)
        .reshape(height, width, -1)
    )


def _unpacked(page: Any, row_bytes: int, bits: int) -> Array:
    """Integers of up to 16 bits that are packed in rows of whole bytes, (rows, values)."""
    import tifffile

    file, decompress = page.parent.filehandle, tifffile.TIFF.DECOMPRESSORS[page.compression]
    strips = file.read_segments(page.dataoffsets, page.databytecounts)
    data = b"".join(bytes(decompress(strip)) if page.compression != 1 else strip for strip, _ in strips)
    rows = np.unpackbits(np.frombuffer(data, np.uint8).reshape(-1, row_bytes), axis=1)
    numbers = rows[:, : 8 * row_bytes // bits * bits].reshape(len(rows), -1, bits)
    wide = np.zeros((*numbers.shape[:2], 16), np.uint8)
    wide[..., 16 - bits :] = numbers
    return np.packbits(wide, axis=-1).view(">u2")[..., 0].astype(np.uint16)


def _toned(page: Any, values: Any, window: Window | None) -> tuple[Image.Image, bool]:
    """A TIFF page's values as mode L, RGB or F, and whether some pixel is not opaque."""
    bits, unsigned = page.bitspersample, values.dtype.kind in "bu"
    colours = values[..., :3] if page.photometric == RGB else values[..., :1]
    if values.dtype.kind == "c":
        raise medical.Refused(f"the {_kind(page)} is not read: save it as PNG")
    if page.photometric == PALETTE:
        colours = (page.colormap[:, colours[..., 0]] >> 8).transpose(1, 2, 0)
    elif unsigned and bits <= 8:
        colours = np.rint(colours * (255 / (2**bits - 1)))
    elif unsigned and page.photometric == RGB:
        colours = colours >> (bits - 8)
    else:
        flat = colours.reshape(len(colours), -1)
        colours = np.asarray(_stretched(flat, window)).reshape(colours.shape)
    if page.photometric == MIN_IS_WHITE:
        colours = 255 - colours
    kinds = [kind for kind in page.extrasamples if kind in ALPHA]
    opaque: Array = np.ones(1)
    if kinds and unsigned:
        place = values.shape[-1] - len(page.extrasamples) + [*page.extrasamples].index(kinds[0])
        opaque = values[..., place] / (2**bits - 1)
        colours = colours if kinds[0] == PREMULTIPLIED else np.rint(colours * opaque[..., None])
    exact = unsigned and (bits <= 8 or page.photometric == RGB)
    colours = colours.astype(np.uint8 if exact else np.float32)
    if colours.shape[-1] == 3 and not exact:
        colours = np.rint(colours).astype(np.uint8)
    return Image.fromarray(colours[..., 0] if colours.shape[-1] == 1 else colours), bool((opaque < 1).any())


def _flat(picture: Image.Image, window: Window | None = None, inverted: bool = False) -> tuple[Image.Image, bool]:
    """The picture as L, RGB or, when deep, F, its transparency laid on black; and whether some pixel is not opaque."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _stretched(np.asarray(picture), window, inverted), False
    if picture.mode in ("1", "L"):
        return picture.convert("L"), False
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB"), False
    picture = picture.convert("RGBA")
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, picture).convert("RGB"), picture.getchannel("A").getextrema() != (255, 255)


def _stretched(values: Array, window: Window | None, inverted: bool = False) -> Image.Image:
    """Values (H, W) as mode F: `window`, or the finite extremes, become 0 and 255; not-a-number is the lower end."""
    values = np.asarray(values, np.float64 if values.dtype.itemsize > 4 else np.float32)
    finite = np.isfinite(values)
    if window is None:
        window = (values[finite].min(), values[finite].max()) if finite.any() else (0, 0)
    low, high = values.dtype.type(window[0]), values.dtype.type(window[1])
    if not finite.all():
        values = np.nan_to_num(values, nan=float(low), posinf=float(high), neginf=float(low))
    values = (np.clip(values, low, high) - low) * (255 / max(float(high - low), 1e-6))
    return Image.fromarray((255 - values if inverted else values).astype(np.float32))


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
