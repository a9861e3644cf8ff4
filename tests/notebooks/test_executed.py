"""Every chapter after a smoke run: no error, pictures with alt text, checked exercises, known numbers, in time."""

import datetime
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
NOTEBOOK_LIMIT = 135  # seconds: the aim, 90, and half as much again for a slow machine

# A chapter that cannot be run for a while: {name: (reason, last day on which it may be skipped)}.
SKIPPED: dict[str, tuple[str, datetime.date]] = {}


def overdue(skipped, today):
    """What is wrong with the list of skipped chapters."""
    found = [f"{name}: skipped without a reason" for name, (reason, _) in skipped.items() if not reason.strip()]
    found += [f"{name}: {reason} (was to end on {last})" for name, (reason, last) in skipped.items() if last < today]
    return found + [f"{name}: no such chapter" for name in skipped if name not in NAMES]


def test_no_chapter_is_skipped_for_ever():
    assert overdue(SKIPPED, datetime.date.today()) == []


def test_the_list_of_skipped_chapters_is_itself_checked():
    today = datetime.date(2026, 11, 21)
    assert overdue({NAMES[0]: ("a server is down", today)}, today) == []
    assert "was to end on" in overdue({NAMES[0]: ("a server is down", today - datetime.timedelta(1))}, today)[0]
    assert "without a reason" in overdue({NAMES[0]: (" ", today)}, today)[0]
    assert "no such chapter" in overdue({"99_x": ("gone", today)}, today)[0]


@pytest.fixture(params=NAMES)
def chapter(request, executed):
    if request.param in SKIPPED:
        pytest.skip(SKIPPED[request.param][0])
    return executed(request.param)


def code_cells(chapter):
    return [cell for cell in chapter.notebook.cells if cell.cell_type == "code"]


def shown(cell):
    return "\n".join(output.get("data", {}).get("text/plain", output.get("text", "")) for output in cell.outputs)


def test_every_cell_ran_and_none_failed(chapter):
    for cell in code_cells(chapter):
        assert cell.execution_count is not None
        assert not [output for output in cell.outputs if output.output_type == "error"]
    assert widget_errors(chapter.path) == []


def test_every_figure_has_alt_text(chapter):
    outputs = [o for cell in code_cells(chapter) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert outputs
    for output in outputs:
        assert len(output.metadata.get("image/png", {}).get("alt", "")) > 20


def test_stubs_are_open_and_solutions_right(chapter):
    for tag, word in (("exercise", "not answered yet"), ("solution", "right")):
        verdicts = [shown(cell) for cell in code_cells(chapter) if tag in cell.metadata.tags]
        assert len(verdicts) >= 3
        for verdict in verdicts:
            assert re.search(rf"Exercise \d\d\.\d: . {word}\.", verdict), verdict


def test_small_and_in_time(chapter):
    assert chapter.path.stat().st_size < 5_000_000
    slowest = max(code_cells(chapter), key=lambda cell: cell.metadata.papermill.duration)
    hint = f"{slowest.metadata.papermill.duration:.0f} s of them in the cell: {slowest.source[:200]}"
    assert chapter.seconds < NOTEBOOK_LIMIT, hint


def read(path):
    """What a chapter published; of a CSV file, the first column's values are the keys."""
    if path.suffix == ".csv":
        return pd.read_csv(path, index_col=0).to_dict("index")
    return json.loads(path.read_text())


@pytest.mark.parametrize("expectations", PUBLISHED, ids=lambda path: path.stem)
def test_published_numbers(expectations, executed):
    if expectations.stem in SKIPPED:
        pytest.skip(SKIPPED[expectations.stem][0])
    chapter = executed(expectations.stem)
    for entry in yaml.safe_load(expectations.read_text()):
        found = reduce(lambda data, key: data[key], entry["keys"], read(chapter.published / entry["file"]))
        expected = pytest.approx(entry["expected"], abs=entry["tolerance"], rel=0)
        assert found == expected, f"{entry['file']}: {entry['keys']}"


def test_every_chapter_has_expected_numbers():
    assert [path.stem for path in PUBLISHED] == NAMES
    for path in PUBLISHED:
        entries = yaml.safe_load(path.read_text())
        assert len(entries) >= 3 and all(set(e) == {"file", "keys", "expected", "tolerance"} for e in entries), (
            path.stem
        )
