"""Damage files of every kind that is read, and see that each is read or refused: python benchmarks/fuzz.py --count 300.

Kinds: images, DICOM, safetensors, plans, cards, study YAML, notebooks. Each mutation is drawn from the seed: bytes are
changed, cut, repeated. An exception that is not one of the documented errors (see DOCUMENTED) is a fault: it is printed
with its mutation's number, and makes the script exit with 1.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

DOCUMENTED = (ValueError, OSError, ImportError)
Reader = Callable[[Path], object]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with one to six changes: values, a cut, a repeated and a moved stretch."""
    mutant = bytearray(data)
    for _ in range(int(rng.integers(1, 7))):
        if not mutant:
            break
        start, length = int(rng.integers(len(mutant))), int(rng.integers(1, 24))
        match int(rng.integers(5)):
            case 0:
                mutant[start] = int(rng.integers(256))
            case 1:
                mutant[start] ^= 1 << int(rng.integers(8))
            case 2:
                mutant = mutant[:start] if rng.random() < 0.3 else mutant[:start] + mutant[start + length :]
            case 3:
                mutant[start:start] = mutant[start : start + length]
            case 4:
                mutant[start : start + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"-1e9"])
    return bytes(mutant)


def targets() -> dict[str, tuple[bytes, Reader]]:
    """A good file of each ending, and what reads it."""
    import tifffile
    import torch
    from safetensors.torch import save

    import dmws_lite as dm
    from dmws_lite.data.cards import cards, read_card
    from dmws_lite.method.networks import load_teacher
    from dmws_lite.runtime.notebooks import defaults
    from dmws_lite.studies.study import studies

    colour = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    files: dict[str, tuple[bytes, Reader]] = {}
    for form in ("PNG", "JPEG", "GIF", "WEBP", "BMP"):
        file = BytesIO()
        Image.fromarray(colour).save(file, form)
        files[f"{form}.{form.lower()}"] = file.getvalue(), read_image
    for name, array, options in (
        ("colour.tif", colour, {"compression": "zlib"}),
        ("deep.tif", colour[..., 0].astype(np.float64), {"photometric": "minisblack"}),
        ("planes.tif", colour.transpose(2, 0, 1).astype("u2"), {"photometric": "rgb", "planarconfig": "separate"}),
    ):
        file = BytesIO()
        tifffile.imwrite(file, array, **options)
        files[name] = file.getvalue(), read_image
    if dicom := dicom_file(colour[..., 0]):
        files["scan.dcm"] = dicom, read_image
    weights = save({"head.weight": torch.ones(3, 4), "head.bias": torch.zeros(3)})
    files["weights.safetensors"] = weights, lambda path: load_teacher("embedded_vit_48", path)
    with tempfile.TemporaryDirectory() as folder:
        plan = dm.plan("embedded_vit_96", "embedded_vit_48").save(Path(folder) / "plan.json")
        files["plan.json"] = plan.read_bytes(), dm.load_plan
    files["card.md"] = next(iter(cards().values())).read_bytes(), read_card
    files["study.yaml"] = studies()["smoke"].read_bytes(), dm.read_study
    cell = {"cell_type": "code", "source": "a = 1", "metadata": {"tags": ["parameters"]}, "outputs": []}
    notebook = {"cells": [cell | {"execution_count": None}], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    files["notebook.ipynb"] = json.dumps(notebook).encode(), defaults
    return files


def read_image(path: Path) -> object:
    """Read an image as the package does."""
    from dmws_lite.data.images import decode, frames

    return frames(path), decode(path.read_bytes(), path.suffix, 16)


def dicom_file(pixels: np.ndarray) -> bytes:
    """A small DICOM file, or nothing without pydicom."""
    try:
        import pydicom
    except ImportError:
        return b""
    scan = pydicom.Dataset()
    scan.SOPClassUID, scan.SOPInstanceUID, scan.PatientID = pydicom.uid.SecondaryCaptureImageStorage, "1.2.3", "P"
    scan.Rows, scan.Columns = pixels.shape
    scan.SamplesPerPixel, scan.PhotometricInterpretation, scan.PixelRepresentation = 1, "MONOCHROME2", 0
    scan.BitsAllocated, scan.BitsStored, scan.HighBit = 8, 8, 7
    scan.PixelData = pixels.tobytes()
    scan.file_meta = pydicom.dataset.FileMetaDataset()
    scan.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file = BytesIO()
    pydicom.dcmwrite(file, scan, enforce_file_format=True)
    return file.getvalue()


def fuzz(count: int, seed: int = 0) -> tuple[dict[str, Counter[str]], list[str]]:
    """What `count` mutations of each file came to (read, refused, fault), and the faults' texts."""
    outcomes: dict[str, Counter[str]] = {}
    faults = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, (name, (data, read)) in enumerate(targets().items()):
            outcomes[name], path = Counter(), Path(folder) / name
            path.write_bytes(data)
            for number in range(count):
                path.write_bytes(mutate(data, np.random.default_rng([seed, kind, number])))
                try:
                    read(path)
                    outcome = "read"
                except DOCUMENTED:
                    outcome = "refused"
                except MemoryError as error:
                    outcome = "refused" if str(error) else "fault"
                except Exception:
                    outcome = "fault"
                    faults.append(f"{name}, mutation {number}:\n{traceback.format_exc(limit=-4)}")
                outcomes[name][outcome] += 1
    return outcomes, faults


def main() -> int:
    """Fuzz, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="mutations of each file")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes, faults = fuzz(arguments.count, arguments.seed)
    print(*faults, sep="\n")
    for name, counts in outcomes.items():
        print(f"{name:22}{counts['read']:7} read {counts['refused']:7} refused {counts['fault']:5} faults")
    print(f"{sum(map(Counter.total, outcomes.values()))} inputs, {len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
