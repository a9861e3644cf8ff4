from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dmws_lite.runtime import notebooks


def write(path: Path, *sources: str) -> Path:
    """A notebook whose first code cell holds the parameters."""
    cells = [new_markdown_cell("# A small chapter\n\nText"), *map(new_code_cell, sources)]
    cells[1].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return path


def test_a_notebook_runs_with_parameters_and_shows_its_output(tmp_path, capfd):
    path = write(
        tmp_path / "00_small.ipynb",
        "data = None\nsteps = 1",
        "from dmws_lite.runtime.progress import tqdm\nprint(f'{data=} {sum(tqdm(range(steps), desc=\"counting\"))=}')",
    )
    executed = notebooks.run_notebook(path, tmp_path / "out", {"steps": 4, "data": "my images"})
    assert executed == tmp_path / "out" / "00_small.ipynb"
    shown = capfd.readouterr()
    assert "data='my images'" in shown.out and "=6" in shown.out
    assert "counting" in shown.err and "4/4" in shown.err
    assert "=6" in executed.with_suffix(".html").read_text()
    saved = nbformat.read(executed, as_version=4)
    assert "widgets" not in saved.metadata


def test_pictures_of_the_page_have_their_alt_texts(tmp_path):
    cell, facts = new_code_cell("x"), {"image/png": {"alt": 'chance < 50 % & "more"'}}
    cell.outputs = [new_output("display_data", {"image/png": "aGVs"}, metadata=each) for each in (facts, {})]
    path = tmp_path / "small.ipynb"
    nbformat.write(new_notebook(cells=[cell]), path)
    first, second = BeautifulSoup(notebooks.write_html(path).read_text(), "html.parser").select("img")
    assert first["alt"] == 'chance < 50 % & "more"' and first["src"] == second["src"] == "data:image/png;base64,aGVs"
    assert second["alt"] == "No description has been provided for this image"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"seed": 2.5}, "parameter seed = 2.5 is no whole number: its default is 0"),
        ({"sed": 1}, "small.ipynb has no parameter 'sed': its parameters are data = None, seed = 0"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(tmp_path, parameters, message):
    path = write(tmp_path / "small.ipynb", "data = None\nseed = 0")
    with pytest.raises(ValueError, match=message):
        notebooks.run_notebook(path, tmp_path / "out", parameters)
    assert not (tmp_path / "out").exists()


def test_a_cell_that_takes_too_long_is_stopped_and_the_notebook_kept(tmp_path):
    path = write(tmp_path / "small.ipynb", "seed = 0", "print('before')", "import time; time.sleep(60)")
    with pytest.raises(RuntimeError, match="small.ipynb: a cell took longer than 2 s"):
        notebooks.run_notebook(path, tmp_path / "out", cell_limit=2)
    assert "before" in (tmp_path / "out" / "small.ipynb").read_text()


def test_a_kernel_that_dies_is_named_with_its_notebook(tmp_path):
    path = write(tmp_path / "small.ipynb", "seed = 0", "import os; os._exit(1)")
    with pytest.raises(RuntimeError, match="small.ipynb: Kernel died .the notebook so far is"):
        notebooks.run_notebook(path, tmp_path / "out")


def test_a_failing_cell_is_named_and_the_executed_notebook_is_kept(tmp_path):
    path = write(tmp_path / "small.ipynb", "seed = 0", "print('before')", "raise ValueError('seed is odd')")
    with pytest.raises(RuntimeError, match="small.ipynb, cell 3: ValueError: seed is odd"):
        notebooks.run_notebook(path, tmp_path / "out")
    kept = nbformat.read(tmp_path / "out" / "small.ipynb", as_version=4)
    assert any("before" in str(cell.get("outputs")) for cell in kept.cells)
    assert "seed is odd" in (tmp_path / "out" / "small.html").read_text()


def test_an_error_in_a_widgets_callback_is_found(tmp_path):
    path = write(
        tmp_path / "small.ipynb",
        "seed = 0",
        "import ipywidgets\n"
        "slider, screen = ipywidgets.IntSlider(), ipywidgets.Output()\n"
        "@screen.capture()\n"
        "def draw(change):\n"
        "    raise ZeroDivisionError('hidden')\n"
        "slider.observe(draw, 'value')\n"
        "display(slider, screen)\n"
        "slider.value = 3",
    )
    with pytest.raises(RuntimeError, match="callback failed \\(ZeroDivisionError: hidden\\)"):
        notebooks.run_notebook(path, tmp_path / "out")
    assert notebooks.widget_errors(tmp_path / "out" / "small.ipynb") == ["ZeroDivisionError: hidden"]


def test_a_notebook_is_not_overwritten_by_its_own_run(tmp_path):
    path = write(tmp_path / "small.ipynb", "seed = 0")
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="is the notebook itself, .*: pass another folder"):
        notebooks.run_notebook(path, tmp_path)
    assert path.read_bytes() == before


def test_notebooks_are_found_by_number_title_name_and_file(tmp_path, monkeypatch):
    path = write(tmp_path / "00_quickstart.ipynb", "seed = 0")
    monkeypatch.setattr(notebooks, "notebooks", lambda: {path.stem: path})
    for name in ("00", "quickstart", "00_quickstart", str(path)):
        assert notebooks.find_notebook(name) == path
    with pytest.raises(ValueError, match="unknown notebook 'quikstart' .did you mean 'quickstart'.*: choose from 00_"):
        notebooks.find_notebook("quikstart")
    with pytest.raises(FileNotFoundError, match="none.ipynb does not exist"):
        notebooks.find_notebook("none.ipynb")
    assert notebooks.defaults(path) == {"seed": "0"}
