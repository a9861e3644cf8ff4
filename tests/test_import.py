"""What importing costs, and who may import whom."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dmws_lite as dm

PACKAGE = Path(dm.__file__).parent
ROOMS = ("runtime", "method", "data", "training", "studies", "analysis", "views", "course", "cli")
HEAVY = {
    "requests",
    "pydantic",
    "huggingface_hub",
    "datasets",
    "torch",
    "timm",
    "sklearn",
    "pandas",
    "numpy",
    "matplotlib",
    "papermill",
    "ipywidgets",
    "accelerate",
}


def imported(module: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    return set(subprocess.check_output([sys.executable, "-c", program], text=True).split())


def test_import_loads_nothing_heavy():
    assert not loaded_after("import dmws_lite") & HEAVY


def test_the_command_loads_nothing_heavy():
    assert not loaded_after("import dmws_lite.cli") & HEAVY


@pytest.mark.parametrize("name", dm.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(dm, name)
    assert name in dir(dm)
    assert isinstance(value, dict) or value.__doc__


def test_an_unknown_name_gets_the_known_ones():
    with pytest.raises(AttributeError, match="dmws_lite has no 'plam'; it has .*plan"):
        dm.plam  # noqa: B018 - the access itself is tested


def room(module: str) -> int:
    """The position of a module's room: 8 for dmws_lite.cli_data."""
    return ROOMS.index(module.split(".")[1].split("_")[0])


GRAPH = {
    ".".join(("dmws_lite", *path.relative_to(PACKAGE).with_suffix("").parts)): {
        name for name in imported(path) if name.startswith("dmws_lite.")
    }
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}


def test_a_room_imports_only_from_rooms_before_it():
    assert [(name, other) for name, others in GRAPH.items() for other in others if room(other) > room(name)] == []


def test_no_modules_import_each_other_in_a_circle():
    assert list(TopologicalSorter(GRAPH).static_order())


def test_only_widgets_imports_ipywidgets():
    users = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if "ipywidgets" in imported(path)}
    assert users and all(name.startswith("views/widgets/") for name in users)


def test_importing_it_sets_nothing_in_the_environment():
    code = "import os; before = dict(os.environ); import dmws_lite; print(dict(os.environ) == before)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"
