import nbformat
import pytest
from bs4 import BeautifulSoup
from course import METADATA
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dmws_lite.runtime import notebooks
from dmws_lite.runtime.files import claim

pytestmark = pytest.mark.usefixtures("forked_kernels")


def write(path, *sources):
    """A notebook whose first code cell holds the parameters."""
    cells = [new_markdown_cell("# A small chapter\n\nText"), *map(new_code_cell, sources)]
    cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=cells, metadata=METADATA), path)
    return path


@pytest.fixture
def small(tmp_path):
    return write(tmp_path / "small.ipynb", "data = None\nseed = 0")


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
    assert "widgets" not in nbformat.read(executed, as_version=4).metadata


def test_a_page_asks_no_server_for_anything_and_pictures_have_their_alt_texts(tmp_path):
    text = "[![Open](https://x.org/b.svg)](https://y.org/n) $a_1 * b * c$, `$HOME $x`, $5 or $6"
    text += "\n\n$$\n\\bigg(\\frac{a}{2}\\bigg)\n$$\n\n$\\no{x}$"
    view, state = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
    picture = new_output(
        "display_data", {"image/png": "aGVs"}, metadata={"image/png": {"alt": 'chance < 50 % & "more"'}}
    )
    explorer = new_output("display_data", {view: {"model_id": "a"}, "text/plain": "VBox()"})
    cell = new_code_cell("x", outputs=[explorer, picture])
    model = {"a": {"model_name": "VBoxModel", "model_module": "@jupyter-widgets/controls", "state": {}}}
    widgets = {"widgets": {state: {"state": model, "version_major": 2, "version_minor": 0}}}
    nbformat.write(new_notebook(cells=[new_markdown_cell(text), cell], metadata=widgets), tmp_path / "small.ipynb")
    page = BeautifulSoup(notebooks.write_html(tmp_path / "small.ipynb").read_text(), "html.parser")
    assert not [tag for tag in page.select("[src], link[href]") if "http" in tag.get("src", tag.get("href"))]
    assert page.img["alt"] == 'chance < 50 % & "more"' and not page.select("script") and "https" not in str(page.style)
    assert [math.get("display") for math in page.select("math")] == [None, "block"] and page.select_one("mfrac")
    shown = page.main.text
    assert "a1*b*c" in shown and "$HOME $x" in shown and "$5 or $6" in shown and "$\\no{x}$" in shown
    assert page.select_one('a[href="https://y.org/n"]').text == "Open" and "run the notebook to move it" in shown


