import hashlib
import io
import json
import sys
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from dmws_lite.data.cards import read_card
from dmws_lite.data.fetch import CHUNK, fetch, fetch_datasets, fetch_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = """---
pretty_name: Test
license: unknown
task_categories: [image-classification]
tags: [medical]
size_categories: [n<1K]
language: [en]
dmws:
  sources: {sources}
  classes:
    healthy: {{meaning: nothing found}}
    ill: {{meaning: something found}}
---
Text.
"""


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))


def png(seed=0, kind="PNG", side=8):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def images(prefix="", count=4):
    names = [f"{prefix}{name}/{i}.png" for name in ("healthy", "ill") for i in range(count)]
    return {name: png(seed) for seed, name in enumerate(names)}


def packed(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def content(folder):
    """The visible files of a folder."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {p.as_posix(): (folder / p).read_bytes() for p in paths if not any(x.startswith(".") for x in p.parts)}


def card(folder, *listed, name="scans"):
    path = folder / f"{name}.md"
    path.write_text(CARD.format(sources=json.dumps(listed)), "utf-8")
    return read_card(path)


def quiet(call, *args, **options):
    """The result, where no warning is expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call(*args, **options)


def sha(data):
    return hashlib.sha256(data).hexdigest()


# --- folders ---


def test_a_folder_is_taken_where_it_is(tmp_path, monkeypatch):
    (tmp_path / "mine" / "ill").mkdir(parents=True)
    monkeypatch.setenv("SCANS", str(tmp_path))
    for place in (str(tmp_path / "mine"), "$SCANS/mine", "mine", "~/mine"):
        assert quiet(fetch, card(tmp_path, {"folder": place})) == tmp_path / "mine"
    (tmp_path / "list.csv").touch()
    assert fetch(card(tmp_path, {"folder": "$SCANS/list.csv"})) == tmp_path / "list.csv"
    assert not (tmp_path / "cache").exists()


def test_folders_that_are_not_there_are_passed_over_without_a_word(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "ill").mkdir(parents=True)
    monkeypatch.delenv("NOWHERE", raising=False)
    listed = [{"folder": place} for place in ("$NOWHERE/x", "/not/there", str(tmp_path / "empty"))]
    assert quiet(fetch, card(tmp_path, *listed, {"folder": "full"})) == tmp_path / "full"
    with pytest.raises(FileNotFoundError) as caught:
        fetch(card(tmp_path, *listed))
    text = str(caught.value)
    for line in ("variable NOWHERE is not set", "/not/there is not there", "empty is empty", "pass its folder as the"):
        assert line in text


def test_a_phantom_is_not_fetched():
    with pytest.raises(FileNotFoundError, match="phantom_lung_ct is a phantom: it is drawn"):
        fetch(read_card("phantom_lung_ct"))


# --- addresses ---


def test_an_archive_is_downloaded_unpacked_and_then_taken_from_the_cache(tmp_path, server):
    data = packed(images("train/") | images("test/"))
    server.files["/x.zip"] = data
    source = {"url": f"{server.url}/x.zip", "sha256": sha(data), "size": len(data)}
    folder = quiet(fetch, card(tmp_path, source), progress=False)
    assert folder.is_relative_to(tmp_path / "cache" / "downloads" / "scans")
    assert content(folder) == images("train/") | images("test/")
    assert quiet(fetch, card(tmp_path, source)) == folder
    assert len(server.gets()) == 1
    assert not list(folder.parent.glob("*.download*"))


def test_an_interrupted_archive_is_taken_up_by_the_next_call(tmp_path, server):
    data = packed({"ill/1.png": png(side=600)})
    server.files["/x.zip"], server.cuts["/x.zip"] = data, [2 * CHUNK + 500]
    scans = card(tmp_path, {"url": f"{server.url}/x.zip", "sha256": sha(data)})
    with pytest.raises(FileNotFoundError, match="cannot be got from any of its sources"):
        fetch(scans, progress=False)
    assert content(fetch(scans, progress=False)) == {"ill/1.png": png(side=600)}
    assert server.gets()[1][2]["Range"] == f"bytes={2 * CHUNK}-"
    assert server.gets()[1][3] == len(data) - 2 * CHUNK


def test_a_part_that_nothing_comes_after_is_thrown_away(tmp_path, server):
    data = packed({"ill/1.png": png(side=600)})
    server.files["/x.zip"], server.cuts["/x.zip"] = data, [CHUNK + 500]
    scans = card(tmp_path, {"url": f"{server.url}/x.zip", "sha256": sha(data)})
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            fetch(scans, progress=False)
        server.files["/x.zip"] = data[:CHUNK]
    server.files["/x.zip"] = data
    assert content(fetch(scans, progress=False)) == {"ill/1.png": png(side=600)}


def test_a_wrong_checksum_leads_to_the_next_source_with_a_warning(tmp_path, server):
    server.files["/bad.zip"], server.files["/good.zip"] = packed({"evil.png": b"x"}), packed(images())
    bad = {"url": f"{server.url}/bad.zip", "sha256": "0" * 64}
    good = {"url": f"{server.url}/good.zip", "sha256": sha(server.files["/good.zip"])}
    with pytest.warns(UserWarning, match="comes from url .*good.zip, because url .*bad.zip: SHA256 hash"):
        folder = fetch(card(tmp_path, bad, good), progress=False)
    assert content(folder) == images()
    assert not list((tmp_path / "cache").rglob("evil.png"))


def test_another_size_than_the_cards_is_refused(tmp_path, server):
    server.files["/x.zip"] = packed(images())
    with pytest.raises(FileNotFoundError, match="bytes instead of 17"):
        fetch(card(tmp_path, {"url": f"{server.url}/x.zip", "size": 17}), progress=False)
    assert not content(tmp_path / "cache")


def test_one_error_lists_every_source_and_why_it_failed(tmp_path, server):
    listed = [
        {"folder": "$NOT_SET_ANYWHERE"},
        {"url": f"{server.url}/gone.zip"},
        {"medmnist": "brestmnist", "image_size": 64},
    ]
    with pytest.raises(FileNotFoundError) as caught:
        fetch(card(tmp_path, *listed), progress=False)
    first, *lines, last = str(caught.value).splitlines()
    assert first == "scans cannot be got from any of its sources:"
    assert lines[0] == "- folder $NOT_SET_ANYWHERE: the environment variable NOT_SET_ANYWHERE is not set"
    assert "404 Client Error: Not Found" in lines[1]
    assert lines[2].endswith("medmnist 'brestmnist' is unknown (did you mean 'breastmnist'?)")
    assert last.startswith("Mend one of these")


def test_a_checksum_that_the_card_does_not_know_is_told(tmp_path, server):
    server.files["/x.zip"] = b"<html>please log in</html>"
    scans = card(tmp_path, {"url": f"{server.url}/x.zip"})
    with pytest.raises(FileNotFoundError, match="is no zip or tar, or damaged"):
        fetch(scans, progress=False)
    data = server.files["/x.zip"] = packed(images())
    with pytest.warns(UserWarning, match=f"Add to it: sha256: {sha(data)}, size: {len(data)}"):
        assert content(fetch(scans, progress=False)) == images()


def test_a_card_that_changes_its_checksum_is_not_given_the_old_files(tmp_path, server):
    data = server.files["/x.zip"] = packed(images())
    pinned = {"url": f"{server.url}/x.zip", "sha256": sha(data)}
    fetch(card(tmp_path, pinned), progress=False)
    with pytest.raises(FileNotFoundError, match="SHA256 hash"):
        fetch(card(tmp_path, pinned | {"sha256": "1" * 64}), progress=False)


@pytest.mark.parametrize("name", ["../../evil.png", "/tmp/evil.png"])
def test_an_evil_archive_leaves_nothing(tmp_path, server, name):
    data = server.files["/x.zip"] = packed({name: b"evil"})
    with pytest.raises(FileNotFoundError, match="leads out of the folder"):
        fetch(card(tmp_path, {"url": f"{server.url}/x.zip", "sha256": sha(data)}), progress=False)
    assert not content(tmp_path / "cache")


def test_a_cache_that_cannot_be_written_to_is_named(tmp_path, server, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError, match="file/downloads/scans cannot be written to .*: set DMWS_CACHE"):
        fetch(card(tmp_path, {"url": f"{server.url}/x.zip"}))


# --- Kaggle ---


def test_a_kaggle_set_is_got_by_kagglehub_and_found_again_without_it(tmp_path, monkeypatch):
    kagglehub = pytest.importorskip("kagglehub")
    (tmp_path / "kaggle").mkdir()
    handles = []

    def download(handle):
        handles.append(handle)
        return str(tmp_path / "kaggle")

    monkeypatch.setattr(kagglehub, "dataset_download", download)
    for _ in range(2):
        assert quiet(fetch, card(tmp_path, {"kaggle": "me/scans"})) == tmp_path / "kaggle"
    fetch(card(tmp_path, {"kaggle": "me/scans", "version": 3}))
    assert handles == ["me/scans", "me/scans/versions/3"]


def test_a_kaggle_set_that_cannot_be_got_says_how(tmp_path, monkeypatch):
    def refuse(handle):
        raise RuntimeError("403\nforbidden")

    monkeypatch.setattr(pytest.importorskip("kagglehub"), "dataset_download", refuse)
    with pytest.raises(FileNotFoundError, match=r"\(403 forbidden\).* accept them on its page, .*kaggle.json"):
        fetch(card(tmp_path, {"kaggle": "me/scans"}))


# --- MedMNIST ---


def arrays(**changes):
    rng = np.random.default_rng(0)
    counts = {"train": 6, "val": 3, "test": 4}
    content = {f"{split}_images": rng.integers(0, 256, (n, 64, 64), dtype=np.uint8) for split, n in counts.items()}
    content |= {f"{split}_labels": np.arange(n, dtype=np.uint8)[:, None] % 2 for split, n in counts.items()}
    file = io.BytesIO()
    np.savez_compressed(file, **(content | changes))
    return content | changes, file.getvalue()


@pytest.fixture
def medmnist(server, monkeypatch):
    """Lets the package's entry of BreastMNIST at 64 px point to a file of this server."""
    info = pytest.importorskip("medmnist").INFO["breastmnist"]

    def serve(data, md5=None):
        server.files["/breastmnist_64.npz?download=1"] = data
        monkeypatch.setitem(info, "url_64", f"{server.url}/breastmnist_64.npz?download=1")
        monkeypatch.setitem(info, "MD5_64", md5 or hashlib.md5(data).hexdigest())

    return serve


MED = {"medmnist": "breastmnist", "image_size": 64}


def test_a_medmnist_set_becomes_folders_with_the_same_pixels(tmp_path, server, medmnist):
    content_of_file, data = arrays(val_images=np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8))
    medmnist(data)
    folder = quiet(fetch, card(tmp_path, MED), progress=False)
    for split in ("train", "val", "test"):
        pixels, labels = content_of_file[f"{split}_images"], content_of_file[f"{split}_labels"]
        for row, label in enumerate(labels[:, 0]):
            name = ("malignant", "normal, benign")[label]
            assert (np.asarray(Image.open(folder / split / name / f"{row:06d}.png")) == pixels[row]).all()
    assert len(content(folder)) == 13
    server.log.clear()
    assert quiet(fetch, card(tmp_path, MED)) == folder
    assert not server.log


