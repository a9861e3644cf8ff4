import csv
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from course import METADATA
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from typer.testing import CliRunner

from dmws_lite.cli import app
from dmws_lite.method.plan import load_plan
from dmws_lite.method.selection import complementary_plans, plan
from dmws_lite.runtime import notebooks

pytestmark = pytest.mark.usefixtures("forked_kernels")
PARAMETERS = 'data = None\noutput = "outputs"\nseed = 0\nsmoke = False'
RESULTS = """from pathlib import Path
folder = Path(output)
rows = [f"dual [SKD],{n},{accuracy},0.5,0.5,0.5\\n" for n, accuracy in ((1, 0.7), (seed, 0.9))]
(folder / "results.csv").write_text("label,seed,accuracy,balanced_accuracy,macro_f1,auroc\\n" + "".join(rows))
print(f"{data=} {smoke=}")"""


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("DMWS_DEBUG", raising=False)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one small notebook."""
    path = tmp_path / "course" / "00_quickstart.ipynb"
    path.parent.mkdir()
    cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell(RESULTS)]
    nbformat.write(new_notebook(cells=cells, metadata=METADATA), path)
    monkeypatch.setattr(notebooks, "notebooks", lambda: {path.stem: path})
    return path


def add_code(path, parameters="", code=""):
    """More parameters, and a cell more, in the course's notebook."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source += f"\n{parameters}"
    notebook.cells.append(new_code_cell(code))
    nbformat.write(notebook, path)


def failed(result, *parts: str) -> bool:
    """One clean line on the error stream, with all `parts`, and exit code 2."""
    line = result.stderr.strip()
    return result.exit_code == 2 and line.startswith("error:") and "\n" not in line and all(p in line for p in parts)


@pytest.mark.parametrize("command", ["doctor", "demo", "select", "notebooks run", "data check", "study run"])
def test_every_command_has_help_with_an_example(run, command):
    result = run(*command.split(), "--help")
    assert command != "study run" or "outputs/studies/NAME" in result.output  # a default that is no value
    assert result.exit_code == 0 and f"Example: dmws {command}" in result.output
    assert command.split()[0] in run("--help").output


def test_doctor_reports_and_prints_json(run):
    facts = json.loads(run("doctor", "--json").output)
    assert facts["device"] in ("cpu", "cuda", "mps") and facts["memory_gb"] > 0
    assert all(text in run("doctor").output for text in (facts["precision"], "missing"))


def test_select_prints_and_saves_the_plans(run, tmp_path):
    saved, pair = tmp_path / "plans" / "plan.json", ("embedded_vit_96", "embedded_vit_48")
    result = run("select", *pair, "--layers", "uniform", "--save", saved)
    main, auxiliary = complementary_plans(*pair, layers="uniform")
    assert f"phase 0: uses {main.coverage()} of the teacher (main)" in result.output
    assert f"auxiliary 1, shares {main.overlap(auxiliary)} with the main" in result.output
    assert all(name in result.output for name in (*main.skipped, *(a.student for a in main.assignments)))
    assert [repr(load_plan(saved.with_stem(stem))) for stem in ("plan", "plan_1")] == [repr(main), repr(auxiliary)]
    run("select", *pair, "--phase", 1, "--layers", "0,1,4,5", "--save", tmp_path / "one.json")
    assert repr(load_plan(tmp_path / "one.json")) == repr(plan(*pair, phase=1, layers=[0, 1, 4, 5]))
    assert not (tmp_path / "one_1.json").exists()


def test_select_refits_on_images_and_shows_each_layers_error(run, tmp_path):
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (12, 16, 16), np.uint8)):
        file = tmp_path / "images" / f"class {number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    words = ("select", "embedded_vit_96", "embedded_vit_48", "--images", tmp_path / "images", "--out", tmp_path)
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert "main: selection_ls on" in result.output and "auxiliary: selection_ls on" in result.output
    assert "Warning:" in result.output
    layer = result.output.rpartition("blocks.3.mlp.fc2")[2].splitlines()[0]
    before, after = (float(cell) for cell in layer.replace("│", " ").split())
    assert after < 0.2 * before and str(tmp_path / "errors.png") in result.output
    projected = run(*words, "--initializer", "projection", "--size", 32)
    assert "main: projection on" in projected.output and "auxiliary: projection" not in projected.output