@pytest.mark.parametrize(
    ("parameters", "kernel", "message"),
    [
        ({"seed": 2.5}, None, "parameter seed = 2.5 is no whole number: its default is 0"),
        ({"sed": 1}, None, "small.ipynb has no parameter 'sed': its parameters are data = None, seed = 0"),
        ({}, "conda-env-x", "small.ipynb: kernel 'conda-env-x' is not installed here .*--kernel with one of .*python3"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(tmp_path, small, parameters, kernel, message):
    with pytest.raises(ValueError, match=message):
        notebooks.run_notebook(small, tmp_path / "out", parameters, kernel=kernel)
    assert not (tmp_path / "out").exists()


TAGGED = b'{"cell_type": "raw", "metadata": {"tags": ["parameters"]}, "source": ""}'
TWICE = b'{"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [%s, %s]}' % (TAGGED, TAGGED)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"cells": [{}]}', b"\xe8", b'{"nbformat": 9, "cells": []}', TWICE])
def test_a_file_that_is_no_notebook_is_named(tmp_path, content):
    (tmp_path / "odd.ipynb").write_bytes(content)
    fault = "has 2 cells with the tag `parameters`" if content == TWICE else "cannot be read as a notebook"
    with pytest.raises(ValueError, match=f"odd.ipynb {fault}"):
        notebooks.run_notebook(tmp_path / "odd.ipynb", tmp_path / "out")


@pytest.mark.parametrize(
    ("metadata", "missing"),
    [
        ({}, "it names no kernel"),
        ({"kernelspec": {"name": "conda-env-x", "language": "python"}}, "kernel 'conda-env-x' is not installed"),
        ({"kernelspec": {"name": "ir", "language": "R"}}, None),
        ({"kernelspec": {"name": "julia-1.9"}, "language_info": {"name": "julia"}}, None),
    ],
)
def test_another_environments_python_notebook_gets_this_pythons_kernel_and_no_other_language(small, metadata, missing):
    notebook = nbformat.read(small, as_version=4)
    notebook.metadata = metadata
    nbformat.write(notebook, small)
    if missing:
        with pytest.warns(UserWarning, match=f"small.ipynb: {missing}.*this Python's own kernel runs it"):
            assert notebooks.pick_kernel(small) == "python3"
    else:
        with pytest.raises(ValueError, match=r"is not installed here \(its language: (R|julia)\): install it, or"):
            notebooks.pick_kernel(small)
    assert notebooks.pick_kernel(small, "python3") == "python3"


CALLBACK = """import ipywidgets
slider, screen = ipywidgets.IntSlider(), ipywidgets.Output()
@screen.capture()
def draw(change):
    raise ZeroDivisionError("hidden")
slider.observe(draw, "value")
display(slider, screen)
slider.value = 3"""


@pytest.mark.parametrize(
    ("code", "limit", "message"),
    [
        ("import time; time.sleep(60)", 2, r"small.ipynb, cell 3 \('import time; .*'\): it took longer than 2 s"),
        ("import os; os._exit(1)", None, r"cell 3 \('import os; os._exit.1.'\): the kernel died. .*ran out of memory"),
        ("raise ValueError('seed is odd')", None, "small.ipynb, cell 3: ValueError: seed is odd"),
        (CALLBACK, None, "callback failed \\(ZeroDivisionError: hidden\\)"),
    ],
)
def test_a_cell_that_fails_is_named_and_the_executed_part_is_kept(tmp_path, code, limit, message):
    path, out = write(tmp_path / "small.ipynb", "seed = 0", "print('before')", code), tmp_path / "{out}"
    with pytest.raises(RuntimeError, match=message + ".*the notebook so far is .*small.ipynb"):
        notebooks.run_notebook(path, out, cell_limit=limit)
    executed = nbformat.read(out / "small.ipynb", as_version=4)
    assert any("before" in str(cell.get("outputs")) for cell in executed.cells)
    assert "before" in (out / "small.html").read_text() and not list(out.glob(".*.ipynb"))


def test_a_notebook_that_deletes_its_own_folder_is_told_so(tmp_path):
    path = write(tmp_path / "small.ipynb", "output = ''", "import shutil; shutil.rmtree(output)", "1")
    with pytest.raises(RuntimeError, match="its folder .*out was deleted while it ran .nothing is left of the run"):
        notebooks.run_notebook(path, tmp_path / "out")


def test_two_runs_into_one_folder_never_overwrite_one_another(tmp_path):
    path, out = write(tmp_path / "small.ipynb", "n = 0\noutput = ''", "print(f'{n=} {output=}')"), tmp_path / "out"
    assert notebooks.run_notebook(path, out, {"n": 1}, html=False) == out / "small.ipynb"
    assert notebooks.run_notebook(path, out, {"n": 1}, html=False) == out / "small.ipynb"  # the same run again
    with pytest.warns(UserWarning, match="out has, or is getting, the result of another run: this one goes to .*run-2"):
        second = notebooks.run_notebook(path, out, {"n": 2}, html=False)
    lock = claim(second.with_name(f".{second.name}.lock"))  # as a run does that is under way
    with pytest.warns(UserWarning, match="this one goes to .*run-3"):
        third = notebooks.run_notebook(path, out, {"n": 2}, html=False)
    lock.release()
    for executed, n in ((out / "small.ipynb", 1), (second, 2), (third, 2)):
        assert f"n={n} output='{executed.parent}'" in executed.read_text()
    assert notebooks.run_notebook(path, out, {"n": 3}, html=False, replace=True) == out / "small.ipynb"
    before = path.read_bytes()
    for replace in (False, True):
        with pytest.raises(FileExistsError, match="is the notebook itself, .*: pass another folder"):
            notebooks.run_notebook(path, tmp_path, html=False, replace=replace)
    assert path.read_bytes() == before


def test_a_batch_goes_on_after_a_failure_and_after_an_interruption(tmp_path, monkeypatch):
    path, out = write(tmp_path / "small.ipynb", "n = 0", "assert n != 2\nprint(n)"), tmp_path / "out"
    runs, real = [], notebooks._execute
    monkeypatch.setattr(notebooks, "write_html", lambda part, page: page.touch())
    monkeypatch.setattr(notebooks, "_execute", lambda *words: runs.append(words[2]["n"]) or real(*words))
    first = notebooks.run_batch(path, out, [{"n": "1"}, {"n": 2}, {"n": 3}])
    assert first["error"].str.contains("AssertionError").tolist() == [False, True, False]
    assert notebooks.run_batch(path, out, [{"n": 1}, {"n": 2}, {"n": 3}]).equals(first) and runs == [1, 2, 3, 2]
    with pytest.warns(UserWarning, match="this one goes to .*run-2"):
        other = notebooks.run_batch(path, out, [{"n": 4}])
    assert other["folder"].tolist() == [str(out / "run-2" / "01")]
    assert first.to_csv(index=False) == (out / "summary.csv").read_text()


def test_notebooks_are_found_by_number_title_name_beginning_and_file(small):
    for name in ("06", "6", "train_main_and_auxiliary", "06_train_main_and_auxiliary", "Train"):
        assert notebooks.find_notebook(name).stem == "06_train_main_and_auxiliary"
    assert notebooks.find_notebook(str(small)) == small and notebooks.defaults(small) == {"data": "None", "seed": "0"}
    for name, message in {
        "t": "notebook 't' may be 02_teacher_and_students or 06_train.*: write more of it",
        "quikstart": "unknown notebook 'quikstart' .did you mean '00_quickstart'.*: choose from 00_",
        "": "unknown notebook '': choose from 00_",
    }.items():
        with pytest.raises(ValueError, match=message):
            notebooks.find_notebook(name)
    with pytest.raises(FileNotFoundError, match="none.ipynb does not exist"):
        notebooks.find_notebook("none.ipynb")
