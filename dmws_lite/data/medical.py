"""Pictures out of DICOM files and NIfTI volumes. Of all that identifies a patient, only the id leaves this module."""

from __future__ import annotations

import gzip
import logging
import threading
import warnings
import zlib
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dmws_lite.runtime.report import load_extra

Array = np.ndarray
Window = tuple[float, float]
# Limits against files that would fill the memory, all our choice:
MAX_PIXELS = 80_000_000  # of one picture, below the 89 million at which Pillow warns
MAX_FRAMES, MAX_INFLATED = 20_000, 2**30  # frames and deflated bytes of a DICOM file
MAX_HEADER = 2**24  # bytes before the voxels of a NIfTI file
MAX_VOXELS, MAX_RATIO = 512 * 512 * 2048, 1100  # of a volume; voxel bytes per byte of a file, which gzip cannot exceed
LEAST_SIDE = 8  # voxels of an axial slice, below which a volume is of another plane: our choice
PERCENTILES = (0.5, 99.5)  # of a volume's voxels, shown as black and white: our choice
COLOUR_MODELS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
PADDING = [f"{kind}PixelPadding{end}" for kind in ("", "Float", "DoubleFloat") for end in ("Value", "RangeLimit")]
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
DECODERS = 'pip install "pylibjpeg>=2.0" "pylibjpeg-libjpeg>=2.1" "pylibjpeg-openjpeg>=2.0"'
DEFLATED = b"1.2.840.10008.1.2.1.99"
_pydicom_lock = threading.Lock()
_volume_locks = [threading.Lock() for _ in range(8)]


class Slice(NamedTuple):
    """One picture of a file, with what is needed to show it."""

    values: Array  # gray values (H, W) in the file's unit (padding is NaN), or colours uint8 (H, W, 3)
    window: Window | None  # the gray values that are black and white; None for the smallest and the largest
    depth: int  # bits per channel of the file
    inverted: bool = False  # whether the lower end of the window is white
    patient: str = ""  # the id in a DICOM file
    aspect: float = 1  # the height of a pixel in its widths


class Refused(ValueError):
    """A refusal in our own words, which quotes nothing of the file."""


def check_pixels(width: int, height: int) -> None:
    """Refuse pictures that would fill the memory, by what their header says."""
    if width * height > MAX_PIXELS:
        raise Refused(f"{width} x {height} pixels are more than {MAX_PIXELS // 10**6} million: make it smaller")


def read_slice(data: bytes, dicom: bool, frame: int, window: Window | None) -> Slice:
    """One frame of a DICOM file's bytes, or one axial slice of a NIfTI file's (.nii or .nii.gz), from the feet.

    DICOM: rescale slope and intercept or the modality table, then `window`, else the file's own table or first window.
    pydicom's texts may quote the file: none of its errors, warnings and log records gets out.
    NIfTI: the volume, of 4D files the first, is turned to the nearest axes of the body: anterior is up, the patient's
    left on the right side, as in DICOM files. Without a window, PERCENTILES are black and white.
    """
    _check_reader(dicom)
    if dicom:
        return _call_quietly(lambda: _read_dicom_slice(_parse_dicom(BytesIO(data)), frame, window))
    with _volume_locks[hash(data) % len(_volume_locks)]:  # slices of one volume are asked for by several threads
        try:
            volume, percentiles, depth, aspect = _read_volume(data)
        except (MemoryError, Refused):
            raise
        except Exception as error:  # nibabel raises many kinds
            raise ValueError(f"not a NIfTI file, or a damaged or cut off one ({type(error).__name__})") from error
    if frame >= volume.shape[2]:
        raise ValueError(f"frame={frame}: the file holds {volume.shape[2]}")
    return Slice(volume[::-1, ::-1, frame].T, window or percentiles, depth, aspect=aspect)


def count_slices(path: str | Path, dicom: bool) -> int:
    """The number of frames of a DICOM file, or of axial slices of a NIfTI file; 1 when it is broken."""
    _check_reader(dicom)
    try:
        with open(path, "rb") as file:
            if dicom:
                frames = _call_quietly(lambda: int(_parse_dicom(file, pixels=False).get("NumberOfFrames") or 1))
                return frames if 1 <= frames <= MAX_FRAMES else 1
            import nibabel

            image, shape = _open_nifti(file)
            return int(shape[[*nibabel.io_orientation(image.affine)[:, 0]].index(2)])
    except Exception:  # nibabel raises many kinds
        return 1


def _check_reader(dicom: bool) -> None:
    package, kind = ("pydicom", "DICOM") if dicom else ("nibabel", "NIfTI")
    load_extra(package, "medical", f", and reads {kind} files")


