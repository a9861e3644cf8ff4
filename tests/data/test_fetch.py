import hashlib
import io
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dmws_lite.data.fetch import fetch, fetch_datasets, fetch_hub

pytestmark = pytest.mark.filterwarnings("error::UserWarning")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MED = {"medmnist": "breastmnist", "image_size": 64}


def png(seed=0, kind="PNG", side=8):
    file, rng = io.BytesIO(), np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def images(prefix=""):
    return {f"{prefix}{name}/{seed}.png": png(seed) for seed, name in enumerate(("healthy", "healthy", "ill", "ill"))}


def pack(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def read_files(folder):
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {p.as_posix(): (folder / p).read_bytes() for p in paths if not any(x.startswith(".") for x in p.parts)}


def test_a_folder_is_taken_where_it_is_and_one_that_is_not_there_passed_over(tmp_path, monkeypatch, card):
    (tmp_path / "mine" / "ill").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("SCANS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    missing = [{"folder": place} for place in ("$NOWHERE/x", "/not/there", "empty")]
    for place in (str(tmp_path / "mine"), "$SCANS/mine", "mine", "~/mine"):
        assert fetch(card(sources=[*missing, {"folder": place}])) == tmp_path / "mine"
    with pytest.raises(FileNotFoundError) as caught:
        fetch(card(sources=missing))
    for line in ("variable NOWHERE is not set", "/not/there is not there", "empty is empty", "pass its folder as the"):
        assert line in str(caught.value)


def site(server, name, files, **facts):
    """A source: an archive of files on the server, or what is given as its bytes."""
    data = server.files[name] = pack(files) if isinstance(files, dict) else files
    return {"url": server.url + name, "sha256": hashlib.sha256(data).hexdigest()} | facts


def test_an_archive_is_downloaded_unpacked_and_then_taken_from_the_cache(tmp_path, server, card):
    files = images("train/") | {"test/ill/1.png": png(side=600)}
    scans = card(sources=[site(server, "/x.zip", files, size=len(pack(files)))])
    server.cuts["/x.zip"] = 2000
    with pytest.raises(FileNotFoundError, match="cannot be got from any of its sources"):
        fetch(scans, progress=False)
    assert not read_files(tmp_path / "cache")
    folder = fetch(scans, progress=False)
    assert folder.is_relative_to(tmp_path / "cache" / "downloads" / "mine") and read_files(folder) == files
    assert fetch(scans) == folder
    assert len(server.log) == 2 and not list(folder.parent.glob("*.download*"))


def test_a_wrong_checksum_leads_to_the_next_source_with_a_warning(tmp_path, server, card):
    bad, good = site(server, "/bad.zip", {"evil.png": b"x"}, sha256="0" * 64), site(server, "/good.zip", images())
    with pytest.warns(UserWarning, match="comes from url .*good.zip, because url .*bad.zip: SHA256 hash"):
        assert read_files(fetch(card(sources=[bad, good]), progress=False)) == images()
    assert not list((tmp_path / "cache").rglob("evil.png"))


def test_one_error_lists_every_source_and_why_it_failed(tmp_path, server, card):
    sources = {
        "404 Client Error: Not Found": {"url": f"{server.url}/gone.zip"},
        "'../../evil.png' leads out of the folder": site(server, "/x.zip", {"../../evil.png": b"evil"}),
        "bytes instead of 9: find out why": site(server, "/y.zip", images(), size=9),
        "'brestmnist' is unknown (did you mean 'breastmnist'?)": {"medmnist": "brestmnist", "image_size": 64},
    }
    with pytest.raises(FileNotFoundError) as caught:
        fetch(card(sources=[*sources.values()]), progress=False)
    first, *lines, last = str(caught.value).splitlines()
    assert all(text in line for text, line in zip(sources, lines, strict=True))
    assert first == "mine cannot be got from any of its sources:" and last.startswith("Mend one of these")
    assert not read_files(tmp_path / "cache")


def test_a_checksum_that_the_card_does_not_know_is_told(tmp_path, server, card):
    site(server, "/x.zip", b"<html>please log in</html>")
    scans = card(sources=[{"url": f"{server.url}/x.zip"}])
    with pytest.raises(FileNotFoundError, match="is no zip or tar, or damaged"):
        fetch(scans, progress=False)
    facts = site(server, "/x.zip", images(), size=len(pack(images())))
    with pytest.warns(UserWarning, match=f"Add to it: sha256: {facts['sha256']}, size: {facts['size']}"):
        assert read_files(fetch(scans, progress=False)) == images()


def test_a_kaggle_set_is_got_by_kagglehub_and_found_again_without_it(tmp_path, monkeypatch, card):
    (tmp_path / "kaggle").mkdir()
    handles = []
    hub, folder = pytest.importorskip("kagglehub"), str(tmp_path / "kaggle")
    monkeypatch.setattr(hub, "dataset_download", lambda handle: handles.append(handle) or folder)
    for source in ({"kaggle": "me/scans"}, {"kaggle": "me/scans"}, {"kaggle": "me/scans", "version": 3}):
        assert fetch(card(sources=[source])) == tmp_path / "kaggle"
    assert handles == ["me/scans", "me/scans/versions/3"]


def test_a_medmnist_set_becomes_folders_with_the_same_pixels(tmp_path, server, monkeypatch, card):
    rng, file = np.random.default_rng(0), io.BytesIO()
    counts = {"train": 6, "val": 3, "test": 4}
    arrays = {f"{split}_images": rng.integers(0, 256, (n, 64, 64), dtype=np.uint8) for split, n in counts.items()}
    labels = {f"{split}_labels": np.arange(n, dtype=np.uint8)[:, None] % 2 for split, n in counts.items()}
    np.savez_compressed(file, **arrays, **labels)
    server.files["/breastmnist_64.npz"] = file.getvalue()
    info = pytest.importorskip("medmnist").INFO["breastmnist"]
    monkeypatch.setitem(info, "url_64", f"{server.url}/breastmnist_64.npz")
    monkeypatch.setitem(info, "MD5_64", hashlib.md5(file.getvalue()).hexdigest())
    folder = fetch(card(sources=[MED]), progress=False)
    for split, count in counts.items():
        for row in range(count):
            path = folder / split / ("malignant", "normal, benign")[row % 2] / f"{row:06d}.png"
            assert (np.asarray(Image.open(path)) == arrays[f"{split}_images"][row]).all()
    server.log.clear()
    assert fetch(card(sources=[MED])) == folder and not server.log


def test_the_smallest_medmnist_images_that_need_no_enlarging_come_first(tmp_path, monkeypatch, card):
    sides = []
    fetch_source = "dmws_lite.data.fetch._fetch_source"
    monkeypatch.setattr(fetch_source, lambda source, *_: sides.append(source.image_size) or tmp_path)
    sizes = card(sources=[{"medmnist": "breastmnist", "image_size": side} for side in (28, 224, 64, 128)])
    for size in (20, 64, 65, 500):
        fetch(sizes, size=size)
    assert sides == [28, 64, 128, 224]


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch, card):
    for package, source in (("medmnist", MED), ("kagglehub", {"kaggle": "me/scans"})):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=r'is not installed: pip install "dmws-lite\[hub\]"'):
            fetch(card(sources=[source]))


