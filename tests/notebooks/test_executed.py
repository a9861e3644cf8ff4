"""Every chapter after a smoke run: no error, pictures with alt text, checked exercises, known numbers, in time."""

import json
import re
from functools import reduce
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dmws_lite.runtime.notebooks import widget_errors

ROOT = Path(__file__).parents[2]
NAMES = [path.stem for path in sorted((ROOT / "notebooks" / "instructor").glob("*.ipynb"))]
PUBLISHED = sorted((ROOT / "tests" / "notebooks" / "published").glob("*.yaml"))
NOTEBOOK_LIMIT = 90  # seconds: the aim, 30, and three times as much for a slow machine


@pytest.fixture(params=NAMES)
def chapter(request, executed):
    return executed(request.param)


def code_cells(chapter):
    return [cell for cell in chapter.notebook.cells if cell.cell_type == "code"]


def test_every_cell_ran_none_failed_figures_have_alt_texts_and_it_is_small_and_in_time(chapter):
    for cell in code_cells(chapter):
        assert cell.execution_count is not None
        assert not [output for output in cell.outputs if output.output_type == "error"]
    assert widget_errors(chapter.path) == []
    outputs = [o for cell in code_cells(chapter) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert outputs and all(len(o.metadata.get("image/png", {}).get("alt", "")) > 20 for o in outputs)
    assert chapter.path.stat().st_size < 5_000_000
    assert chapter.seconds < NOTEBOOK_LIMIT


def test_stubs_are_open_and_solutions_right(chapter):
    for tag, word in (("exercise", "not answered yet"), ("solution", "right")):
        cells = [cell for cell in code_cells(chapter) if tag in cell.metadata.tags]
        assert len(cells) >= 3
        for cell in cells:
            text = "\n".join(o.get("data", {}).get("text/plain", o.get("text", "")) for o in cell.outputs)
            assert re.search(rf"Exercise \d\d\.\d: . {word}\.", text), text


def read(path):
    """What a chapter published; of a CSV file, the first column's values are the keys."""
    return pd.read_csv(path, index_col=0).to_dict("index") if path.suffix == ".csv" else json.loads(path.read_text())


@pytest.mark.parametrize("expectations", PUBLISHED, ids=lambda path: path.stem)
def test_published_numbers(expectations, executed):
    chapter = executed(expectations.stem)
    for entry in yaml.safe_load(expectations.read_text()):
        value = reduce(lambda data, key: data[key], entry["keys"], read(chapter.published / entry["file"]))
        assert value == pytest.approx(entry["expected"], abs=entry["tolerance"], rel=0), entry


def test_every_chapter_has_expected_numbers():
    assert [path.stem for path in PUBLISHED] == NAMES
