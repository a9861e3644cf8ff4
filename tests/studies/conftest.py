"""A study of a few steps, and one store of it that the tests of this folder read."""

import pytest

from dmws_lite.studies.running import run_study
from dmws_lite.studies.study import make_study

TINY = {"steps": 4, "batch_size": 8, "evaluations": 2}


@pytest.fixture(scope="session")
def tiny():
    def made(**changes):
        said = {
            "name": "tiny",
            "data": ["phantom_lung_ct"],
            "methods": ["default", "weight_selection", "dual_skd"],
            "seeds": 2,
            "size": 16,
            "training": TINY,
            "device": "cpu",
        }
        return make_study(**said | changes)

    return made


@pytest.fixture(scope="session")
def tiny_store(tiny, tmp_path_factory):
    return run_study(tiny(), tmp_path_factory.mktemp("tiny") / "store", progress=False)
