"""Every test run has a cache of its own, and runs each chapter once for all tests that look at it."""

import functools
import gc
import importlib.util
import multiprocessing
import os
import re
import runpy
import signal
import sys
import time
import warnings
from collections import namedtuple
from contextlib import suppress
from functools import partialmethod
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
from course import LEFT_OUT, without_tags

from dmws_lite.runtime.notebooks import run_notebook

ROOT = Path(__file__).parents[1]
collect_ignore = ["kernel.py"]  # a script
CELL_LIMIT = 600  # seconds that a cell may take in a smoke run on a busy machine; the aim is 30


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """One cache for all workers of a test run: phantoms are drawn once."""
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        if "DMWS_CACHE" not in os.environ:
            patch.setenv("DMWS_CACHE", str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"))
        yield


# What is in the process that others are forked from: of others only, so that each chapter imports this package anew
LIBRARIES = "torch._dynamo timm accelerate seaborn sklearn.metrics plotly.graph_objects ipywidgets ipykernel.kernelapp"


def fork_script(path, **given):
    """Run a script with these global names in a process of its own, which has nine seconds less to import."""
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload(LIBRARIES.split())
    process = context.Process(target=runpy.run_path, args=(str(path), given))
    process.start()
    return process


@pytest.fixture(scope="session")
def fork():
    return fork_script


class Forked:
    """In place of the Popen by which `jupyter_client` starts a kernel."""

    stdin = stdout = stderr = None
    seconds = 0.0  # of a core, by the kernel that was looked at last

    def __init__(self, command, env, cwd=None, **_):
        given = {"arguments": command[command.index("ipykernel_launcher") + 1 :], "environment": dict(env)}
        self.process = fork_script(ROOT / "tests" / "kernel.py", folder=cwd or os.getcwd(), **given)
        self.pid = self.process.pid
        while os.getpgid(self.pid) != self.pid:  # until it leads the group that signals are sent to
            time.sleep(0.001)

    def poll(self):
        with suppress(psutil.NoSuchProcess):
            Forked.seconds = sum(psutil.Process(self.pid).cpu_times()[:4])
        return self.process.exitcode

    def wait(self):
        self.process.join()
        return self.poll()

    def send_signal(self, number):
        os.kill(self.pid, number)

    terminate, kill = partialmethod(send_signal, signal.SIGTERM), partialmethod(send_signal, signal.SIGKILL)


@pytest.fixture(scope="module")
def forked_kernels():
    """Kernels start in a moment; where nobody asks for this, as users start them."""
    with pytest.MonkeyPatch.context() as patch:
        fork_kernels(patch)
        yield


def fork_kernels(patch):
    if sys.platform == "linux":
        patch.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", Forked)


# A chapter after a smoke run, its file, the folder it published into, and seconds: on Linux those of a core
Executed = namedtuple("Executed", "notebook path published seconds")


@pytest.fixture(scope="session")
def executed(tmp_path_factory, own_cache):
    """executed(name): the chapter's source after a smoke run; a second call gives the same, or fails the same way."""

    @functools.cache
    def attempt(name):
        out, start = tmp_path_factory.mktemp(name), time.perf_counter()
        source, published = ROOT / "notebooks" / "instructor" / f"{name}.ipynb", out / "published"
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PYTHONPATH", str(ROOT))
                patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as a kernel does, but sooner
                fork_kernels(patch)
                path = run_notebook(source, out, {"smoke": True, "output": str(published)}, CELL_LIMIT, html=False)
        except RuntimeError as error:
            return error
        seconds = Forked.seconds if sys.platform == "linux" else time.perf_counter() - start
        return Executed(nbformat.read(path, as_version=4), path, published, seconds)

    def run(name):
        result = attempt(name)
        if isinstance(result, RuntimeError):
            pytest.fail(str(result), pytrace=False)
        return result

    return run


@pytest.fixture(scope="session")
def outcome():
    """outcome(key, accuracy): what a run leaves, as a store keeps it, without the run."""
    from dmws_lite.studies.run import Outcome

    def make(key, accuracy=0.5):
        training = {"steps": 4, "batch_size": 8, "seed": 0}
        metrics = "accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece"
        config = {"training": training, "data": "images", "weights": "teacher", "initializer": "default"}
        names = {"data": "d", "pair": "t → s", "method": "m", "label": "M", "definition": "a method"}
        cost = {"flops_per_step": 1, "parameters": 1, "latency_ms": 1.0}
        record = {"format": 1, "key": key, "status": "done", "error": None, "config": config, "names": names}
        record |= {"fraction": 0.1, "seed": 0, "size": 16, "val_accuracy": accuracy, "best_step": 4, "seconds": 1.0}
        record |= {"metrics": {"main": dict.fromkeys(metrics, accuracy)}, "images_per_second": 9.0, "cost": cost}
        record |= {"peak_memory_mb": 1.0, "machine": {"device": "cpu", "gpu": None}}
        history = pd.DataFrame({"step": [0, 4], "val_accuracy": [0.1, accuracy]})
        predictions = pd.DataFrame({"student": "main", "image": ["a", "b"], "label": [0, 1], "predicted": [0, 0]})
        return Outcome(record, history, predictions.assign(probabilities=[[0.6, 0.4]] * 2))

    return make


# The built site's folder, Sphinx's exit code, and the chapters that are shown with their results
Site = namedtuple("Site", "folder code chapters")


@pytest.fixture(scope="session")
def site(tmp_path_factory, executed):
    """The site with the results of one smoke run; the other chapters are shown without theirs."""
    for name in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(name, reason=f'needs {name}: pip install -e ".[site]"')
    docs, done = ROOT / "docs", tmp_path_factory.mktemp("site-chapters")
    chapter = without_tags(executed("03_weight_selection").notebook, LEFT_OUT[""])
    nbformat.write(chapter, done / "03_weight_selection.ipynb")
    sys.path.append(str(docs))
    spec = importlib.util.spec_from_file_location("docs_build", docs / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = tmp_path_factory.mktemp("site")
    with warnings.catch_warnings(action="ignore"):  # of Sphinx's extensions, about Sphinx's next version
        return Site(out, module.build(out, done), {"03_weight_selection": chapter})


def pytest_collection_finish():
    gc.freeze()  # no collection looks through what was imported; some libraries ask for one in each call


def pytest_collection_modifyitems(items):
    """The slowest come first, so that no worker ends long before another: chapters and the site, then these files."""
    slow = "test_gpu", "test_engines", "test_explorers", "test_interactive", "test_fit", "test_report", "test_findings"

    def place(item):
        fixtures = set(getattr(item, "fixturenames", ()))
        return 0 if {"executed", "site"} & fixtures else 1 if item.path.stem in slow else 2

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests of one chapter, or else of one file, share a worker: it runs the chapter once, and each fixture once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByChapterOrFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            chapter = re.search(r"\[(\d\d_\w+)", nodeid)
            return chapter[1] if chapter else nodeid.split("::")[0]

    return ByChapterOrFile(config, log)