EMBEDDED = ("select", "embedded_vit_96", "embedded_vit_48")
BAD = {
    ("select", "vit_nano", "embedded_vit_48"): ["unknown model 'vit_nano'", "did you mean"],
    (*EMBEDDED, "--initializer", "projection"): ["pass --images FOLDER"],
    (*EMBEDDED, "--initializer", "default"): ["choose from selection_ls, pro"],
    (*EMBEDDED, "--images", "nowhere"): ["neither a folder, a file, nor"],
    ("notebooks", "run", "00", "-p", "seed=1", "-p", "smoke", "1"): ["-p seed=1: a name and a value are needed"],
    ("notebooks", "run", "00", "-p", "seed"): ["-p seed: a name and a value are needed, such as -p smoke True"],
    ("notebooks", "run", "00", "-p", "seed", "1", "-p", "seed", "2"): ["parameter seed is given more than once"],
    ("notebooks", "run", "00", "--batch", "gone.csv"): ["gone.csv"],
    (*EMBEDDED, "--weights", "gone"): ["--weights gone is for --images only: pass both, or neither"],
    (*EMBEDDED, "--layers", "0, -1"): ["layers=[0, -1]"],
    ("demo", ""): ["source='.' is neither a folder"],
    ("demo", "nowhere"): ["'nowhere' is neither a folder, a file, nor a card", "dmws data list"],
    ("demo", "--teacher", "imgenet"): ["unknown scale 'imgenet' (did you mean 'imagenet'?)"],
}


@pytest.mark.parametrize(("words", "parts"), BAD.items())
def test_bad_input_gets_one_clean_line_and_leaves_nothing(run, words, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert failed(run(*words), *parts) and not (tmp_path / "outputs").exists()


def test_the_traceback_is_shown_on_demand(run, monkeypatch):
    monkeypatch.setenv("DMWS_DEBUG", "1")
    assert isinstance(run("demo", "nowhere").exception, FileNotFoundError)


def test_demo_runs_the_quickstart_and_shows_what_came_out(run, course, tmp_path):
    images, out = tmp_path / "my images", tmp_path / "the results"
    images.mkdir()
    result = run("demo", images, "--out", out, "--seed", 3, "--smoke")
    assert result.exit_code == 0, result.output
    assert f"data='{images}' smoke=True" in result.output
    assert "dual [SKD]" in result.output and "0.800 ± 0.141" in result.output and "2 seeds" in result.output
    for name in ("00_quickstart.ipynb", "00_quickstart.html", "results.csv"):
        assert (out / name).is_file() and str(out / name) in result.output


def test_demo_with_another_teacher_finds_its_weights_first_and_passes_the_scale(run, course, tmp_path, monkeypatch):
    def load(name):
        loaded.append(name)
        if len(loaded) == 1:
            raise ConnectionError("no pretrained weights")

    loaded: list[str] = []
    monkeypatch.setattr("dmws_lite.method.networks.load_teacher", load)
    add_code(course, 'scale = "embedded"\nsteps = 250', 'print(f"{scale=} {steps=}")')
    (tmp_path / "file").write_text("in the way")
    assert failed(run("demo", "--out", tmp_path / "file"), "file cannot be written to", "pass another folder")
    words = ("demo", "--teacher", "imagenet", "--out", tmp_path / "out")
    assert failed(run(*words), "no pretrained weights") and not (tmp_path / "out").exists()
    monkeypatch.setattr("dmws_lite.runtime.device.pick_device", lambda: torch.device("cpu"))
    assert "scale='imagenet' steps=50" in run(*words).output and loaded == ["tf_efficientnet_lite0"] * 2


def test_notebooks_are_listed_with_question_times_and_parameters(run, course, monkeypatch):
    text = "00_quickstart: {question: 'Is it quick?', seconds: {cpu: 100, smoke: 9}}"
    (course.parent / "course.yaml").write_text(text)
    monkeypatch.setattr(notebooks, "course_folder", lambda: course.parent)
    output = run("notebooks", "list").output
    for part in ("00_quickstart", "Is it quick?", "2 minutes", "10 seconds", "seed = 0"):
        assert part in output


def test_a_notebook_runs_with_parameters(run, course, tmp_path):
    out = tmp_path / "out"
    words = ("-p", "seed", 7, "-p", "data", "a=b", "--parameter", "smoke", "True")
    result = run("notebooks", "run", "00", *words, "--out", out)
    assert result.exit_code == 0, result.output
    assert "data='a=b' smoke=True" in result.output
    assert (out / "results.csv").read_text().endswith("SKD],7,0.9,0.5,0.5,0.5\n")
    assert Path(out / "00_quickstart.html").stat().st_size > 0


def test_a_batch_runs_every_row_and_says_which_failed(run, course, tmp_path):
    rows, out = tmp_path / "rows.csv", tmp_path / "out"
    rows.write_text("\ufeffseed,smoke\n1,True\n2,\n", encoding="utf-8")
    add_code(course, code="assert smoke")
    result = run("notebooks", "run", "00", "--batch", rows, "-p", "data", "x", "--out", out)
    assert result.exit_code == 2 and result.stderr.splitlines()[-1] == "error: 1 of 2 runs failed: see the summary"
    assert "AssertionError" in result.output and str(out / "summary.csv") in result.output
    with (out / "summary.csv").open() as file:
        done, failure = csv.DictReader(file)
    assert (done["run"], done["seed"], done["data"], done["error"]) == ("01", "1", "x", "")
    assert "AssertionError" in failure["error"] and (out / "02" / "00_quickstart.html").is_file()
