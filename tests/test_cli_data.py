"""The commands `dmws data ...`."""

import shutil
from pathlib import Path

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


def test_list_cuts_no_name_and_says_where_the_keys_are_explained(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    output = run("list").output
    assert all(f"│ {name} " in output for name in cards()) and "│ template" not in output
    assert max(map(len, output.splitlines()[:-1])) <= 80
    assert Path(output.split()[-1]).name == "template.md" and Path(output.split()[-1]).is_file()


ODD = "\x1b]0;TITLE\x07 \x9b2J \u202e"


def is_plain(output):
    return not set(output) & {"\x1b", "\x07", "\x9b", "\u202e"} and "�" in output


def test_no_name_and_no_card_acts_on_the_terminal(run, images, tmp_path):
    (tmp_path / "odd.md").write_text(Path(read_card("sars_cov_2_ct").path).read_text() + ODD)
    assert is_plain(run("show", tmp_path / "odd.md").output)
    (images / "test" / "b" / "0.png").rename(images / "test" / "b" / f"{ODD}\n0.png")
    shutil.copy(images / "test" / "b" / f"{ODD}\n0.png", images / "train" / "b" / "0.png")
    result = run("check", images.rename(tmp_path / f"set :warning: {ODD}"), "--out", tmp_path / "out")
    assert result.exit_code == 1 and is_plain(result.output) and ":warning:" in result.output
    (tmp_path / f"no {ODD}" / "one").mkdir(parents=True)
    assert is_plain(run("check", tmp_path / f"no {ODD}").stderr)


def test_show_prints_the_card_and_get_finds_what_is_there(run, tmp_path, monkeypatch):
    output = run("show", "sars_cov_2_ct").output
    assert "stands_for: blocks of 100 neighbouring file numbers" in output and "Must not be used for" in output
    (tmp_path / "here" / "Training").mkdir(parents=True)
    monkeypatch.setenv("DMWS_BRAIN_TUMOR_MRI", str(tmp_path / "here"))
    assert f"brain_tumor_mri is in {tmp_path / 'here'}" in run("get", "brain_tumor_mri").output
    assert "nothing to download" in run("get", "phantom_lung_ct").output


def test_check_leaves_picture_and_table_and_exits_with_1_when_results_would_be_invalid(run, images, tmp_path):
    result = run("check", images, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.output.splitlines() if "│" in line]
    assert ["[a]", "10", "6", "8", "24"] in rows and ["total", "20", "12", "16", "48"] in rows
    assert "My images: usable" in result.output
    with Image.open(tmp_path / "out" / "check_My images.png") as picture:
        assert min(picture.size) > 500
    shutil.copy(images / "test/b/3.png", images / "train/b/0.png")
    result = run("check", images, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "invalid (1 reason)" in result.output
    invalid = pd.read_csv(tmp_path / "out" / "check_My images.csv").set_index("severity").loc["invalid"]
    assert (invalid["kind"], invalid["files"]) == ("copies across splits", "train/b/0.png = test/b/3.png")
    assert "open_data(..., leaks='drop')" in invalid["detail"]


def test_new_writes_a_card_whose_split_everybody_gets_alike(run, images, tmp_path):
    pooled = tmp_path / "Pooled set"
    for number, path in enumerate(sorted(images.rglob("*.png"))):
        (pooled / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(pooled / path.parent.name / f"{number}.png")
    card = tmp_path / "cards" / "pooled_set.md"
    result = run("new", pooled, "--out", card.parent, "--seed", 3)
    assert result.exit_code == 0, result.output
    assert result.output.count("Warning: patients are not known") == 1
    assert f"open_data, check and demo take its path, {card}" in result.output
    splits, other = (open_data(card, size=8, progress=False, seed=seed) for seed in (None, 9))
    table = pd.read_csv(card.with_suffix(".csv"))
    for name in ("train", "val", "test"):
        assert set(getattr(splits, name).names) == set(table.loc[table["split"] == name, "file"])
    assert other.test.names == splits.test.names
    again = run("new", pooled, "--out", card.parent)
    assert again.exit_code == 2 and "exists already" in again.stderr


def test_bad_input_gets_one_clean_line(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, text in (
        (["check", ".", "--frames", "first"], "frames='first' is unknown: pass one of 'middle', 'all'"),
        (["check", "nowhere"], "'nowhere' is neither a folder, a file, nor a card"),
        (["show", "brain_mri"], "unknown card 'brain_mri'"),
        (["new", "nowhere"], "'nowhere' is no folder"),
    ):
        result = run(*words)
        line = result.stderr.strip()
        assert result.exit_code == 2 and line.startswith("error:") and "\n" not in line and text in line
