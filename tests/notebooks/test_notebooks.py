"""Every notebook of the course: what is committed, and what a smoke run of it shows and publishes."""

import ast
import json
import re
from functools import reduce
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from dmws_lite import __version__
from dmws_lite.runtime.notebooks import run_notebook

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COLAB = "https://colab.research.google.com/github/dmws-lite/dmws-lite/blob/main/"

# What a smoke run publishes in its output folder: (file, keys ...): (expected, tolerance).
# The keys lead into a JSON file; in a CSV they are the first column's value and the column's name.
PUBLISHED = {
    "00_quickstart": {
        ("quickstart.json", "coverage"): (0.1805, 5e-5),
        ("quickstart.json", "overlap"): (0, 0),
        ("quickstart.json", "runs"): (6, 0),
        ("quickstart.json", "accuracy"): (0.5, 0.4),
        ("quickstart.json", "saved_student_answers_alike"): (True, 0),
    },
    "01_meet_the_data": {
        ("01_meet_the_data.json", "images"): (1050, 0),
        ("01_meet_the_data.json", "valid"): (True, 0),
        ("01_meet_the_data.json", "fractions", "1%"): (6, 0),
        ("01_meet_the_data.json", "fractions", "10%"): (60, 0),
        ("01_meet_the_data.json", "nested"): (True, 0),
        ("01_meet_the_data.json", "probe", "before"): (0.41, 0.06),
        ("01_meet_the_data.json", "probe", "with frames"): (1, 0.01),
        ("01_meet_the_data.json", "leak", "twins", "by image"): (0.83, 0.1),
        ("01_meet_the_data.json", "leak", "twins", "by patient"): (0, 0),
        ("01_meet_the_data.json", "leak_is_invalid"): (True, 0),
        ("01_meet_the_data.json", "own", "images"): (54, 0),
        ("01_meet_the_data.json", "own", "valid"): (True, 0),
        ("01_meet_the_data.json", "own", "patients_apart"): (True, 0),
    },
    "03_weight_selection": {
        ("weight_selection.json", "coverage"): (5_524_416 / 21_665_664, 1e-9),
        ("weight_selection.json", "overlap"): (0, 0),
        ("weight_selection.json", "together"): (2 * 5_524_416 / 21_665_664, 1e-9),
        ("weight_selection.json", "pairs", "ConvNeXt-T → ConvNeXt-F", "main"): (0.1737, 5e-5),
        ("weight_selection.json", "pairs", "ConvNeXt-T → ConvNeXt-F", "overlap"): (0, 0),
        ("weight_selection.json", "shared_channels"): (2 * 768 - 1024, 0),
        ("weight_selection.json", "slices_equal"): (True, 0),
        ("weight_selection.json", "similarity", "consistent: uniform"): (0.75, 0.25),
        ("weight_selection.json", "similarity", "inconsistent"): (0, 0.2),
        ("weight_selection.json", "similarity", "random weights"): (0, 0.2),
    },
    "04_initialisations": {
        ("04_initialisations.json", "gain", "truncated_normal"): (0.173, 0.003),  # 0.02 sqrt(fan_in), mean over layers
        ("04_initialisations.json", "gain", "kaiming"): (2**0.5, 0.02),
        ("04_initialisations.json", "gain_ratio"): (0.5**0.5, 0.02),
        ("04_initialisations.json", "rank_share", "default"): (0.41, 0.02),
        ("04_initialisations.json", "rank_share", "weight_selection"): (0.169, 0.005),
        ("04_initialisations.json", "rank_share", "selection_random_inconsistent"): (0.18, 0.02),
        ("04_initialisations.json", "rank_share", "full_teacher"): (0.119, 0.005),
        ("04_initialisations.json", "similarity", "default"): (0.99, 0.005),
        ("04_initialisations.json", "similarity", "full_teacher"): (0.886, 0.01),
        ("04_initialisations.json", "entropy", "default"): (1, 1e-3),
        ("04_initialisations.json", "entropy", "weight_selection"): (0.986, 0.005),
        ("04_initialisations.json", "first_loss", "weight_selection"): (1.0986, 0.05),
        ("04_initialisations.json", "chance_loss"): (1.0986, 1e-4),
    },
    "06_training": {
        ("06_training.json", "gradients", "auxiliary"): (0, 0),
        ("06_training.json", "gradients", "main"): (56, 0),
        ("06_training.json", "loss"): (0.5615, 5e-3),
        ("06_training.json", "loss_by_hand"): (0.5615, 5e-3),
        ("06_training.json", "half_lives", "0.999"): (692.8, 0.1),
        ("06_training.json", "alpha_end"): (0.5, 1e-9),
        ("06_training.json", "evaluations"): (20, 0),
        ("06_training.json", "only_auxiliary_right"): (0.5, 0.5),
    },
    "07_study": {
        ("07_study.json", "runs"): (14, 0),
        ("07_study.json", "failures"): (0, 0),
        ("07_study.json", "dual_minus_single"): (0, 0),  # nothing that the auxiliary says enters the loss
        ("07_study.json", "cost", "dual"): (1, 0),
        ("07_study.json", "cost", "dual_skd"): (4 / 3, 0.02),  # a forward pass more, of which a step has three
        ("07_study.json", "share_on_start", "this study"): (0.0104, 1e-4),  # 2 (half-life / ln 2)^2 of the run
        ("07_study.json", "share_on_start", "both"): (0.541, 1e-3),  # (1 - 1/4) / ln 4
        ("07_study.json", "fooled", "3"): (0.25, 0.015),
        ("07_study.json", "fooled", "6"): (2**-5, 0.006),
        ("07_study.json", "shown"): (0, 0),  # two seeds cannot show anything
    },
}


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def committed(request):
    """A notebook as it is committed, and its path."""
    return nbformat.read(request.param, as_version=4), request.param


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(request, tmp_path_factory):
    """A notebook after a smoke run, its name, and the folder it published into."""
    out = tmp_path_factory.mktemp(request.param.stem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        path = run_notebook(request.param, out, {"smoke": True, "output": str(out / "published")})
    return nbformat.read(path, as_version=4), request.param.stem, out / "published"


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_every_published_number_has_its_notebook():
    assert set(PUBLISHED) <= {path.stem for path in NOTEBOOKS}


# --- as committed ----------------------------------------------------------------------------------------------------


def test_committed_without_outputs_and_widget_state(committed):
    notebook, _ = committed
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info == {"name": "python"}
    for cell in code_cells(notebook):
        assert not cell.outputs and cell.execution_count is None
        assert set(cell.metadata) <= {"tags"}


def test_one_parameters_cell_with_nothing_derived(committed):
    notebook, _ = committed
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    statements = ast.parse(cell.source).body
    names = [statement.targets[0].id for statement in statements]
    assert {"smoke", "output"} <= set(names)
    for statement in statements:
        ast.literal_eval(statement.value)  # raises ValueError for anything computed


def test_the_first_code_cell_is_the_same_everywhere(committed):
    notebook, _ = committed
    first = code_cells(notebook)[0].source
    assert first == code_cells(nbformat.read(NOTEBOOKS[0], as_version=4))[0].source
    assert f"@v{__version__}" in first


def test_the_badge_leads_to_this_notebook(committed):
    notebook, path = committed
    badges = re.findall(r"\((https://colab\.research\.google\.com/github/[^)]*)\)", notebook.cells[0].source)
    assert badges == [COLAB + path.relative_to(ROOT).as_posix()]


def test_every_picture_in_the_text_has_alt_text(committed):
    for cell in (cell for cell in committed[0].cells if cell.cell_type == "markdown"):
        assert all(text.strip() for text in re.findall(r"!\[(.*?)\]\(", cell.source))
        assert all(re.search(r'alt="[^"]+"', tag) for tag in re.findall(r"<img[^>]*>", cell.source))


def test_links_to_other_chapters_lead_somewhere(committed):
    notebook, path = committed
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([\w./-]+\.ipynb)\)", text)
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing


