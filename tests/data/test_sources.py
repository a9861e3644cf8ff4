import base64
import hashlib
import io
import json
import subprocess
import sys
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dmws_lite.data import downloads, sources
from dmws_lite.data.cards import read_card
from dmws_lite.data.scanning import scan
from dmws_lite.data.sources import fetch, fetch_hub, from_datasets

RNG = np.random.default_rng(0)
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
    monkeypatch.setattr(downloads, "BACKOFF", 0.001)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
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


# folders


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
    with pytest.raises(ValueError, match="phantom_lung_ct is a phantom: it is drawn"):
        fetch(read_card("phantom_lung_ct"))


# addresses


def test_an_archive_is_downloaded_unpacked_and_then_taken_from_the_cache(tmp_path, server):
    data = packed(images("train/") | images("test/"))
    server.files["/x.zip"] = data
    source = {"url": f"{server.url}/x.zip", "sha256": sha(data), "size": len(data)}
    folder = quiet(fetch, card(tmp_path, source), progress=False)
    assert folder.is_relative_to(tmp_path / "cache" / "downloads" / "scans")
    assert content(folder) == images("train/") | images("test/")
    assert len(scan(folder)[0]) == 16
    assert quiet(fetch, card(tmp_path, source)) == folder
    assert len(server.gets()) == 1
    assert not list(folder.parent.glob("*.download"))


def test_an_interrupted_archive_is_taken_up_by_the_next_call(tmp_path, server, monkeypatch):
    data = packed(images())
    server.files["/x.zip"], server.cuts["/x.zip"] = data, [500]
    found = card(tmp_path, {"url": f"{server.url}/x.zip", "sha256": sha(data)})
    monkeypatch.setattr(downloads, "TRIES", 1)
    with pytest.raises(FileNotFoundError, match="500 bytes are kept and it goes on from there"):
        fetch(found, progress=False)
    assert content(fetch(found, progress=False)) == images()
    assert server.gets()[1][2]["Range"] == "bytes=500-"
    assert server.gets()[1][3] == len(data) - 500


def test_a_wrong_checksum_leads_to_the_next_source_with_a_warning(tmp_path, server):
    server.files["/bad.zip"], server.files["/good.zip"] = packed({"evil.png": b"x"}), packed(images())
    bad = {"url": f"{server.url}/bad.zip", "sha256": "0" * 64}
    good = {"url": f"{server.url}/good.zip", "sha256": sha(server.files["/good.zip"])}
    with pytest.warns(UserWarning, match="comes from url .*good.zip, because url .*bad.zip: .*sha256 is"):
        folder = fetch(card(tmp_path, bad, good), progress=False)
    assert content(folder) == images()
    assert not list((tmp_path / "cache").rglob("evil.png"))


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
    assert lines[1].endswith("gone.zip is not there (404 Not Found): correct the address")
    assert lines[2] == "- medmnist brestmnist at 64 px: medmnist 'brestmnist' at 64 px is unknown: write breastmnist"
    assert last.startswith("Mend one of these")


def test_an_unknown_checksum_is_pinned_once_it_is_known_to_be_an_archive(tmp_path, server):
    server.files["/x.zip"] = b"<html>please log in</html>"
    found = card(tmp_path, {"url": f"{server.url}/x.zip"})
    with (
        pytest.warns(UserWarning, match="checksum was not known"),
        pytest.raises(FileNotFoundError, match="is no zip or tar, or damaged"),
    ):
        fetch(found, progress=False)
    server.files["/x.zip"] = packed(images())
    with pytest.warns(UserWarning, match=f"sha256: {sha(server.files['/x.zip'])}"):
        folder = fetch(found, progress=False)
    assert content(folder) == images()
    server.files["/x.zip"] = packed(images(count=5))
    (folder / "ill" / "0.png").unlink()
    folder.rename(tmp_path / "deleted")
    with pytest.raises(FileNotFoundError, match="as it was when it was first downloaded"):
        fetch(found, progress=False)


