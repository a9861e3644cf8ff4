import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from dmws_lite.course import times
from dmws_lite.course.chapters import read_chapters

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


def test_the_whole_notebook_is_measured(tmp_path):
    cells = [new_code_cell('smoke = False\noutput = ""'), new_code_cell("import time\ntime.sleep(2 if smoke else 0)")]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / "small.ipynb")
    assert 2 < times.measure(tmp_path / "small.ipynb", smoke=True) < 60
