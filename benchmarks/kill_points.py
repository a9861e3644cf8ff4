"""Kills training, cache building, a study and a batch of notebooks at random moments, and counts what went wrong.

    python benchmarks/kill_points.py [--times 50] [--seed 0] [--only training cache study batch]

Each work runs once undisturbed. Then, so many times, it starts in an empty folder, is killed (SIGKILL) at a moment
drawn from the whole of its duration, is looked at, and is started again. Every visible file must be whole, what was
finished must stay as it is, and the result must be the same. Needs Linux or macOS (processes are forked).
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import torch
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

import dmws_lite as dm
from dmws_lite.data.opening import gather
from dmws_lite.runtime.notebooks import run_batch
from dmws_lite.training.fit import load_checkpoint

FORK = multiprocessing.get_context("fork")  # a child has everything imported
READERS = {
    ".json": lambda path: json.loads(path.read_text()),
    ".ipynb": lambda path: nbformat.validate(nbformat.read(path, as_version=4)),
    ".html": lambda path: path.read_text().rstrip().endswith("</html>") or 1 / 0,
    ".checkpoint": load_checkpoint,
    ".parquet": pd.read_parquet,
    ".csv": pd.read_csv,
    ".npy": np.load,
}


def training(folder: Path) -> list:
    splits = dm.phantoms("lung_ct", train=60, val=12, test=12, size=32)
    students = dm.make_students(dm.load_teacher(), "embedded_vit_48", 3, image_size=32)
    budget = dm.Training(steps=30, batch_size=16, evaluations=15)
    run = dm.fit(students, splits, budget, checkpoint=folder / "run.checkpoint", device="cpu", progress=False)
    history = pd.DataFrame(run.history).drop(columns=["seconds", "images_per_second"]).to_csv()
    return [history, *(tensor.numpy().tobytes() for tensor in run.main.state_dict().values())]


def cache(folder: Path) -> list:
    os.environ["DMWS_CACHE"] = str(folder / "cache")
    gathered = gather(folder.parent / "images", size=96, progress=False)
    return [gathered.table.to_csv(), gathered.pairs.to_csv(), np.ascontiguousarray(gathered.images).tobytes()]


def study(folder: Path) -> list:
    small = {"steps": 4, "batch_size": 8, "evaluations": 2}
    methods = ["default", "weight_selection", "dual_skd"]
    settings = dm.make_study(
        name="killed", device="cpu", data=["phantom_lung_ct"], methods=methods, seeds=1, size=16, training=small
    )
    store = dm.run_study(settings, folder / "store", progress=False)
    same = ["key", "data", "method", "fraction", "seed", "accuracy", "auroc"]
    return [store.table()[same].sort_values("key").to_csv(), len(store.predictions()), len(store.missing())]


def batch(folder: Path) -> list:
    summary = run_batch(folder.parent / "batch.ipynb", folder / "batch", [{"n": n} for n in range(4)])
    cells = [nbformat.read(path, as_version=4).cells for path in sorted((folder / "batch").glob("*/batch.ipynb"))]
    outputs = [[cell.outputs for cell in notebook] for notebook in cells]
    return [summary.drop(columns="folder").to_csv(), outputs]


WORKS = {training: "no such thing", cache: "cache/arrays/*/*", study: "store/runs/*", batch: "batch/*/*.ipynb"}


def prepare(folder: Path) -> None:
    """Images to decode, and a notebook to run."""
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(150):
            pixels = rng.integers(0, 256, (300, 300), np.uint8)
            Image.fromarray(pixels).save(folder / "images" / label / f"{number}.png")
    cells = [new_code_cell("n = 0"), new_code_cell("import time; time.sleep(0.2)"), new_code_cell("print(n ** 2)")]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(
        new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}),
        folder / "batch.ipynb",
    )


def finish(work, folder: Path) -> None:
    """Do a work, quietly, and keep a hash of its result."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    warnings.simplefilter("ignore")
    digest = hashlib.sha256()
    for part in work(folder):
        digest.update(part if isinstance(part, bytes) else str(part).encode())
    (folder / ".result").write_text(digest.hexdigest())


def run(work, folder: Path, seconds: float | None = None) -> bool:
    """Start a work, and kill it after some seconds; whether it was still at work then."""
    folder.mkdir(exist_ok=True)
    process = FORK.Process(target=finish, args=(work, folder))
    process.start()
    process.join(seconds)
    killed = process.exitcode is None
    process.kill()
    process.join()
    return killed


def list_visible(folder: Path, pattern: str = "**/*") -> list[Path]:
    """The files that match, but for hidden ones: what a kill leaves unfinished is hidden."""
    paths = [path for path in folder.glob(pattern) if path.is_file()]
    return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def find_broken(folder: Path) -> list[str]:
    """The visible files that cannot be read."""
    broken = []
    for path in list_visible(folder):
        try:
            READERS.get(path.suffix, Path.read_bytes)(path)
        except Exception as error:
            broken.append(f"{path}: {error}")
    return broken


def finish_times(folder: Path, pattern: str) -> dict[Path, int]:
    """When each finished part was written."""
    return {path: path.stat().st_mtime_ns for path in list_visible(folder, pattern)}


def read_result(folder: Path) -> str:
    path = folder / ".result"
    return path.read_text() if path.exists() else "none"


def kill_often(work, times: int, rng: np.random.Generator, root: Path) -> Counter:
    """Counts of what went wrong when a work was killed at so many moments."""
    start = time.perf_counter()
    run(work, root / "whole")
    duration, expected, counts = time.perf_counter() - start, read_result(root / "whole"), Counter()
    if expected == "none":
        raise RuntimeError(f"{work.__name__} fails undisturbed: call its function to see why")
    for number, seconds in enumerate(rng.uniform(0, duration, times)):
        folder = root / f"{work.__name__}_{number}"
        killed = run(work, folder, seconds)
        broken, before = find_broken(folder), finish_times(folder, WORKS[work])
        run(work, folder)
        after = finish_times(folder, WORKS[work])
        counts += Counter(
            {
                "killed at work": killed,
                "had finished parts": bool(before),
                "half-written": bool(broken),
                "lost": any(after.get(path) != when for path, when in before.items()),
                "other result": read_result(folder) != expected,
            }
        )
        print(*broken, sep="\n", end="", file=sys.stderr)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="kills of each work")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", nargs="*", choices=[work.__name__ for work in WORKS], help="some of the works")
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns = ("killed at work", "had finished parts", "half-written", "lost", "other result")
    print(f"| work | starts | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 2)}")
    faults = 0
    for work in WORKS:
        if work.__name__ in (options.only or [work.__name__]):
            with tempfile.TemporaryDirectory() as root:
                prepare(Path(root))
                counts = kill_often(work, options.times, np.random.default_rng(options.seed), Path(root))
            print(
                f"| {work.__name__} | {options.times} | {' | '.join(str(counts[name]) for name in columns)} |",
                flush=True,
            )
            faults += sum(counts[name] for name in columns[2:])
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
