"""Pictures out of DICOM files. Of all that identifies a patient, the id alone is read."""

from __future__ import annotations

import logging
import threading
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from dmws_lite.data.decoding import Picture, check_pixels, stretched, whole_depth

Array = np.ndarray
Window = tuple[float, float]
MAX_FRAMES = 20_000  # of one DICOM file: our choice
MAX_INFLATED = 2**30  # bytes of a deflated DICOM file: our choice
COLOUR_MODELS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
GRAY_MODELS = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("Red", "Green", "Blue")
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_TAGS = [  # what is read of a DICOM file
    *("PatientID", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows"),
    *("Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleIntercept", "RescaleSlope"),
    *("ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(f"{colour}PaletteColorLookupTable{part}" for colour in _COLOURS for part in ("Descriptor", "Data")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in _COLOURS),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", *_PIXELS),
]
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_one_at_a_time = threading.Lock()


class _Facts(NamedTuple):
    """What a DICOM file's header says, and the packages that could decode its compression."""

    patient: str
    pixels: bool
    width: int
    height: int
    frames: int
    bits: int
    model: str
    readable: bool
    packages: str


def read(data: bytes, frame: int, window: Window | None) -> Picture:
    """One frame of a DICOM file's bytes.

    Gray: rescale slope and intercept or the modality table, then `window`, else the file's own table or first window,
    else the frame's minimum and maximum; MONOCHROME1 is inverted. Colour (RGB, YBR, palette) is taken as it is.
    Only tags about pixels are read, and the patient's id, which goes into Picture.patient and nowhere else. pydicom's
    texts may quote the file: none of its errors, warnings and log records gets out.
    Raises ValueError (also for a compression whose decoder is not installed, naming it).
    """
    _check_inflated(stream := BytesIO(data))
    file = _hushed(_parsed, stream)
    facts = _hushed(_facts, file)
    if not facts.pixels:
        raise ValueError("the DICOM file holds no picture (as reports and plans do), or is cut off before it")
    if facts.model not in COLOUR_MODELS + GRAY_MODELS:
        raise ValueError("the DICOM file's colour model is not read: export it as MONOCHROME2 or RGB")
    if not 1 <= facts.frames <= MAX_FRAMES:
        raise ValueError(f"the DICOM file says it holds {facts.frames} frames: 1 to {MAX_FRAMES} are read")
    if frame >= facts.frames:
        raise ValueError(f"frame={frame}: the file holds {facts.frames}")
    check_pixels(facts.width, facts.height)
    if not facts.readable:
        way_out = f"pip install {facts.packages}" if facts.packages else "export it uncompressed"
        raise ValueError(f"no decoder is installed for the DICOM file's compression: {way_out}")
    hint = f"; pip install {facts.packages} may help" if facts.packages else ""
    values, own = _hushed(_values, file, frame, facts.model, hint=hint)
    if facts.model in COLOUR_MODELS:
        image = Image.fromarray(values)
    else:
        values, window = _toned(values, own) if window is None else (values, window)
        image = stretched(values, window, inverted=facts.model == "MONOCHROME1")
    return Picture(image, image, facts.width, facts.height, whole_depth(facts.bits), patient=facts.patient)


def count(path: str | Path) -> int:
    """The number of frames of a DICOM file, 1 when it does not say or is broken."""
    try:
        with open(path, "rb") as file:
            _check_inflated(file)
            frames = _hushed(lambda: _frames(_parsed(file, ["NumberOfFrames"])))
    except (OSError, ValueError):
        return 1
    return frames if 1 <= frames <= MAX_FRAMES else 1


def _hushed(function: Callable[..., Any], *args: Any, hint: str = "") -> Any:
    """Call something that uses pydicom, and let out no text of its errors, warnings and log records."""
    log = logging.getLogger("pydicom")
    with _one_at_a_time, warnings.catch_warnings():  # filters and levels belong to the process, so threads take turns
        warnings.simplefilter("ignore")
        level = log.level
        log.setLevel(logging.CRITICAL + 1)
        try:
            return function(*args)
        except MemoryError:
            raise
        except Exception as error:
            kind = type(error).__name__
        finally:
            log.setLevel(level)
    raise ValueError(f"not a DICOM file, or a damaged one ({kind}{hint})")


def _check_inflated(file: IO[bytes]) -> None:
    """Refuse deflated files that would fill the memory: pydicom inflates them in one go."""
    start = file.read(4096)
    if _DEFLATED in start:
        file.seek(144 + int.from_bytes(start[140:144], "little"))
        try:
            size = len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), MAX_INFLATED))
        except zlib.error as error:
            raise ValueError("the DICOM file's deflated part is damaged") from error
        if size == MAX_INFLATED:
            raise ValueError(f"the DICOM file inflates to {MAX_INFLATED} bytes or more: export it uncompressed")
    file.seek(0)