def _call_quietly(function: Callable[[], Any]) -> Any:
    """Call something that uses pydicom, and let out no text of its errors, warnings and log records."""
    log = logging.getLogger("pydicom")
    with _pydicom_lock, warnings.catch_warnings():  # filters and levels belong to the process, so threads take turns
        warnings.simplefilter("ignore")
        level = log.level
        log.setLevel(logging.CRITICAL + 1)
        try:
            return function()
        except (MemoryError, Refused):
            raise
        except Exception as error:
            kind = type(error).__name__
        finally:
            log.setLevel(level)
    # Raised here, so that no error of pydicom, which may quote the file, is its cause or context.
    if kind in ("RuntimeError", "NotImplementedError"):
        raise ValueError(f"no decoder is installed for the DICOM file's compression, or it is damaged: {DECODERS}")
    if kind == "AttributeError":
        raise ValueError("the DICOM file lacks its picture's size, bits or colour model: export it again")
    raise ValueError(f"not a DICOM file, or a damaged one ({kind})")


def _parse_dicom(file: IO[bytes], pixels: bool = True) -> Any:
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    start = file.read(4096)
    if DEFLATED in start:  # pydicom inflates it in one go
        file.seek(144 + int.from_bytes(start[140:144], "little"))
        if not (deflated := file.read()):
            raise Refused("the DICOM file's header leads past its end: export it again")
        if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, MAX_INFLATED)) == MAX_INFLATED:
            raise Refused(f"the DICOM file inflates to {MAX_INFLATED} bytes or more: export it uncompressed")
    file.seek(0)
    parsed = dcmread(file, force=True, stop_before_pixels=not pixels)
    if "TransferSyntaxUID" not in parsed.file_meta:
        implicit, little = parsed.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        parsed.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return parsed


def _read_dicom_slice(file: Any, frame: int, window: Window | None) -> Slice:
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array
    from pydicom.uid import RLELossless

    if not any(name in file for name in PIXELS):
        raise Refused("the DICOM file holds no picture (as reports and plans do), or is cut off before it")
    frames, model = int(file.get("NumberOfFrames") or 1), str(file.PhotometricInterpretation)
    if model not in (*COLOUR_MODELS, "MONOCHROME1", "MONOCHROME2"):
        raise Refused("the DICOM file's colour model is not read: export it as MONOCHROME2 or RGB")
    if not frame < frames <= MAX_FRAMES:
        raise Refused(f"frame={frame}: the file holds {frames} frames, and at most {MAX_FRAMES} are read")
    check_pixels(int(file.Columns), int(file.Rows))
    value = getattr(file.get_item("PatientID"), "value", None) or b""  # pydicom has not judged it yet
    patient = (value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value).strip(" \0")
    depth, bits = int(file.BitsAllocated), int(file.get("BitsStored") or file.BitsAllocated)
    if bits <= int(file.get("HighBit") or 0) and bits < depth:
        raise Refused("the DICOM file's values do not lie in its lowest bits (HighBit): export it anew")
    syntax = file.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and syntax != RLELossless:
        file.PlanarConfiguration = 0  # it says nothing of JPEGs (DICOM PS3.5 8.2), but pydicom goes by it
    values = pixel_array(file, index=frame)
    if model == "PALETTE COLOR":
        values = apply_color_lut(values, file)
        bits = 16 if values.max() > 255 else 8  # some write 8 bits and call them 16
    if values.ndim != (3 if model in COLOUR_MODELS else 2):
        raise ValueError("its shape does not fit its colour model")

    def facts(name: str) -> Any:
        """Where an enhanced multi-frame file keeps some facts of a frame; in others, the file itself."""
        of_frame = (file.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
        groups = (*of_frame, *(file.get("SharedFunctionalGroupsSequence") or []))
        return next((group[name][0] for group in groups if group.get(name)), file)

    spacings = (np.array(facts("PixelMeasuresSequence").get(name) or 0, float) for name in SPACINGS)
    down, across = next((spacing for spacing in spacings if spacing.shape == (2,) and (spacing > 0).all()), (1, 1))
    if model in COLOUR_MODELS:
        values = (values[..., :3] * (255 / (2**bits - 1))).round().clip(0, 255).astype(np.uint8)
        return Slice(values, None, depth, patient=patient, aspect=down / across)
    ends = [np.asarray(value).astype(values.dtype) for value in map(file.get, PADDING) if value is not None]
    padded = (values >= min(ends)) & (values <= max(ends)) if ends else np.zeros(1, bool)
    rescale = facts("PixelValueTransformationSequence")
    slope, intercept = rescale.get("RescaleSlope"), rescale.get("RescaleIntercept")
    if rescale.get("ModalityLUTSequence"):
        values = apply_modality_lut(values, rescale)
    elif slope is not None or intercept is not None:
        values = values * np.float64(slope or 1) + np.float64(intercept or 0)
    if window is None:
        signed = file.get("PixelRepresentation") == 1 or (intercept or 0) < 0
        values, window = _apply_window(values, facts("FrameVOILUTSequence"), file.original_encoding[1], signed)
    values = np.where(padded, np.nan, values) if padded.any() else values
    return Slice(values, window, depth, model == "MONOCHROME1", patient, down / across)


def _apply_window(values: Array, facts: Any, little_endian: bool, signed: bool) -> tuple[Array, Window | None]:
    """Values and the window that show them as the file says (DICOM PS3.3 C.11.2), None for smallest to largest."""
    # pydicom's own `apply_voi` ends 8-bit tables at 256 entries, and its `apply_windowing` knows no enhanced files.
    if facts.get("VOILUTSequence") and len(facts.VOILUTSequence[0].LUTData):
        entries, first, bits = facts.VOILUTSequence[0].LUTDescriptor
        table = facts.VOILUTSequence[0].LUTData
        if isinstance(table, bytes):  # of whole bytes where it has as many as entries
            packed = len(table) < 2 * (entries or 2**16) - 1
            table = np.frombuffer(table, "u1" if packed else "<u2" if little_endian else ">u2")
        table = np.asarray(table, np.float32).reshape(-1)[: entries or 2**16]
        first = int(first) - 2**16 * (signed and first >= 2**15)  # which some write without its sign
        rows = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
        return table[rows], (0, 2 ** min(int(bits), 16) - 1)
    numbers = (facts.get(name) for name in ("WindowCenter", "WindowWidth"))  # a number, or several: the first counts
    centre, width = (np.nan if number in (None, "", []) else float(np.atleast_1d(number)[0]) for number in numbers)
    if not (np.isfinite(centre) and 0 < width < np.inf):
        return values, None
    function = str(facts.get("VOILUTFunction") or "LINEAR")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -50, 50))), (0, 1)
    if function != "LINEAR_EXACT" and width >= 1:  # below 1, which the standard forbids, it can only be exact
        centre, width = centre - 0.5, max(width - 1, 1e-3)
    return values, (centre - width / 2, centre + width / 2)


