import sys
from importlib import metadata
from types import SimpleNamespace

from dmws_lite.runtime import report


def test_hosts_and_absent_and_old_requirements_with_the_way_out(monkeypatch):
    for name in ("KAGGLE_KERNEL_RUN_TYPE", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    assert report.host() == "jupyter"
    for host, name in (("kaggle", "KAGGLE_KERNEL_RUN_TYPE"), ("colab", "COLAB_RELEASE_TAG")):
        monkeypatch.setenv(name, "release")
        assert report.host() == host
    lines = ["numpy>=1.0", "torch>=99", "no-such-thing>=1"]
    lines += ["papermill>=99 ; extra == 'notebooks'", "x ; extra == 'dev'"]
    monkeypatch.setattr(report.metadata, "requires", lambda name: lines)
    versions, missing = report.requirements()
    assert list(versions) == ["numpy", "torch", "no-such-thing", "papermill"] and versions["no-such-thing"] is None
    assert missing == [
        f"torch>=99 (found {metadata.version('torch')}): pip install 'dmws-lite'",
        "no-such-thing>=1 (found none): pip install 'dmws-lite'",
        f"papermill>=99 (found {metadata.version('papermill')}): pip install 'dmws-lite[notebooks]'",
    ]


def test_without_a_gpu_the_way_to_one_is_named(monkeypatch, capsys):
    environment = report.environment()
    monkeypatch.setattr(report, "environment", lambda: environment | {"host": "colab", "device": "cpu", "gpu": None})
    report.announce()
    *facts, warning = capsys.readouterr().out.splitlines()
    assert len(facts) == 3 and warning.startswith("Warning: no GPU: ") and "menu Runtime" in warning
    gpu = {"device": "cuda", "gpu": "Tesla T4", "precision": "fp16", "gpu_gb": 14.6, "missing": []}
    _, device, missing = report.sentences(environment | gpu)
    assert "Tesla T4, fp16" in device and "14.6 GB of gpu" in device and missing == "missing: nothing"
