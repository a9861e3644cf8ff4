"""Every test run has a cache of its own."""

import os
import tempfile

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache():
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if "DMWS_CACHE" not in os.environ:
            patch.setenv("DMWS_CACHE", folder)
        yield
