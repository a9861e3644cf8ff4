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
HEAVY = {"requests", "pydantic", "huggingface_hub", "datasets", "torch", "timm", "sklearn", "pandas", "numpy"}
HEAVY |= {"matplotlib", "papermill", "ipywidgets", "accelerate"}


def imported(module: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    nodes = list(ast.walk(ast.parse(module.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("module", ["dmws_lite", "dmws_lite.cli"])
def test_import_loads_nothing_heavy_and_sets_nothing_in_the_environment(module):
    code = (
        f"import os, sys; before = dict(os.environ); import {module}; print(dict(os.environ) == before, *sys.modules)"
    )
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
