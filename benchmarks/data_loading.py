"""Opening and feeding 3,000 images of 224 pixels: dmws-lite beside `datasets` imagefolder, torchvision and DataLoader.

`python benchmarks/data_loading.py` draws the images, runs both and prints the table; `--out` writes it to a file. Both
sides end with augmented, normalised batches on the device. A pass is one over all images. Our first opening decodes,
hashes and looks for copies; theirs lists the files and decodes in every pass.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from speed import synchronise, write_images

import dmws_lite as dm
from dmws_lite.data.augmentation import augment, normalise, to_device
from dmws_lite.data.sets import Splits
from dmws_lite.runtime.device import pick_device
from dmws_lite.runtime.seeds import generator

COUNT, SIDE, BATCH = 3000, 224, 32


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    synchronise()
    return time.perf_counter() - start


def ours(folder: Path, size: int, device: torch.device) -> dict[str, float]:
    def opened() -> Splits:
        return dm.open_data(folder, size, progress=False)

    def one_pass() -> None:
        for part in parts:
            for step, rows in enumerate(torch.randperm(len(part)).split(BATCH)):
                normalise(augment(part[rows.to(device)], generator(step)), 0.5, 0.5)

    times = {"first opening": seconds(opened), "opening again": seconds(opened)}
    splits = opened()
    parts = [to_device(part, device)[0] for part in (splits.train, splits.val, splits.test)]
    one_pass()
    return times | {"one augmented pass": seconds(one_pass)}


def theirs(folder: Path, size: int, device: torch.device, cache: Path) -> dict[str, float]:
    import datasets
    from torchvision import transforms

    datasets.disable_progress_bars()
    change = transforms.Compose(
        [
            transforms.Grayscale(3),
            transforms.Resize(size),
            transforms.CenterCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(10, (0.08, 0.08), (0.9, 1.1)),
            transforms.ColorJitter(0.2, 0.2),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )

    def changed(rows: dict[str, list]) -> dict[str, list]:
        return {"image": [change(image) for image in rows["image"]], "label": rows["label"]}

    def opened() -> datasets.Dataset:
        return datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(cache))

    times = {"first opening": seconds(opened), "opening again": seconds(opened)}
    loader = torch.utils.data.DataLoader(
        opened().with_transform(changed), BATCH, shuffle=True, num_workers=os.cpu_count() or 1, persistent_workers=True
    )

    def one_pass() -> None:
        for batch in loader:
            batch["image"].to(device)

    one_pass()
    return times | {"one augmented pass": seconds(one_pass)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIDE, help="pixels per side that the images are opened at")
    parser.add_argument("--out", help="write the table to this Markdown file too")
    args = parser.parse_args()
    device = pick_device()
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(action="ignore"):
        folder = Path(place, "images")
        write_images(folder, COUNT, SIDE, ".jpg")
        os.environ["DMWS_CACHE"] = str(Path(place, "ours"))
        dm.open_data("phantom_chest_xray", 16)  # imports count on neither side
        here = ours(folder, args.size, device)
        there = theirs(folder, args.size, device, Path(place, "theirs"))
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    lines = [
        "# Opening and feeding images",
        "",
        f"Made by `python benchmarks/data_loading.py --size {args.size}` on {datetime.date.today()}: {machine}, "
        f"{platform.machine()}, torch {torch.__version__}. {COUNT:,} JPEG files of {SIDE} px, opened at "
        f"{args.size} px; batches of {BATCH}, augmented and normalised, on the device; "
        f"DataLoader with {os.cpu_count()} workers.",
        "",
        "| seconds | dmws-lite | datasets + torchvision + DataLoader |",
        "|---|---|---|",
        *(f"| {name} | {here[name]:.2f} | {there[name]:.2f} |" for name in here),
        *(
            f"| first opening and {passes} | {total(here, number):.1f} | {total(there, number):.1f} |"
            for passes, number in (("one pass", 1), ("10 passes", 10))
        ),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        Path(args.out).write_text(text)


def total(times: dict[str, float], passes: int) -> float:
    return times["first opening"] + passes * times["one augmented pass"]


if __name__ == "__main__":
    main()