@pytest.fixture
def hub(monkeypatch):
    """What stands in for huggingface_hub has `hub.files`, and nothing else; `hub.asked` says for what it was asked."""
    hub = SimpleNamespace(files={}, asked=[])

    def snapshot_download(repository, *, repo_type, revision, local_dir, ignore_patterns):
        if repository != "me/scans":
            raise OSError("404: no such data set")
        hub.asked.append((repo_type, revision))
        for name, data in hub.files.items():
            if not any(Path(name).match(pattern) for pattern in ignore_patterns):
                Path(local_dir, name).parent.mkdir(parents=True, exist_ok=True)
                Path(local_dir, name).write_bytes(data)

    newest = SimpleNamespace(dataset_info=lambda name: SimpleNamespace(sha=COMMIT))
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: newest)
    return hub


def test_a_hub_set_is_downloaded_once_without_code_and_its_archives_unpacked(tmp_path, hub, card):
    hub.files = {"data/train.zip": pack(images("train/")), "data/test.zip": pack(images()), "scans.py": b"exit()"}
    scans = card(sources=[{"hub": "me/scans", "revision": "v1"}])
    folder = fetch(scans, progress=False)
    assert read_files(folder) == images("data/train/") | images("data/test/")
    assert fetch(scans) == folder and hub.asked == [("dataset", "v1")]
    with pytest.warns(UserWarning, match=f"this is commit {COMMIT}. Put `revision: {COMMIT}` into the card"):
        fetch_hub("me/scans", progress=False)
    with pytest.raises(ConnectionError, match="hub data set me/none@newest could not be downloaded .*check its name"):
        fetch_hub("me/none", progress=False)


def dataset(count=6, **columns):
    """Columns that replace those of images and labels are of text, None leaves one out."""
    datasets = pytest.importorskip("datasets")
    images = [{"bytes": png(row), "path": f"scan {row}.png"} for row in range(count)]
    data = {"image": images, "label": [row % 2 for row in range(count)]} | columns
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["healthy", "ill"])}
    data = {name: values for name, values in data.items() if values is not None}
    features = {name: kinds.get(name, datasets.Value("string")) for name in data}
    return datasets.Dataset.from_dict(data, datasets.Features(features))


