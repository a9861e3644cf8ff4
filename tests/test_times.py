"""The script that measures how long the chapters take."""

import nbformat
import pytest
import times
import torch
from course import METADATA
from nbformat.v4 import new_code_cell, new_notebook

from dmws_lite.course.chapters import read_chapters

COURSE = """# A comment.
00_small:
  question: Is it small?
  seconds: {cpu: null, smoke: 12, gpu: null}
01_next:
  question: What comes next?
  needs: [00_small]
  seconds: {cpu: 3, smoke: 4, gpu: 5}
  scales: {imagenet: {cpu: null, gpu: 4}, reference: {cpu: null, gpu: null}}
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
    before = (course / "course.yaml").read_text()
    times.write_times("01_next", {"cpu": 900.4}, course, "imagenet")
    changed = before.replace("imagenet: {cpu: null, gpu: 4}", "imagenet: {cpu: 900, gpu: 4}")
    assert (course / "course.yaml").read_text() == changed != before


def write_chapter(path, code):
    cells = [new_code_cell('smoke = False\noutput = "outputs"', metadata={"tags": ["parameters"]}), new_code_cell(code)]
    nbformat.write(new_notebook(cells=cells, metadata=METADATA), path)
    return path


def test_a_chapter_runs_in_an_empty_folder_and_a_failure_replaces_nothing(tmp_path):
    code = "import pathlib, time\nassert not pathlib.Path('outputs').exists()\npathlib.Path('outputs').mkdir()\n"
    chapter, done = write_chapter(tmp_path / "00_small.ipynb", code + "time.sleep(1)\nassert smoke"), tmp_path / "done"
    assert 1 <= times.execute(chapter, done, smoke=True) < 60
    assert {path.name for path in done.iterdir()} == {"00_small.ipynb", "00_small.html", "unfinished"}
    before = (done / "00_small.ipynb").read_bytes()
    with pytest.raises(RuntimeError, match="00_small.ipynb, cell 3"):
        times.execute(chapter, done)
    assert (done / "00_small.ipynb").read_bytes() == before and (done / "unfinished" / "00_small.ipynb").is_file()
    assert "outputs" not in {path.name for path in tmp_path.rglob("*")}


@pytest.fixture
def measured(course, monkeypatch):
    """Two chapters, and what is run in place of them, as name and smoke; the full run of 01 fails."""
    runs = []

    def execute(notebook, folder, smoke, scale):
        runs.append((notebook.stem, smoke))
        assert folder.name == (scale or ("smoke" if smoke else "full"))
        if runs[-1] == ("01_next", False) and not scale:
            raise RuntimeError("01_next.ipynb, cell 3: AssertionError")
        return 7.4

    for name in ("00_small", "01_next"):
        write_chapter(course / f"{name}.ipynb", "")
    for name, value in {"FOLDER": course, "execute": execute, "one_core": lambda: None}.items():
        monkeypatch.setattr(times, name, value)
    monkeypatch.setattr(times, "pick_device", lambda: torch.device("cpu"))
    return runs


def test_chapters_are_measured_and_a_failure_stops_no_other_and_keeps_its_time(course, measured, capsys):
    assert times.main([]) == 1
    assert "failed: 01_next, cpu: 01_next.ipynb, cell 3: AssertionError" in capsys.readouterr().err
    chapters = read_chapters(course)
    assert chapters["00_small"].seconds.model_dump() == {"cpu": 7, "smoke": 7, "gpu": None}
    assert chapters["01_next"].seconds.model_dump() == {"cpu": 3, "smoke": 7, "gpu": 5}


def test_only_what_is_named_is_measured(course, measured, capsys):
    assert times.main(["01", "--smoke"]) == times.main(["00"]) == times.main(["--scale", "imagenet"]) == 0
    assert measured == [("01_next", True), ("00_small", True), ("00_small", False), ("01_next", False)]
    assert read_chapters(course)["01_next"].scales["imagenet"].cpu == 7
    with pytest.raises(SystemExit):
        times.main(["11"])
    assert "begins with 11" in capsys.readouterr().err