def _parsed(file: IO[bytes], tags: list[str] = _TAGS) -> Any:
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    parsed = dcmread(file, force=True, specific_tags=list(tags), stop_before_pixels="PixelData" not in tags)
    if "TransferSyntaxUID" not in parsed.file_meta:
        implicit, little = parsed.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        parsed.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return parsed


def _facts(file: Any) -> _Facts:
    if not any(name in file for name in _PIXELS):
        return _Facts("", False, 0, 0, 0, 0, "", False, "")
    readable, packages = _decoder(file.file_meta.TransferSyntaxUID)
    patient = getattr(file.get_item("PatientID"), "value", None) or b""
    if isinstance(patient, bytes):  # not yet converted, so pydicom has not judged it
        patient = patient.decode("utf-8", "backslashreplace")
    size = int(file.Columns), int(file.Rows)
    model = str(file.PhotometricInterpretation)
    return _Facts(patient.strip(" \0"), True, *size, _frames(file), int(file.BitsAllocated), model, readable, packages)


def _frames(file: Any) -> int:
    return int(file.get("NumberOfFrames") or 1)


def _decoder(syntax: Any) -> tuple[bool, str]:
    """Whether pixels of a transfer syntax can be decoded, and the packages to install that (also) decode them."""
    from pydicom.pixels import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return False, ""
    wanted = [text.split(" requires ")[1] for text in decoder.missing_dependencies if text.startswith("pylibjpeg")]
    return decoder.is_available, " ".join(f'"{name}"' for name in wanted[0].split(" and ")) if wanted else ""


def _values(file: Any, frame: int, model: str) -> tuple[Array, Any]:
    """A frame's values, and how the file wants them shown: see `_toned`. Colour is uint8 (H, W, 3)."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    values = pixel_array(file, index=frame)
    if model == "PALETTE COLOR":
        values = apply_color_lut(values, file)
        bits = 8 * values.dtype.itemsize
    else:
        bits = int(file.get("BitsStored") or file.BitsAllocated)
    if values.ndim != (3 if model in COLOUR_MODELS else 2):
        raise ValueError("its shape does not fit its colour model")
    if model in COLOUR_MODELS:
        return (values[..., :3] * (255 / (2**bits - 1))).round().clip(0, 255).astype(np.uint8), None
    values = apply_modality_lut(values, _group(file, "PixelValueTransformationSequence", frame))
    return values, _own_tones(_group(file, "FrameVOILUTSequence", frame), file)


def _group(file: Any, name: str, frame: int) -> Any:
    """Where an enhanced multi-frame file keeps some facts of a frame; in others, the file itself."""
    own = (file.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    for groups in (*own, *(file.get("SharedFunctionalGroupsSequence") or [])):
        if groups.get(name):
            return groups[name][0]
    return file


def _own_tones(group: Any, file: Any) -> Any:
    """What a file says on tones: (table, first value, bits), or (function, centre, width), or None."""
    from pydicom.multival import MultiValue

    if group.get("VOILUTSequence") and len(group.VOILUTSequence[0].LUTData):
        item = group.VOILUTSequence[0]
        entries, first, bits = item.LUTDescriptor
        table = item.LUTData
        if isinstance(table, bytes):
            table = np.frombuffer(table, "<u2" if file.original_encoding[1] else ">u2")
        return np.asarray(table, np.float32).reshape(-1)[: entries or 2**16], int(first), min(int(bits), 16)
    centre, width = (
        value[0] if isinstance(value, MultiValue) and value else value
        for value in (group.get("WindowCenter"), group.get("WindowWidth"))
    )
    if centre in (None, "") or width in (None, "") or not (np.isfinite(float(centre)) and 0 < float(width) < np.inf):
        return None
    return str(group.get("VOILUTFunction") or "LINEAR"), float(centre), float(width)


def _toned(values: Array, own: Any) -> tuple[Array, Window | None]:
    """Values and the window that shows them as the file says (DICOM PS3.3 C.11.2), None for smallest to largest."""
    if own is None:
        return values, None
    if not isinstance(own[0], str):
        table, first, bits = own
        return table[np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)], (0, 2**bits - 1)
    function, centre, width = own
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -50, 50))), (0, 1)
    if function != "LINEAR_EXACT":
        centre, width = centre - 0.5, max(width - 1, 1e-3)
    return values, (centre - width / 2, centre + width / 2)