@lru_cache(maxsize=1)
def _read_volume(data: bytes) -> tuple[Array, Window | None, int, float]:
    """The first volume (right, anterior, superior), its window, depth and aspect. Slices are asked for in turn."""
    import nibabel

    image, shape = _open_nifti(BytesIO(data))
    kind, size = image.get_data_dtype(), " x ".join(map(str, shape))
    if kind.fields or kind.kind == "c":
        raise Refused("the NIfTI file holds colours or complex numbers: save it with one real number per voxel")
    if min(shape) < 1 or not np.prod(shape, dtype=float) <= min(MAX_VOXELS, MAX_RATIO * len(data) / kind.itemsize):
        raise Refused(f"the NIfTI file says its volume is {size}, which is too much, or more than it can hold")
    first = (slice(None),) * min(3, image.ndim) + (0,) * (image.ndim - 3)
    values = np.asarray(image.dataobj[first]).reshape(shape)
    image.file_map["image"].fileobj.read(1)  # at its end, gzip compares the checksum
    if values.dtype.itemsize > 4:
        values = values.astype(np.float32)
    orientation = nibabel.io_orientation(image.affine)
    right, anterior, _ = nibabel.affines.voxel_sizes(image.affine)[np.argsort(orientation[:, 0])]
    volume = nibabel.apply_orientation(values, orientation)
    if min(volume.shape[:2]) < LEAST_SIDE <= sorted(volume.shape)[1]:
        raise Refused(f"axial slices of the NIfTI file ({size} voxels) are too thin: save those of its plane as PNG")
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, PERCENTILES) if finite.size else (0, 0)
    if low == high and finite.size:
        low, high = finite.min(), finite.max()
    window = (float(low), float(high)) if low < high else None
    return volume, window, 8 * kind.itemsize, float(anterior / right)


def _open_nifti(file: IO[bytes]) -> tuple[Any, tuple[int, ...]]:
    """A NIfTI file with its header read, unpacked no further than it is read, and the lengths of its three axes."""
    import nibabel

    stream: Any = gzip.GzipFile(fileobj=file) if file.read(2) == b"\x1f\x8b" else file
    file.seek(0)
    start = stream.read(540)
    kind = nibabel.Nifti2Image if nibabel.Nifti2Header.may_contain_header(start) else nibabel.Nifti1Image
    header = kind.header_class(start[: kind.header_class.template_dtype.itemsize], check=False)
    if not header["vox_offset"] < MAX_HEADER:  # what lies before the voxels is read in one go
        raise Refused(f"the NIfTI file is damaged, or its header takes {MAX_HEADER} bytes or more: save it anew")
    stream.seek(0)
    image = kind.from_stream(stream)
    return image, (*image.shape[:3], 1, 1)[:3]
