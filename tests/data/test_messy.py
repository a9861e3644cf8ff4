import hashlib
from collections import Counter

import pandas as pd
import pytest
from PIL import Image

from dmws_lite.data.messy import messy_folder


def size_of(path):
    try:
        with Image.open(path) as image:
            image.load()
        return image.size
    except OSError:
        return None


def test_the_folder_has_the_faults_it_says_and_is_drawn_alike(tmp_path):
    folder, other = (messy_folder(tmp_path / name, patients=24, seed=1) for name in "ab")
    listed = pd.read_csv(folder / "metadata.csv")
    files = sorted(path for path in folder.glob("*/*") if path.suffix != ".txt")
    assert sorted(listed["file_name"]) == [path.relative_to(folder).as_posix() for path in files]
    assert listed["patient"].nunique() == 24 and listed["patient"].value_counts().max() <= 4
    assert (listed["file_name"].str.split("/").str[0].groupby(listed["patient"]).nunique() == 1).all()
    bytes_of = Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    assert Counter(bytes_of.values()) == {1: len(files) - 2, 2: 1}
    assert {path.suffix for path in files} == {".png", ".jpg"} and len([*folder.glob("*/*.txt")]) == 1
    sizes = [*map(size_of, files)]
    assert sizes.count(None) == 1 and len({*sizes}) > 10
    assert {width > height for width, height in filter(None, sizes) if width != height} == {True, False}
    assert all((other / path.relative_to(folder)).read_bytes() == path.read_bytes() for path in folder.glob("*/*"))
    with pytest.raises(FileExistsError, match="is not empty: pass a new folder"):
        messy_folder(folder, patients=12)
    with pytest.raises(ValueError, match="patients=5 are too few"):
        messy_folder(tmp_path / "c", patients=5)
