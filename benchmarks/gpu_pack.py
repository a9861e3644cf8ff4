"""A folder for a GPU machine without a network: images, weights, and wheels of what such a machine lacks.

`python benchmarks/gpu_pack.py IMAGES... --weights FILE... --out outputs/gpu-pack` (make gpu-pack). Images larger than
needed are made smaller until all fits into 60 MB. `benchmarks/gpu.py --pack` reads the folder.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

LIMIT = 60_000_000  # bytes
SIDES = (224, 160, 128, 96, 64)  # short sides to try, in pixels
SMALLER = (".jpg", ".jpeg", ".png")  # of other files the bytes are copied
WHEELS = (["pydantic"], ["--no-deps", "tifffile"])  # tifffile needs numpy alone, which is there
PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64")


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def copy_images(source: Path, target: Path, side: int) -> None:
    """All files of a folder under their names; JPEG and PNG images with a longer short side are made smaller."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() not in SMALLER:
            shutil.copyfile(path, copy)
            continue
        with Image.open(path) as image:
            if min(image.size) <= side:
                shutil.copyfile(path, copy)
                continue
            lengths = [round(side / min(image.size) * length) for length in image.size]
            image.resize(lengths, Image.Resampling.LANCZOS).save(copy)


def fetch_wheels(folder: Path) -> None:
    """Wheels for Python 3.12 on Linux; a machine without a package index goes without, and says so."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version", "3.12"]
    command += [option for name in PLATFORMS for option in ("--platform", name)]
    for wheels in WHEELS:
        done = subprocess.run([*command, "-d", str(folder), *wheels], capture_output=True, text=True)
        if done.returncode:
            print(f"no wheel of {wheels[-1]}, which the GPU machine must have: {done.stderr.strip()[-300:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", type=Path, help="folders of images, as `dmws demo` takes them")
    parser.add_argument("--weights", nargs="*", type=Path, default=[], help="safetensors files, named like the model")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu-pack"))
    args = parser.parse_args()
    for path in (*args.images, *args.weights):
        if not path.exists():
            parser.error(f"{path} does not exist: pass folders of images, and files after --weights")
    shutil.rmtree(args.out, ignore_errors=True)
    for name in ("images", "weights", "wheels"):
        (args.out / name).mkdir(parents=True)
    for path in args.weights:
        shutil.copyfile(path, args.out / "weights" / path.name)
    fetch_wheels(args.out / "wheels")
    for side in SIDES:
        shutil.rmtree(args.out / "images")
        for folder in args.images:
            copy_images(folder, args.out / "images" / folder.resolve().name, side)
        (args.out / "images").mkdir(exist_ok=True)
        if (total := size_of(args.out)) <= LIMIT:
            print(f"{args.out}: {total / 1e6:.1f} MB, images of {side} px at most on the short side")
            return
    raise SystemExit(f"{args.out} has {total / 1e6:.0f} MB, more than {LIMIT / 1e6:.0f}: pass fewer images or weights")


if __name__ == "__main__":
    main()