def test_a_hub_set_of_parquet_files_becomes_folders(tmp_path, hub):
    hub.files = {"README.md": b"---\nconfigs:\n- config_name: x\n  data_files: /etc/*.parquet\n---\n"}  # not looked at
    for name, count in {"train-00000-of-00002": 6, "train-00001-of-00002": 4, "test-00000-of-00001": 4}.items():
        dataset(count).to_parquet(tmp_path / name)
        hub.files[f"data/{name}.parquet"] = (tmp_path / name).read_bytes()
    folder = fetch_hub("me/scans", COMMIT, progress=False)
    files = read_files(folder)
    assert len(files) == 14 and fetch_hub("me/scans", COMMIT, progress=False) == folder
    assert files["train/ill/000001_scan 1.png"] == files["train/ill/000007_scan 1.png"] == png(1)
    assert not list((tmp_path / "cache").rglob("*.parquet"))


def test_a_hub_table_cannot_take_files_of_this_machine(tmp_path, hub):
    (tmp_path / "private.png").write_bytes(png())
    dataset(4, image=[{"bytes": None, "path": str(tmp_path / "private.png")}] * 4).to_parquet(tmp_path / "evil")
    hub.files = {"train.parquet": (tmp_path / "evil").read_bytes()}
    with pytest.raises(ValueError, match="row 0 holds no image .*private.png'"):
        fetch_hub("me/scans", COMMIT, progress=False)
    assert len(list(tmp_path.rglob("*.png"))) == 1


def test_a_dataset_becomes_class_folders_once_with_its_files_bytes(tmp_path):
    (tmp_path / "here.png").write_bytes(png(9))
    stored = [{"bytes": png(row, kind), "path": f"s.{kind}"} for row, kind in enumerate(("PNG", "TIFF"))]
    scans = dataset(4, image=[*stored, {"bytes": None, "path": str(tmp_path / "here.png")}, {"bytes": b"bad"}])
    folder = fetch_datasets(scans, progress=False)
    names = ["healthy/000000_s.png", "ill/000001_s.tiff", "healthy/000002_here.png", "ill/000003.png"]
    assert read_files(folder) == dict(zip(names, [png(0), stored[1]["bytes"], png(9), b"bad"], strict=True))
    (folder / "mark").touch()
    assert fetch_datasets(scans, progress=False) == folder and (folder / "mark").exists()


def test_the_splits_and_patients_of_a_dataset_are_kept_and_images_may_lie_in_a_table_without_their_type():
    datasets = pytest.importorskip("datasets")
    parts = {"train": dataset(8), "validation": dataset(4), "test": dataset(6, Patient_ID=["p1", "p1", None] * 2)}
    folder = fetch_datasets(datasets.DatasetDict(parts), progress=False)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"train", "val", "test"}
    table = (folder / "metadata.csv").read_text()
    assert "file,patient\n" in table and "\ntest/healthy/000000_scan 0.png,p1\ntest/ill/000001_scan 1.png,p1\n" in table
    with pytest.raises(ValueError, match="splits train, extra are not train, validation, test: pick or rename them"):
        fetch_datasets(datasets.DatasetDict({"train": dataset(8), "extra": dataset(4)}))
    images = [{"bytes": png(row), "path": None} for row in range(4)]
    folder = fetch_datasets(datasets.Dataset.from_dict({"image": images, "label": [0, 1] * 2}), progress=False)
    assert sorted(read_files(folder).values()) == sorted(map(png, range(4)))


def test_a_class_name_cannot_be_a_path():
    folder = fetch_datasets(dataset(label=None, diagnosis=["../../evil", "a/b", ".hidden"] * 2), progress=False)
    assert {path.name for path in folder.iterdir()} == {"_._.._evil", "a_b", "_hidden"}
    with pytest.raises(ValueError, match="a/b, a_b do not give different folder names"):
        fetch_datasets(dataset(label=None, diagnosis=["a/b", "a_b"] * 3), progress=False)


def test_a_dataset_without_images_or_labels_is_refused():
    whole = dataset()
    for change, text in (
        (whole.remove_columns("image"), "columns label: none is the image; rename it .type Image"),
        (whole.remove_columns("label"), "columns image: none is the label; rename it .type ClassLabel"),
        (whole.to_iterable_dataset(), "source is a IterableDataset: pass a folder, a card, or a datasets"),
        (dataset(label=[0, 1, 0, 1, 0, -1]), "1 rows have no label, such as row 5: filter them out"),
        (dataset(image=[{"bytes": png()}] * 5 + [None]), "row 5 holds no image"),
    ):
        with pytest.raises(ValueError, match=text):
            fetch_datasets(change, progress=False)
