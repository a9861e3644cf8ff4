"""A study of a few steps, and one store of it that the tests of this folder read."""

import pytest

from dmws_lite.studies.engines import run_study
from dmws_lite.studies.study import make_study

TINY = {"steps": 4, "batch_size": 8, "evaluations": 2}


@pytest.fixture(scope="session")
def tiny():
    def made(**changes):
        content = {
            "name": "tiny",
            "data": ["phantom_lung_ct"],
            "methods": ["default", "weight_selection", "dual_skd"],
            "seeds": 2,
            "size": 16,
            "training": TINY,
            "device": "cpu",
        }
        return make_study(**content | changes)

    return made


@pytest.fixture(scope="session", autouse=True)
def phantoms_once():
    """The phantoms of these tests are drawn once, however often a study is planned."""
    from dmws_lite.data.opening import open_data
    from dmws_lite.studies import run

    drawn = {}

    def draw(source, size, *options, **more):
        if source != "phantom_lung_ct":
            return open_data(source, size, *options, **more)
        if size not in drawn:
            drawn[size] = open_data(source, size, *options, **more)
        return drawn[size]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "open_data", draw)
        yield


@pytest.fixture(scope="session")
def tiny_store(tiny, tmp_path_factory, phantoms_once):
    return run_study(tiny(), tmp_path_factory.mktemp("tiny") / "store", progress=False)