def test_the_smallest_medmnist_images_that_need_no_enlarging_come_first(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("dmws_lite.data.fetch._get", lambda source, *_: asked.append(source.image_size) or tmp_path)
    sizes = card(tmp_path, *({"medmnist": "breastmnist", "image_size": side} for side in (28, 224, 64, 128)))
    for size in (20, 64, 65, 500):
        fetch(sizes, size=size)
    assert asked == [28, 64, 128, 224]


def test_a_medmnist_file_that_is_not_the_right_one_is_refused(tmp_path, medmnist):
    medmnist(arrays()[1], md5="0" * 32)
    with pytest.raises(FileNotFoundError, match="medmnist breastmnist at 64 px: .*download failed!"):
        fetch(card(tmp_path, MED), progress=False)
    assert not content(tmp_path / "cache")


def test_medmnist_sets_that_are_no_classification_of_images_are_refused(tmp_path):
    for flag in ("chestmnist", "organmnist"):
        with pytest.raises(FileNotFoundError, match=f"medmnist '{flag}'"):
            fetch(card(tmp_path, {"medmnist": flag, "image_size": 28}))


# --- the Hugging Face Hub ---


@pytest.fixture
def hub(server, monkeypatch):
    """The server as a hub: `hub(files)` serves them as data set me/scans."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def serve(files):
        api = "/api/datasets/me/scans"
        info = json.dumps({"id": "me/scans", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})
        tree = [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in files.items()
        ]
        for place in ("", "/revision/main", f"/revision/{COMMIT}", "/revision/v1"):
            server.files[api + place] = info.encode()
        for end in (
            "?recursive=true&expand=false",
            "?recursive=True&expand=False",
            "?recursive=true",
            "?recursive=True",
        ):
            server.files[f"{api}/tree/{COMMIT}{end}"] = json.dumps(tree).encode()
        for name, data in files.items():
            path = f"/datasets/me/scans/resolve/{COMMIT}/{name}"
            server.files[path] = data
            server.headers[path] = {"X-Repo-Commit": COMMIT}

    return serve


def test_a_hub_set_of_folders_is_downloaded_once_and_without_code(tmp_path, server, hub):
    files = images("train/") | images("test/")
    hub(files | {"README.md": b"# Scans", "scans.py": b"raise SystemExit"})
    source = {"hub": "me/scans", "revision": COMMIT}
    folder = quiet(fetch, card(tmp_path, source), progress=False)
    assert content(folder) == files
    assert not any(entry[1].endswith(".py") for entry in server.log)
    server.log.clear()
    assert quiet(fetch, card(tmp_path, source)) == folder
    assert not server.log


def test_a_hub_set_without_a_revision_says_which_one_it_was(server, hub):
    hub(images())
    with pytest.warns(UserWarning, match=f"this is commit {COMMIT}. Put `revision: {COMMIT}` into the card"):
        folder = fetch_hub("me/scans", progress=False)
    assert content(folder) == images()
    assert content(quiet(fetch_hub, "me/scans", "v1", progress=False)) == images()


def test_a_hub_set_in_zips_is_unpacked(server, hub):
    hub({"data/train.zip": packed(images("train/")), "data/test.zip": packed(images())})
    folder = fetch_hub("me/scans", COMMIT, progress=False)
    assert content(folder) == images("data/train/") | images("data/test/")


def test_an_interrupted_hub_download_goes_on_later(server, hub):
    hub(images())
    broken = f"/datasets/me/scans/resolve/{COMMIT}/ill/3.png"
    data = server.files.pop(broken)
    with pytest.raises(ConnectionError, match=f"hub data set me/scans@{COMMIT} could not be downloaded"):
        fetch_hub("me/scans", COMMIT, progress=False)
    server.files[broken] = data
    server.log.clear()
    assert content(fetch_hub("me/scans", COMMIT, progress=False)) == images()
    assert {entry[1] for entry in server.gets("/datasets")} == {broken}


@pytest.mark.parametrize("name", ["me/nothing", "no-name", "me/scans/extra"])
def test_a_hub_set_that_is_not_there_is_named(server, hub, name):
    with pytest.raises(ConnectionError, match=f"hub data set {name}@newest could not be downloaded .*check its name"):
        fetch_hub(name, progress=False)


def test_a_hub_file_that_would_land_outside_is_refused(server, hub, tmp_path):
    hub(images() | {"../../../evil.png": b"evil"})
    with pytest.raises(ConnectionError, match="could not be downloaded .*evil.png"):
        fetch_hub("me/scans", COMMIT, progress=False)
    assert not list(tmp_path.rglob("evil.png"))


# --- tables ---


def dataset(count=6, **columns):
    datasets = pytest.importorskip("datasets")
    data = {
        "image": [{"bytes": png(row), "path": f"scan {row}.png"} for row in range(count)],
        "label": [row % 2 for row in range(count)],
    } | columns
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["healthy", "ill"])}
    features |= {name: datasets.Value("string") for name in columns if name not in features}
    return datasets.Dataset.from_dict(
        {k: v for k, v in data.items() if v is not None},
        datasets.Features({k: v for k, v in features.items() if data[k] is not None}),
    )


def parquet(part):
    file = io.BytesIO()
    part.to_parquet(file)
    return file.getvalue()


def test_a_hub_set_of_parquet_files_becomes_folders(tmp_path, server, hub):
    readme = b"---\nconfigs:\n- config_name: x\n  data_files: /etc/*.parquet\n---\n"  # which is not looked at
    hub({
        "data/train-00000-of-00002.parquet": parquet(dataset(6)),
        "data/train-00001-of-00002.parquet": parquet(dataset(4)),
        "data/test-00000-of-00001.parquet": parquet(dataset(4)),
        "README.md": readme,
    })  # fmt: skip
    folder = quiet(fetch, card(tmp_path, {"hub": "me/scans", "revision": COMMIT}), progress=False)
    assert len(content(folder)) == 14
    assert content(folder)["train/ill/000001_scan 1.png"] == content(folder)["train/ill/000007_scan 1.png"] == png(1)
    assert not list((tmp_path / "cache").rglob("*.parquet"))
    server.log.clear()
    assert fetch(card(tmp_path, {"hub": "me/scans", "revision": COMMIT})) == folder
    assert not server.log


def test_a_hub_table_cannot_take_files_of_this_machine(tmp_path, server, hub):
    (tmp_path / "private.png").write_bytes(png())
    hub({"train.parquet": parquet(dataset(4, image=[{"bytes": None, "path": str(tmp_path / "private.png")}] * 4))})
    with pytest.raises(ValueError, match="row 0 holds no image .*private.png'"):
        fetch_hub("me/scans", COMMIT, progress=False)
    assert len(list(tmp_path.rglob("*.png"))) == 1


def test_a_dataset_becomes_class_folders_once_with_its_files_bytes(tmp_path):
    stored = [{"bytes": png(row, kind), "path": f"s.{kind}"} for row, kind in enumerate(("PNG", "JPEG", "TIFF", "BMP"))]
    scans = dataset(image=[*stored, {"bytes": png(4), "path": None}, {"bytes": b"broken", "path": None}])
    folder = quiet(fetch_datasets, scans, progress=False)
    names = ["healthy/000000_s.png", "ill/000001_s.jpeg", "healthy/000002_s.tiff", "ill/000003_s.bmp"]
    assert [content(folder)[name] for name in names] == [item["bytes"] for item in stored]
    assert content(folder)["ill/000005.png"] == b"broken"
    (folder / "mark").touch()
    assert fetch_datasets(scans, progress=False) == folder and (folder / "mark").exists()
    assert fetch_datasets(dataset(8), progress=False) != folder


def test_a_dataset_of_files_on_this_machine_and_arrays_works(tmp_path):
    datasets = pytest.importorskip("datasets")
    for row in range(4):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    names = [str(tmp_path / f"{row}.png") for row in range(4)]
    part = datasets.Dataset.from_dict({"image": names, "label": ["a", "b"] * 2}).cast_column("image", datasets.Image())
    assert content(fetch_datasets(part, progress=False))["b/000003_3.png"] == png(3)
    pixels = [Image.fromarray(np.full((8, 8), row, np.uint8)) for row in range(4)]
    features = datasets.Features({"picture": datasets.Image(), "class": datasets.Value("int64")})
    part = datasets.Dataset.from_dict({"picture": pixels, "class": [3, 5, 3, 5]}, features)
    folder = fetch_datasets(part, progress=False)
    assert (np.asarray(Image.open(folder / "5" / "000003.png")) == 3).all()


def test_the_splits_and_patients_of_a_dataset_are_kept():
    datasets = pytest.importorskip("datasets")
    parts = {"train": dataset(8), "validation": dataset(4), "test": dataset(6, Patient_ID=["p1", "p1", None] * 2)}
    folder = fetch_datasets(datasets.DatasetDict(parts), progress=False)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"train", "val", "test"}
    lines = (folder / "metadata.csv").read_text().splitlines()
    assert lines[0] == "file,patient" and lines[13:15] == [
        "test/healthy/000000_scan 0.png,p1",
        "test/ill/000001_scan 1.png,p1",
    ]
    with pytest.raises(ValueError, match="splits train, extra are not train, validation, test: pick or rename them"):
        fetch_datasets(datasets.DatasetDict({"train": dataset(8), "extra": dataset(4)}))


def test_a_class_name_cannot_be_a_path(tmp_path):
    part = dataset(label=None, diagnosis=["../../evil", "a/b", ".hidden"] * 2)
    folder = fetch_datasets(part, progress=False)
    assert {path.name for path in folder.iterdir()} == {"_._.._evil", "a_b", "_hidden"}
    with pytest.raises(ValueError, match="a/b, a_b do not give different folder names"):
        fetch_datasets(dataset(label=None, diagnosis=["a/b", "a_b"] * 3), progress=False)


def two_images(part):
    from datasets import concatenate_datasets

    other = part.select_columns("image").rename_column("image", "b")
    return concatenate_datasets([part.rename_column("image", "a"), other], axis=1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda part: part.remove_columns("image"), "columns label: none is the image; rename it .type Image"),
        (lambda part: part.remove_columns("label"), "columns image: none is the label; rename it .type ClassLabel"),
        (two_images, "columns a, label, b: none is the image"),
        (lambda part: part.to_iterable_dataset(), "source is a IterableDataset: pass a folder, a card, or a datasets"),
        (lambda part: 42, "source is a int: pass a folder"),
    ],
)
def test_a_dataset_without_images_or_labels_is_refused(change, text):
    with pytest.raises(ValueError, match=text):
        fetch_datasets(change(dataset()), progress=False)


def test_rows_without_a_label_or_an_image_are_refused():
    with pytest.raises(ValueError, match="1 rows have no label, such as row 5: filter them out"):
        fetch_datasets(dataset(label=[0, 1, 0, 1, 0, -1]), progress=False)
    with pytest.raises(ValueError, match="row 5 holds no image"):
        fetch_datasets(dataset(image=[{"bytes": png(), "path": None}] * 5 + [None]), progress=False)


@pytest.mark.parametrize(("package", "source"), [("medmnist", MED), ("kagglehub", {"kaggle": "me/scans"})])
def test_a_missing_package_is_named_with_the_way_to_get_it(tmp_path, monkeypatch, package, source):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r'is not installed: pip install "dmws-lite\[hub\]"'):
        fetch(card(tmp_path, source))
