import pytest

import dmws_lite as dm


@pytest.fixture(scope="module")
def images():
    return dm.phantoms("brain_mri", train=3, val=3, test=12).test
