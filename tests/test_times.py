"""The script that measures how long the chapters take."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

from dmws_lite.course.chapters import read_chapters

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.append(str(SCRIPTS))
import times  # noqa: E402

COURSE = """# A comment.
00_small:
  question: Is it small?
  seconds: {cpu: null, smoke: 12, gpu: null}
01_next:
  question: What comes next?
  needs: [00_small]
  seconds: {cpu: 3, smoke: 4, gpu: 5}
02_bare:
  question: What is missing?
"""


@pytest.fixture
def course(tmp_path):
    (tmp_path / "course.yaml").write_text(COURSE)
    return tmp_path


def test_only_the_measured_times_of_one_chapter_change(course):
    times.write_times("00_small", {"cpu": 61.7}, course)
    changed = COURSE.replace("{cpu: null, smoke: 12, gpu: null}", "{cpu: 62, smoke: 12, gpu: null}")
    assert (course / "course.yaml").read_text() == changed
    times.write_times("01_next", {"smoke": 8.2, "gpu": 1.4}, course)
    assert read_chapters(course)["01_next"].seconds.model_dump() == {"cpu": 3, "smoke": 8, "gpu": 1}
    assert read_chapters(course)["00_small"].seconds.cpu == 62


def test_a_chapter_without_a_line_for_its_times_is_named(course):
    with pytest.raises(ValueError, match="course.yaml, 02_bare: write a line"):
        times.write_times("02_bare", {"cpu": 1}, course)


@pytest.fixture
def chapter(course, monkeypatch):
    """Chapter 00, which starts in an empty folder, and 01, whose full run fails."""
    code = "import os, pathlib, time\ntime.sleep(2 if smoke else 0)\nassert not pathlib.Path('outputs').exists()\n"
    code += "pathlib.Path('outputs').mkdir()\nprint('threads:', os.environ['OMP_NUM_THREADS'])"
    cells = [new_code_cell('smoke = False\noutput = "outputs"'), new_code_cell(code)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), course / "00_small.ipynb")
    cells[1].source = "assert smoke"
    nbformat.write(new_notebook(cells=cells, metadata=kernel), course / "01_next.ipynb")
    monkeypatch.setattr(times, "FOLDER", course)
    monkeypatch.setattr(times, "EXECUTED", course / "executed")
    monkeypatch.setattr(times, "pick_device", lambda: torch.device("cpu"))
    return course / "00_small.ipynb"


def test_chapters_are_measured_kept_and_a_failure_stops_no_other(course, chapter, monkeypatch, capsys):
    monkeypatch.setattr(times, "one_core", lambda: monkeypatch.setenv("OMP_NUM_THREADS", "1"))
    (course / "executed" / "full").mkdir(parents=True)
    (course / "executed" / "full" / "01_next.ipynb").write_text("of an earlier run")
    assert times.main([]) == 1
    found = {name: entry.seconds for name, entry in read_chapters(course).items()}
    assert 2 <= found["00_small"].smoke < 60 and 1 <= found["00_small"].cpu < 60
    assert found["01_next"].cpu == 3, "the full run fails, and leaves the old time"
    shown = capsys.readouterr()
    assert "failed: 01_next, cpu: 01_next.ipynb, cell 3: AssertionError" in shown.err and "threads: 1" in shown.out
    made = {path.relative_to(course).as_posix() for path in (course / "executed").rglob("*.ipynb")}
    kept = {"executed/smoke/00_small.ipynb", "executed/smoke/01_next.ipynb", "executed/full/00_small.ipynb"}
    assert made == kept | {"executed/full/01_next.ipynb", "executed/full/unfinished/01_next.ipynb"}
    assert (course / "executed" / "full" / "01_next.ipynb").read_text() == "of an earlier run"
    assert "outputs" not in {path.name for path in course.rglob("*")}


def test_only_the_chapters_that_are_named_are_measured(course, chapter, monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(times, "one_core", lambda: None)
    monkeypatch.setattr(times, "execute", lambda notebook, folder, smoke: measured.append((notebook.stem, smoke)) or 7)
    assert times.main(["01"]) == 0 and times.main(["00", "--smoke"]) == 0
    assert measured == [("01_next", True), ("01_next", False), ("00_small", True)]
    with pytest.raises(SystemExit):
        times.main(["11"])
    assert "begins with 11" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux keeps a process to one core")
def test_one_core_means_one_core_and_one_thread():
    kernel = "import os; print(len(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'])"
    code = "import subprocess, sys\nfrom times import one_core\none_core()\n"
    code += f"subprocess.run([sys.executable, '-c', {kernel!r}], check=True)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SCRIPTS)
    assert found.stdout.split() == ["1", "1"]
