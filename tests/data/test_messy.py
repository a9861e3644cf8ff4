import hashlib
from collections import Counter

import pandas as pd
import pytest
from PIL import Image

from dmws_lite.data.messy import messy_folder


def test_the_folder_has_the_faults_it_says(tmp_path):
    folder = messy_folder(tmp_path / "mess", patients=24, seed=1)
    listed = pd.read_csv(folder / "metadata.csv")
    files = sorted(path for path in folder.glob("*/*") if path.suffix != ".txt")
    assert sorted(listed["file_name"]) == [path.relative_to(folder).as_posix() for path in files]
    assert listed["patient"].nunique() == 24 and listed["patient"].value_counts().max() <= 4
    assert (listed.groupby("patient")["file_name"].agg(lambda names: names.str.split("/").str[0].nunique()) == 1).all()
    bytes_of = Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    assert Counter(bytes_of.values()) == {1: len(files) - 2, 2: 1}
    assert {path.suffix for path in files} == {".png", ".jpg"} and (len([*folder.glob("*/*.txt")]) == 1)
    readable = [path for path in files if _opens(path)]
    assert len(readable) == len(files) - 1
    sizes = {Image.open(path).size for path in readable}
    assert len(sizes) > 10 and any(w > h for w, h in sizes) and any(w < h for w, h in sizes)


def test_it_is_drawn_alike_and_overwrites_nothing(tmp_path):
    one, other = (messy_folder(tmp_path / name, patients=12, seed=3) for name in "ab")
    assert all((other / path.relative_to(one)).read_bytes() == path.read_bytes() for path in one.glob("*/*"))
    with pytest.raises(FileExistsError, match="is not empty: pass a new folder"):
        messy_folder(one, patients=12)
    with pytest.raises(ValueError, match="patients=5 are too few"):
        messy_folder(tmp_path / "c", patients=5)


def _opens(path):
    try:
        with Image.open(path) as image:
            image.load()
        return True
    except OSError:
        return False
