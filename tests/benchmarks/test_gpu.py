"""The GPU script and its pack, on the CPU at toy size, where the packages are missing that a GPU machine lacks."""

import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import gpu_pack
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PACKED = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection")
MISSING = ("papermill", "datasets", "rich", "plotly", "ipywidgets", "tifffile", "pooch")
WITHOUT = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target)
        missing = name.split(".")[0] in {(*MISSING, *(name.replace("-", "_") for name in PACKED))!r}
        return None if missing and spec and "gpu-pack-" not in str(spec.origin) else spec

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


def script(name, *arguments, **environment):
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, arguments)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=900)


def draw_images(folder, count, side):
    for number in range(count):
        path = folder / ("left", "right")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 200, (side, side), dtype=np.uint8)
        pixels[:, : side // 2] += 50 * (number % 2)
        Image.fromarray(pixels).save(path)


@pytest.fixture
def here(monkeypatch):
    """here(*arguments): the script in this process, where all packages are."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    import gpu

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpu.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            gpu.main()
        assert not ended.value.code

    return run


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A pack of one folder, its wheels made from what is installed here."""
    folder = tmp_path_factory.mktemp("pack")
    draw_images(folder / "mine", 60, 32)
    made = script("gpu_pack.py", folder / "mine", "--out", folder / "pack", PIP_NO_INDEX="1")
    assert made.returncode == 0 and "no wheel of pydantic" in made.stdout, made.stderr
    for name in PACKED:
        distribution = metadata.distribution(name)
        with zipfile.ZipFile(folder / "pack" / "wheels" / f"{name.replace('-', '_')}-1-py3-none-any.whl", "w") as wheel:
            for file in distribution.files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    wheel.write(distribution.locate_file(file), str(file))
    return folder / "pack"


def test_all_parts_run_where_a_gpu_machine_lacks_packages(pack, tmp_path, here):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    options = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "DMWS_CACHE": str(tmp_path / "cache")}
    done = script("gpu.py", "--seconds", 400, "--pack", pack, "--out", tmp_path / "out", **options)
    tables = {path.stem: path.read_text() for path in (tmp_path / "out").glob("*.md")}
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert {"correctness", "speed", "study_parts"} <= tables.keys()
    for name, table in tables.items():
        assert "failed" not in table and re.search(r"on \d{4}-\d\d-\d\d: .*torch \d", table), f"{name}\n{table}"
    assert "strategy kd" in tables["correctness"] and "1 runs at once" in tables["speed"]
    runs = (tmp_path / "out" / "study_parts.csv").read_text().splitlines()
    assert len(runs) == 3 and "mine" in runs[1]
    here("--part", "study", "--seconds", 1, "--pack", pack, "--out", tmp_path / "out")  # all is there
    assert (tmp_path / "out" / "study_parts.csv").read_text().splitlines() == runs


def test_a_part_that_is_out_of_time_says_what_it_has_not_run(here, tmp_path):
    here("--part", "correctness", "--seconds", 0.001, "--out", tmp_path)
    table = (tmp_path / "correctness.md").read_text()
    assert table.count("not run: the time was over") == 9 and "ok" not in table


def test_the_pack_makes_images_smaller_until_they_fit_and_refuses_what_does_not(tmp_path, monkeypatch):
    draw_images(tmp_path / "mine", 4, 256)
    (tmp_path / "mine" / "labels.csv").write_text("file_name,label\n")
    (tmp_path / "net.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(gpu_pack, "fetch_wheels", lambda folder: None)
    arguments = ["gpu_pack", str(tmp_path / "mine"), "--weights", str(tmp_path / "net.safetensors"), "--out"]
    monkeypatch.setattr(sys, "argv", [*arguments, str(tmp_path / "pack")])
    sizes = {}
    for limit in (10**9, 120_000):
        monkeypatch.setattr(gpu_pack, "LIMIT", limit)
        gpu_pack.main()
        with Image.open(tmp_path / "pack" / "images" / "mine" / "left" / "0.png") as image:
            sizes[limit] = image.size
        assert gpu_pack.size_of(tmp_path / "pack") <= limit
    assert sizes == {10**9: (224, 224), 120_000: (160, 160)}
    assert (tmp_path / "pack" / "images" / "mine" / "labels.csv").exists()
    assert (tmp_path / "pack" / "weights" / "net.safetensors").read_bytes() == b"weights"
    monkeypatch.setattr(gpu_pack, "LIMIT", 100)
    with pytest.raises(SystemExit, match="pass fewer images or weights"):
        gpu_pack.main()
