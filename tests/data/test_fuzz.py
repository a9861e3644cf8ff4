"""A few inputs of `benchmarks/fuzz.py`, and a sweep: damaged files are read or refused, and counted."""

import numpy as np
import pytest
from decode_sweep import sweep
from fuzz import fuzz
from PIL import Image


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_of_every_kind_raise_documented_errors_alone():
    outcomes, faults = fuzz(count=3)
    assert not faults and {counts.total() for counts in outcomes.values()} == {3} and len(outcomes) >= 13


def test_a_sweep_counts_what_is_decoded_and_refused(tmp_path, capsys):
    for number in range(3):
        Image.fromarray(np.full((9, 9), number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    outcomes, seconds, faults = sweep(tmp_path, 16)
    assert outcomes == {".png": {"decoded": 2, "refused": 1}} and seconds[".png"] > 0 and not faults
    assert "refused  2.png: not a PNG" in capsys.readouterr().out
