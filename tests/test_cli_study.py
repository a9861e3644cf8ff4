"""The commands `dmws study ...`, as a user types them."""

import pytest
from typer.testing import CliRunner

from dmws_lite.cli import app
from dmws_lite.studies import run as run_module
from dmws_lite.studies.store import Store

TEXT = """
data: [phantom_lung_ct]
methods: [default, weight_selection]
seeds: 2
size: 16
device: cpu
training: {steps: 2, batch_size: 8, evaluations: 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cli_study")
    (made / "mine.yaml").write_text(TEXT)
    return made


def dmws(*words):
    return CliRunner().invoke(app, ["study", *map(str, words)], env={"COLUMNS": "200"})


def test_run_makes_the_runs_and_the_report(folder):
    result = dmws("run", folder / "mine.yaml", "--store", folder / "store")
    assert result.exit_code == 0, result.output
    assert "mine: 4 runs, 0 of them stored" in result.output
    assert (folder / "store" / "report.html").is_file() and (folder / "store" / "report.md").is_file()
    again = dmws("run", folder / "mine.yaml", "--store", folder / "store")
    assert again.exit_code == 0 and "4 of them stored" in again.output


def test_options_replace_what_the_file_says(folder):
    words = ["--method", "weight_selection", "--seeds", 1, "--fraction", 0.2, "--steps", 3, "--size", 32]
    result = dmws("run", folder / "mine.yaml", "--store", folder / "other", "--data", "phantom_brain_mri", *words)
    assert result.exit_code == 0, result.output
    (row,) = Store(folder / "other").table("mine").itertuples()
    assert (row.data, row.method, row.fraction, row.steps, row.size) == (
        "phantom_brain_mri",
        "weight_selection",
        0.2,
        3,
        32,
    )


def test_plan_says_how_long_and_makes_nothing(folder):
    result = dmws("run", folder / "mine.yaml", "--store", folder / "planned", "--plan")
    assert result.exit_code == 0 and "4 runs, from probes" in result.output
    assert not (folder / "planned").exists()


def test_report_again_with_another_metric(folder):
    dmws("run", folder / "mine.yaml", "--store", folder / "store")
    result = dmws("report", folder / "store", "--metric", "auroc", "--reference", "default", "--out", folder / "page")
    assert result.exit_code == 0 and (folder / "page" / "report.html").is_file()
    assert "auroc" in (folder / "page" / "report.md").read_text().lower()


def test_list_and_show():
    listed = dmws("list")
    assert listed.exit_code == 0 and all(
        name in listed.output for name in ("smoke", "lecture", "paper", "1 %".replace(" ", ""))
    )
    shown = dmws("show", "lecture")
    assert shown.exit_code == 0 and "name: lecture" in shown.output and "seeds: 5" in shown.output


def test_a_failed_run_is_told_by_the_exit_code(folder, monkeypatch):
    real = run_module.fit

    def breaks(students, *rest, **options):
        if students.initializer == "default":
            raise FloatingPointError("the loss is [red]no longer finite")
        return real(students, *rest, **options)

    monkeypatch.setattr(run_module, "fit", breaks)
    result = dmws("run", folder / "mine.yaml", "--store", folder / "failing")
    assert result.exit_code == 1
    assert "the loss is [red]no longer finite" in result.output and "2 runs failed" in result.output
    assert (folder / "failing" / "report.html").is_file()


def test_ctrl_c_is_130(folder, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "fit", stopped)
    result = dmws("run", folder / "mine.yaml", "--store", folder / "stopped")
    assert result.exit_code == 130 and "run again to make the rest" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "lectur"], "did you mean 'lecture'?"),
        (["run", "smoke", "--method", "dual_sdk"], "did you mean 'dual_skd'?"),
        (["run", "smoke", "--steps", "0"], "steps=0 must be above 0"),
        (["run", "smoke", "--engine", "slurm"], "unknown engine='slurm'"),
        (["run", "smoke", "--data", "nowhere"], "nowhere"),
        (["report", "nowhere"], "is no run store"),
    ],
)
def test_what_cannot_be_done_is_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = dmws(*words)
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