def test_a_chapter_is_short(committed):
    lines = sum(len([line for line in cell.source.splitlines() if line.strip()]) for cell in code_cells(committed[0]))
    assert lines <= 150


# --- after a smoke run -----------------------------------------------------------------------------------------------


def test_every_cell_ran_and_none_failed(executed):
    for cell in code_cells(executed[0]):
        assert cell.execution_count is not None
        assert not [output for output in cell.outputs if output.output_type == "error"]


def test_no_error_hides_in_a_widget(executed):
    state = (
        executed[0].metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    )
    outputs = [output for model in state.values() for output in model["state"].get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]


def test_every_figure_has_alt_text(executed):
    outputs = [
        output for cell in code_cells(executed[0]) for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    assert outputs
    for output in outputs:
        assert len(output.metadata.get("image/png", {}).get("alt", "")) > 20


def test_published_numbers(executed):
    _, name, folder = executed
    for (file, *keys), (expected, tolerance) in PUBLISHED.get(name, {}).items():
        found = reduce(lambda data, key: data[key], keys, read(folder / file))
        assert found == pytest.approx(expected, abs=tolerance, rel=0), f"{file}: {keys}"


def read(path):
    if path.suffix == ".csv":
        return pd.read_csv(path, index_col=0).to_dict("index")
    return json.loads(path.read_text())