def test_a_card_that_changes_its_mind_about_the_checksum_is_not_given_the_old_files(tmp_path, server):
    server.files["/x.zip"] = packed(images())
    with pytest.warns(UserWarning, match="checksum was not known"):
        folder = fetch(card(tmp_path, {"url": f"{server.url}/x.zip"}), progress=False)
    pinned = {"url": f"{server.url}/x.zip", "sha256": sha(server.files["/x.zip"])}
    assert quiet(fetch, card(tmp_path, pinned)) == folder
    with pytest.raises(FileNotFoundError, match=f"delete {folder} to download it again"):
        fetch(card(tmp_path, pinned | {"sha256": "1" * 64}))


@pytest.mark.parametrize("name", ["../../evil.png", "/tmp/evil.png"])
def test_an_evil_archive_leaves_nothing(tmp_path, server, name):
    data = packed({name: b"evil"})
    server.files["/x.zip"] = data
    with pytest.raises(FileNotFoundError, match="leads out of the folder"):
        fetch(card(tmp_path, {"url": f"{server.url}/x.zip", "sha256": sha(data)}), progress=False)
    assert not content(tmp_path / "cache")


def test_two_processes_fetch_once(tmp_path, server):
    data = packed(images())
    server.files["/x.zip"] = data
    found = card(tmp_path, {"url": f"{server.url}/x.zip", "sha256": sha(data)})
    code = "import sys; from dmws_lite.data import cards, sources as s; s.fetch(cards.read_card(sys.argv[1]), False)"
    both = [subprocess.Popen([sys.executable, "-c", code, str(found.path)]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(server.gets()) == 1
    assert content(quiet(fetch, found)) == images()


def test_a_cache_that_cannot_be_written_to_is_named(tmp_path, server, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError, match="file/downloads/scans cannot be written to: set DMWS_CACHE"):
        fetch(card(tmp_path, {"url": f"{server.url}/x.zip"}))


# Kaggle


@pytest.fixture
def kaggle(server, monkeypatch):
    monkeypatch.setattr(sources, "KAGGLE", f"{server.url}/api/v1/datasets/download")
    server.redirects["/api/v1/datasets/download/me/scans"] = f"{server.url}/storage/archive.zip?signed"
    server.redirects["/api/v1/datasets/download/me/scans?dataset_version_number=3"] = f"{server.url}/storage/v3.zip"
    server.files["/storage/archive.zip?signed"] = packed(images())
    server.files["/storage/v3.zip"] = packed(images(count=3))
    return server


def test_a_kaggle_set_is_got_without_credentials_and_once(tmp_path, kaggle):
    with pytest.warns(UserWarning, match="checksum was not known"):
        folder = fetch(card(tmp_path, {"kaggle": "me/scans"}), progress=False)
    assert content(folder) == images()
    assert not any("Authorization" in entry[2] for entry in kaggle.gets())
    assert fetch(card(tmp_path, {"kaggle": "me/scans"})) == folder
    assert len(kaggle.gets()) == 2
    with pytest.warns(UserWarning, match="checksum was not known"):
        third = fetch(card(tmp_path, {"kaggle": "me/scans", "version": 3}), progress=False)
    assert content(third) == images(count=3)


def test_kaggle_credentials_come_from_kaggles_own_places(tmp_path, kaggle, monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    with pytest.warns(UserWarning, match="checksum was not known") as caught:
        fetch(card(tmp_path, {"kaggle": "me/scans"}), progress=False)
    assert kaggle.gets()[0][2]["Authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()
    assert not any("secret" in str(warning.message) for warning in caught)
    monkeypatch.setenv("KAGGLE_API_TOKEN", "token")
    with pytest.warns(UserWarning):
        fetch(card(tmp_path, {"kaggle": "me/scans", "version": 3}), progress=False)
    assert kaggle.gets()[-2][2]["Authorization"] == "Bearer token"


def test_a_kaggle_set_that_needs_a_login_says_how(tmp_path, kaggle):
    kaggle.statuses["/api/v1/datasets/download/me/scans"] = [403]
    with pytest.raises(FileNotFoundError, match="accept the terms on its page, and put your token .*kaggle.json"):
        fetch(card(tmp_path, {"kaggle": "me/scans"}), progress=False)


# MedMNIST


def arrays(**changes):
    rng = np.random.default_rng(0)
    counts = {"train": 6, "val": 3, "test": 4}
    found: dict[str, Any] = {
        f"{split}_images": rng.integers(0, 256, (n, 64, 64), dtype=np.uint8) for split, n in counts.items()
    }
    found |= {f"{split}_labels": np.arange(n, dtype=np.uint8)[:, None] % 2 for split, n in counts.items()}
    found |= changes
    file = io.BytesIO()
    np.savez_compressed(file, **found)
    return found, file.getvalue()


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
    found, data = arrays()
    medmnist(data)
    folder = quiet(fetch, card(tmp_path, MED), progress=False)
    for split in ("train", "val", "test"):
        for row, (pixels, label) in enumerate(zip(found[f"{split}_images"], found[f"{split}_labels"], strict=True)):
            name = ("malignant", "normal, benign")[label[0]]
            assert (np.asarray(Image.open(folder / split / name / f"{row:06d}.png")) == pixels).all()
    assert len(content(folder)) == 13
    assert quiet(fetch, card(tmp_path, MED)) == folder
    assert len(server.gets()) == 1
    table, classes, _ = scan(folder, read_card("breastmnist"))
    assert classes == ("malignant", "normal, benign")
    assert table.groupby("split").size().to_dict() == {"train": 6, "val": 3, "test": 4}


def test_medmnist_colour_images_stay_coloured(tmp_path, medmnist):
    coloured = {
        f"{split}_images": RNG.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
        for split, n in (("train", 6), ("val", 3), ("test", 4))
    }
    medmnist(arrays(**coloured)[1])
    path = fetch(card(tmp_path, MED), progress=False) / "train" / "malignant" / "000000.png"
    assert (np.asarray(Image.open(path)) == coloured["train_images"][0]).all()


def test_a_medmnist_file_that_is_not_the_right_one_is_refused(tmp_path, medmnist):
    medmnist(arrays()[1], md5="0" * 32)
    with pytest.raises(FileNotFoundError, match="md5 is .* instead of 0000"):
        fetch(card(tmp_path, MED), progress=False)
    assert not content(tmp_path / "cache")


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('this ran')",)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"val_images": np.array([Evil()] * 3)}, "val cannot be read .*allow_pickle=False"),
        ({"train_labels": np.zeros((6, 14), np.uint8)}, r"labels \(6, 14\): only single-label"),
        ({"train_images": np.zeros((6, 8, 8, 8), np.uint8)}, r"train has images uint8 \(6, 8, 8, 8\)"),
        ({"train_images": np.zeros((6, 8, 8))}, "train has images float64"),
        ({"test_labels": np.full((4, 1), 7)}, "test has labels that are none of its 2 classes"),
    ],
)
def test_a_medmnist_file_with_something_else_in_it_is_refused(tmp_path, medmnist, changes, text):
    medmnist(arrays(**changes)[1])
    with pytest.raises(FileNotFoundError, match=text):
        fetch(card(tmp_path, MED), progress=False)


def test_medmnist_sets_that_are_no_classification_of_images_are_refused(tmp_path):
    for flag in ("chestmnist", "organmnist"):
        with pytest.raises(FileNotFoundError, match=f"medmnist '{flag}'"):
            fetch(card(tmp_path, {"medmnist": flag, "image_size": 28}))


# the Hugging Face Hub


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


def test_a_hub_set_of_folders_is_downloaded_once(tmp_path, server, hub):
    files = images("train/") | images("test/")
    hub(files | {"README.md": b"# Scans"})
    source = {"hub": "me/scans", "revision": COMMIT}
    folder = quiet(fetch, card(tmp_path, source), progress=False)
    assert content(folder) == files | {"README.md": b"# Scans"}
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert len(scan(folder)[0]) == 16
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
    train, test = images("train/"), images()
    hub({"data/train.zip": packed(train), "data/test.zip": packed(test), "README.md": b"# Scans"})
    folder = fetch_hub("me/scans", COMMIT, progress=False)
    expected = {f"data/{name}": data for name, data in train.items()}
    expected |= {f"data/test/{name}": data for name, data in test.items()}
    assert content(folder) == expected | {"README.md": b"# Scans"}


def test_a_script_of_a_hub_set_is_neither_run_nor_downloaded(server, hub, tmp_path):
    script = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
    hub(images() | {"scans.py": script, "sub/helper.py": script})
    assert content(fetch_hub("me/scans", COMMIT, progress=False)) == images()
    assert not any(entry[1].endswith(".py") for entry in server.log)
    assert not (tmp_path / "ran").exists()


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


# tables


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
    hub({
        "data/train-00000-of-00002.parquet": parquet(dataset(6)),
        "data/train-00001-of-00002.parquet": parquet(dataset(4)),
        "data/test-00000-of-00001.parquet": parquet(dataset(4)),
        "README.md": b"# Scans",
        "scans.py": f"open({str(tmp_path / 'ran')!r}, 'w')".encode(),
    })  # fmt: skip
    folder = quiet(fetch, card(tmp_path, {"hub": "me/scans", "revision": COMMIT}), progress=False)
    found = content(folder)
    assert len(found) == 14
    assert found["train/ill/000001_scan 1.png"] == png(1)
    assert found["train/ill/000007_scan 1.png"] == png(1)
    assert len(scan(folder)[0]) == 14
    assert not list((tmp_path / "cache").rglob("*.parquet"))
    assert not (tmp_path / "ran").exists()
    server.log.clear()
    assert fetch(card(tmp_path, {"hub": "me/scans", "revision": COMMIT})) == folder
    assert not server.log


def test_a_hub_table_cannot_take_files_of_this_machine(tmp_path, server, hub):
    (tmp_path / "private.png").write_bytes(png())
    rows = [{"bytes": None, "path": str(tmp_path / "private.png")}] * 4
    hub({"train.parquet": parquet(dataset(4, image=rows))})
    with pytest.raises(ValueError, match="private.png', which is not taken"):
        fetch_hub("me/scans", COMMIT, progress=False)
    assert len(list(tmp_path.rglob("*.png"))) == 1


@pytest.mark.parametrize(
    "place", ["/etc/*.parquet", "../../*.parquet", "https://127.0.0.1/x.parquet", "hf://a/b.parquet"]
)
def test_the_readme_of_a_hub_table_cannot_lead_elsewhere(server, hub, place):
    readme = f"---\nconfigs:\n- config_name: x\n  data_files:\n  - split: train\n    path: {place!r}\n---\n"
    hub({"train.parquet": parquet(dataset()), "README.md": readme.encode()})
    with pytest.raises(ValueError, match="README.md: its configs lead out of the data set"):
        fetch_hub("me/scans", COMMIT, progress=False)


def test_the_readme_of_a_hub_table_says_which_files_are_meant(server, hub):
    readme = b"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: big/*.parquet\n---\n"
    hub({"big/a.parquet": parquet(dataset(6)), "small/b.parquet": parquet(dataset(4)), "README.md": readme})
    assert len(content(fetch_hub("me/scans", COMMIT, progress=False))) == 6


def test_a_dataset_becomes_class_folders_with_its_files_bytes(tmp_path):
    kinds = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "PNG")
    stored = [png(row, kind) for row, kind in enumerate(kinds)]
    folder = quiet(from_datasets, dataset(image=[{"bytes": data, "path": None} for data in stored]), progress=False)
    found = content(folder)
    names = ["healthy/000000.png", "ill/000001.jpg", "healthy/000002.tif", "ill/000003.bmp", "ill/000005.png"]
    assert [found[name] for name in names] == [stored[row] for row in (0, 1, 2, 3, 5)]
    gif = Image.open(io.BytesIO(found["healthy/000004.png"]))
    assert gif.format == "PNG"
    assert (np.asarray(gif.convert("L")) == np.asarray(Image.open(io.BytesIO(png(4))))).all()
    assert folder.is_relative_to(tmp_path / "cache" / "downloads")


def test_a_dataset_is_written_once_by_its_fingerprint():
    first = dataset()
    folder = from_datasets(first, progress=False)
    (folder / "mark").touch()
    assert from_datasets(first, progress=False) == folder
    assert (folder / "mark").exists()
    assert from_datasets(dataset(8), progress=False) != folder


def test_a_dataset_of_files_on_this_machine_and_arrays_works(tmp_path):
    datasets = pytest.importorskip("datasets")
    for row in range(4):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    names = [str(tmp_path / f"{row}.png") for row in range(4)]
    part = datasets.Dataset.from_dict({"image": names, "label": ["a", "b"] * 2}).cast_column("image", datasets.Image())
    assert content(from_datasets(part, progress=False))["b/000003_3.png"] == png(3)
    pixels = [Image.fromarray(np.full((8, 8), row, np.uint8)) for row in range(4)]
    features = datasets.Features({"picture": datasets.Image(), "class": datasets.Value("int64")})
    part = datasets.Dataset.from_dict({"picture": pixels, "class": [3, 5, 3, 5]}, features)
    folder = from_datasets(part, progress=False)
    assert (np.asarray(Image.open(folder / "5" / "000003.png")) == 3).all()


def test_the_splits_of_a_dataset_become_folders():
    datasets = pytest.importorskip("datasets")
    parts = {"train": dataset(8), "validation": dataset(4), "test": dataset(6)}
    folder = from_datasets(datasets.DatasetDict(parts), progress=False)
    assert scan(folder)[0].groupby("split").size().to_dict() == {"train": 8, "val": 4, "test": 6}
    alone = from_datasets(datasets.DatasetDict({"train": dataset(8)}), progress=False)
    assert set(scan(alone)[0]["split"]) == {""}
    with pytest.raises(ValueError, match="splits train, extra are not train, validation, test: pick or rename them"):
        from_datasets(datasets.DatasetDict({"train": dataset(8), "extra": dataset(4)}))


def test_the_patients_of_a_dataset_are_kept():
    people = ["p1", "p1", "p2", "p2", None, "p3"]
    table = scan(from_datasets(dataset(Patient_ID=people), progress=False))[0]
    assert dict(zip(table["file"].str[-10:], table["patient"], strict=True)) == {
        f"scan {row}.png": person or "" for row, person in enumerate(people)
    }


def test_a_class_name_cannot_be_a_path(tmp_path):
    part = dataset(label=None, diagnosis=["../../evil", "a/b", ".hidden"] * 2)
    folder = from_datasets(part, progress=False)
    assert {path.name for path in folder.iterdir()} == {"_._.._evil", "a_b", "_hidden"}
    with pytest.raises(ValueError, match="'a/b', 'a_b' do not give different folder names"):
        from_datasets(dataset(label=None, diagnosis=["a/b", "a_b"] * 3), progress=False)


def test_an_image_that_cannot_be_read_is_kept_for_the_reader_to_report():
    rows = [{"bytes": png(row), "path": None} for row in range(5)] + [{"bytes": b"broken", "path": None}]
    assert content(from_datasets(dataset(image=rows), progress=False))["ill/000005.png"] == b"broken"


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
        from_datasets(change(dataset()), progress=False)


def test_rows_without_a_label_or_an_image_are_refused():
    with pytest.raises(ValueError, match="some rows have no label .-1.: filter them out"):
        from_datasets(dataset(label=[0, 1, 0, 1, 0, -1]), progress=False)
    rows = [{"bytes": png(), "path": None}] * 5 + [None]
    with pytest.raises(ValueError, match="row 5 holds no image"):
        from_datasets(dataset(image=rows), progress=False)


@pytest.mark.parametrize(("package", "source"), [("medmnist", MED), ("kagglehub.config", {"kaggle": "me/scans"})])
def test_a_missing_package_is_named_with_the_way_to_get_it(tmp_path, monkeypatch, package, source):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r'is not installed: pip install "dmws-lite\[hub\]"'):
        fetch(card(tmp_path, source))


def test_datasets_is_asked_for_only_where_it_is_needed(monkeypatch, server, hub):
    hub(images())
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert content(fetch_hub("me/scans", COMMIT, progress=False)) == images()
    with pytest.raises(ImportError, match=r'datasets is not installed: pip install "dmws-lite\[hub\]"'):
        from_datasets(42)
