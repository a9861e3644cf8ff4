"""The script that measures how long the chapters take."""

import nbformat
import pytest
import times
import torch
from course import METADATA
from nbformat.v4 import new_code_cell, new_notebook

COURSE = """# A comment.
00_small:
  question: Is it small?
  seconds: {cpu: null, smoke: 12, gpu: null}
01_next:
  question: What comes next?
  needs: [00_small]
  seconds: {cpu: 3, smoke: 4, gpu: 5}
  scales: {imagenet: {cpu: null, gpu: 4}, reference: {cpu: null, gpu: null}}
"""


def write_chapter(path, code):
    cells = [new_code_cell('smoke = False\noutput = "outputs"', metadata={"tags": ["parameters"]}), new_code_cell(code)]
    nbformat.write(new_notebook(cells=cells, metadata=METADATA), path)
    return path


def test_a_chapter_runs_in_an_empty_folder_and_a_failure_replaces_nothing(tmp_path):
    code = "import pathlib, time\nassert not pathlib.Path('outputs').exists()\npathlib.Path('outputs').mkdir()\n"
    code += "while time.process_time() < 1: pass\nassert smoke"
    chapter, done = write_chapter(tmp_path / "00_small.ipynb", code), tmp_path / "done"
    assert 0.95 <= times.execute(chapter, done, smoke=True) < 60  # the kernel's CPU seconds are counted
    assert {path.name for path in done.iterdir()} == {"00_small.ipynb", "00_small.html", "unfinished"}
    before = (done / "00_small.ipynb").read_bytes()
    with pytest.raises(RuntimeError, match="00_small.ipynb, cell 3"):
        times.execute(chapter, done)
    assert (done / "00_small.ipynb").read_bytes() == before and (done / "unfinished" / "00_small.ipynb").is_file()
    assert "outputs" not in {path.name for path in tmp_path.rglob("*")}


def test_only_measured_times_change_and_a_failure_stops_no_other_and_keeps_its_time(tmp_path, monkeypatch, capsys):
    def execute(notebook, folder, smoke, scale):
        assert folder.name == (scale or ("smoke" if smoke else "full"))
        if notebook.stem == "01_next" and not smoke and not scale:
            raise RuntimeError("01_next.ipynb, cell 3: AssertionError")
        return 61.7

    (tmp_path / "course.yaml").write_text(COURSE)
    for name in ("00_small", "01_next"):
        write_chapter(tmp_path / f"{name}.ipynb", "")
    for name, value in {"FOLDER": tmp_path, "execute": execute, "use_one_core": lambda: None}.items():
        monkeypatch.setattr(times, name, value)
    monkeypatch.setattr(times, "pick_device", lambda: torch.device("cpu"))
    assert times.main(["--scale", "imagenet"]) == 0
    expected = COURSE.replace("imagenet: {cpu: null,", "imagenet: {cpu: 62,")
    assert (tmp_path / "course.yaml").read_text() == expected
    assert times.main([]) == 1
    assert "failed: 01_next, cpu: 01_next.ipynb, cell 3: AssertionError" in capsys.readouterr().err
    expected = expected.replace("{cpu: null, smoke: 12,", "{cpu: 62, smoke: 62,").replace("smoke: 4", "smoke: 62")
    assert (tmp_path / "course.yaml").read_text() == expected
