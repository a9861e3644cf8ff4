"""The commands `dmws study ...`, as a user types them."""

import pytest
from typer.testing import CliRunner

from dmws_lite.cli import app
from dmws_lite.studies import report
from dmws_lite.studies import run as run_module
from dmws_lite.studies.store import Store

TEXT = """
data: [phantom_brain_mri]
methods: [default, weight_selection]
seeds: 2
size: 16
device: cpu
training: {steps: 2, batch_size: 8, evaluations: 1}
"""


def dmws(*words):
    return CliRunner().invoke(app, ["study", *map(str, words)], env={"COLUMNS": "200"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A study's file; its report is one small file, because the real one starts a kernel."""

    def write_report(store, out, *options):
        out.mkdir(exist_ok=True)
        (out / "report.html").write_text(repr(options))
        return [out / "report.html"]

    monkeypatch.setattr(report, "write_report", write_report)
    (tmp_path / "mine.yaml").write_text(TEXT)
    return tmp_path


def test_run_makes_the_runs_and_the_report_and_nothing_twice(folder):
    planned = dmws("run", folder / "mine.yaml", "--store", folder / "store", "--plan")
    assert planned.exit_code == 0 and "4 runs, from probes" in planned.output and not (folder / "store").exists()
    for stored in (0, 4):
        result = dmws("run", folder / "mine.yaml", "--store", folder / "store")
        assert result.exit_code == 0 and f"mine: 4 runs, {stored} of them stored" in result.output
        assert (folder / "store" / "report.html").is_file()
    assert "0 runs, from probes" in dmws("run", folder / "mine.yaml", "--store", folder / "store", "--plan").output
    words = ["--metric", "auroc", "--reference", "default", "--out", folder / "page"]
    assert str(folder / "page" / "report.html") in dmws("report", folder / "store", *words).output
    assert (folder / "page" / "report.html").read_text() == "(None, 'default', 'auroc')"


def test_options_replace_what_the_file_says(folder):
    words = ["--method", "weight_selection", "--seeds", 1, "--fraction", 0.2, "--steps", 3, "--size", 32]
    result = dmws("run", folder / "mine.yaml", "--store", folder / "other", "--data", "phantom_chest_xray", *words)
    assert result.exit_code == 0, result.output
    (row,) = Store(folder / "other").table("mine").itertuples()
    values = row.data, row.method, row.fraction, row.steps, row.size
    assert values == ("phantom_chest_xray", "weight_selection", 0.2, 3, 32)


def test_list_and_show():
    assert all(name in dmws("list").output for name in ("smoke", "lecture", "paper", "1%"))
    assert "name: lecture" in dmws("show", "lecture").output


def test_a_failed_or_stopped_run_is_told_by_the_exit_code(folder, monkeypatch):
    real, errors = run_module.train, [FloatingPointError("the loss is [red]not finite"), KeyboardInterrupt()]

    def breaks(method, *rest):
        if method.initializer == "default" and errors:
            raise errors.pop(0)
        return real(method, *rest)

    monkeypatch.setattr(run_module, "train", breaks)
    words = "run", folder / "mine.yaml", "--store", folder / "failing", "--seeds", 1
    failed = dmws(*words)
    assert failed.exit_code == 1 and (folder / "failing" / "report.html").is_file()
    assert "the loss is [red]not finite" in failed.output and "1 runs failed" in failed.output
    assert dmws(*words).exit_code == 130


def test_what_cannot_be_done_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, message in (
        (["run", "smoke", "--method", "dual_sdk"], "did you mean 'dual_skd'?"),
        (["run", "smoke", "--engine", "slurm"], "unknown engine 'slurm'"),
        (["report", "nowhere"], "is no run store"),
    ):
        result = dmws(*words)
        assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
