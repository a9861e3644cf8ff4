"""The commands `dmws data ...`."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from dmws_lite.cli import app
from dmws_lite.data.cards import cards, read_card
from dmws_lite.data.opening import open_data


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DMWS_DEBUG", raising=False)
    return lambda *words: CliRunner().invoke(app, ["data", *(str(word) for word in words)])


@pytest.fixture
def images(tmp_path):
    """A published split of gray noise in two classes, one of whose names looks like markup."""
    rng = np.random.default_rng(0)
    for split, count in {"train": 10, "val": 6, "test": 8}.items():
        for label in ("[a]", "b"):
            folder = tmp_path / "My images" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "My images"


@pytest.mark.parametrize("command", ["list", "show", "get", "check", "new"])
def test_every_command_has_help_with_an_example(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0 and f"Example: dmws data {command}" in result.output
    assert command in run("--help").output


def test_list_names_every_card(run):
    output = run("list").output
    assert all(name in output for name in cards()) and "template" not in output


def test_show_tells_classes_sources_and_what_the_set_is_not_for(run):
    output = run("show", "brain_tumor_mri").output
    assert all(name in output for name in read_card("brain_tumor_mri").classes)
    assert "masoudnickparvar" in output and "Must not be used for" in output and "horizontal" in output


def test_get_finds_what_is_there_and_draws_nothing(run, tmp_path, monkeypatch):
    (tmp_path / "here" / "Training").mkdir(parents=True)
    monkeypatch.setenv("DMWS_BRAIN_TUMOR_MRI", str(tmp_path / "here"))
    assert f"brain_tumor_mri is in {tmp_path / 'here'}" in run("get", "brain_tumor_mri").output
    assert "nothing to download" in run("get", "phantom_lung_ct").output


def test_check_passes_a_clean_folder_and_leaves_picture_and_table(run, images, tmp_path):
    result = run("check", images, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.output.splitlines() if "│" in line]
    assert ["[a]", "10", "6", "8", "24"] in rows and ["total", "20", "12", "16", "48"] in rows
    assert "My images: usable" in result.output
    with Image.open(tmp_path / "out" / "check_My images.png") as picture:
        assert min(picture.size) > 500
    kinds = set(pd.read_csv(tmp_path / "out" / "check_My images.csv")["kind"])
    assert "split" in kinds and "copies across splits" not in kinds


def test_check_exits_with_1_when_results_would_be_invalid(run, images, tmp_path):
    shutil.copy(images / "test/b/3.png", images / "train/b/0.png")
    result = run("check", images, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "copies across splits" in result.output and "invalid (1 reason)" in result.output
    assert "train/b/0.png = test/b/3.png" in result.output
    table = pd.read_csv(tmp_path / "out" / "check_My images.csv")
    assert table.loc[table["severity"] == "invalid", "kind"].tolist() == ["copies across splits"]


def test_new_writes_a_card_whose_split_everybody_gets_alike(run, images, tmp_path):
    for split in ("val", "test"):
        for label in ("[a]", "b"):
            for path in (images / split / label).iterdir():
                path.rename(images / "train" / label / f"{split}{path.name}")
        shutil.rmtree(images / split)
    (images / "train").rename(tmp_path / "Pooled set")
    result = run("new", tmp_path / "Pooled set", "--out", tmp_path / "cards", "--seed", 3)
    assert result.exit_code == 0, result.output
    card = read_card(tmp_path / "cards" / "pooled_set.md")
    assert tuple(card.classes) == ("[a]", "b") and card.split.manifest == "pooled_set.csv"
    splits = open_data(tmp_path / "cards" / "pooled_set.md", size=8, progress=False)
    kept = pd.read_csv(tmp_path / "cards" / "pooled_set.csv")
    for name in ("train", "val", "test"):
        assert set(getattr(splits, name).names) == set(kept.loc[kept["split"] == name, "file"])
    assert (
        open_data(tmp_path / "cards" / "pooled_set.md", size=8, seed=9, progress=False).test.names == splits.test.names
    )


def test_new_overwrites_nothing(run, images, tmp_path):
    run("new", images, "--out", tmp_path / "cards")
    before = (tmp_path / "cards" / "my_images.md").read_text()
    result = run("new", images, "--out", tmp_path / "cards")
    assert result.exit_code == 2 and "exists already" in result.stderr
    assert (tmp_path / "cards" / "my_images.md").read_text() == before


def test_an_edited_image_no_longer_fits_its_card(run, images, tmp_path):
    run("new", images, "--out", tmp_path / "cards")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(images / "train/b/0.png")
    with pytest.raises(ValueError, match=r"1 have changed \(train/b/0.png\)"):
        open_data(tmp_path / "cards" / "my_images.md", progress=False)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["check", "nowhere"], ["'nowhere' is neither a folder, a file, nor a card"]),
        (["show", "brain_mri"], ["unknown card 'brain_mri'"]),
        (["get", "covid"], ["unknown card 'covid'"]),
        (["new", "nowhere"], ["'nowhere' is neither a folder"]),
    ],
)
def test_bad_input_gets_one_clean_line(run, words, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    line = result.stderr.strip()
    assert result.exit_code == 2 and line.startswith("error:") and "\n" not in line
    assert all(part in line for part in parts)
