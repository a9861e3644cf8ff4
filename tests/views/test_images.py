import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dmws_lite.data.duplicates import find_pairs, group_pairs
from dmws_lite.data.opening import Gathered
from dmws_lite.data.probes import VISIBLE
from dmws_lite.views import figures


def gathered(classes=("a", "b"), count=120, channels=1, copies=()):
    """Noise images; `copies` are pairs of rows that hold the same bytes."""
    rows = np.arange(count)
    table = pd.DataFrame(
        {
            "label": np.array(classes)[rows % len(classes)],
            "file": [f"folder/{k:03d}.png" for k in rows],
            "split": np.select([rows < 0.6 * count, rows < 0.8 * count], ["train", "val"], "test"),
            "patient": [f"SECRET-{k}" for k in rows],
            "sha256": rows.astype(str),
        }
    ).assign(frame=0, width=rows + 50, height=64, mode="gray", depth=8, blank=False, error="")
    thumbnails = np.random.default_rng(0).integers(0, 200, (count, 32, 32), dtype=np.uint8)
    for source, target in copies:
        thumbnails[target] = thumbnails[source]
        table.loc[target, "sha256"] = table["sha256"][source]
    linked = find_pairs(list(table["sha256"]), thumbnails)
    table, images = table.assign(group=group_pairs(count, linked)), np.repeat(thumbnails[:, None], channels, 1)
    return Gathered("noise", table, images, thumbnails, linked, classes, "published", table[:0])


def report(gathered_images, flags=None, severity="note", probes=(0.5, 0.6, 0.5, 0.9)):
    """A report as `inspect` gives it, with findings and probes by hand."""
    names = ["border pixels", "mean and spread", "file properties", "whole thumbnail"]
    return SimpleNamespace(
        name=gathered_images.name,
        gathered=gathered_images,
        flags=flags or ("",) * len(gathered_images.table),
        verdict="usable, no warning",
        findings=pd.DataFrame({"severity": [severity], "kind": ["tiny"], "count": [3], "detail": ["below 32 pixels"]}),
        probes=pd.DataFrame({"probe": names, "accuracy": probes, "error": 0.01, "chance": 0.5}),
    )


def texts(figure):
    """All words in a figure, its parts included."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


@pytest.fixture(scope="module")
def page():
    return figures.data_page(report(gathered(), severity="warning"))


def test_the_page_says_verdict_numbers_findings_and_probes(page, check_picture):
    words = texts(check_picture(page))
    assert "noise: usable, no warning\n120 images, 2 classes, 72 / 24 / 24 train / val / test, sizes" in words
    assert "warning: tiny (3): below 32 pixels" in words
    assert "warning: tiny (3)" in page.alt_text and "a 36 / 12 / 12; b 36 / 12 / 12" in page.alt_text
    assert "mean and spread 0.60" in page.alt_text and "chance 0.50" in page.alt_text
    train = page.subfigs[2].subfigs[0].axes[0]
    assert [bar.get_width() for bar in train.patches] == [0.5, 0.5] and train.get_title() == "train: 72"
    assert [text.get_text() for text in train.texts] == ["36", "36"]
    means = [axes.lines[0].get_xdata()[0] for axes in page.subfigs[2].subfigs[1].axes]
    assert means == pytest.approx([100, 100], abs=4)  # of noise from 0 to 200
    axes = page.subfigs[3].axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.6, 0.5, 0.9]
    assert [line.get_xdata()[0] for line in axes.lines] == [0.5, 0.5 + VISIBLE / 2]
    assert "0.60 ± 0.02" in {text.get_text() for text in axes.texts}


def test_flagged_images_have_a_frame_and_pairs_across_splits_come_first(page):
    flags = tuple({4: "blank", 7: "tiny", 9: "tiny"}.get(k, "") for k in range(120))
    figure = figures.data_page(report(gathered(copies=[(1, 2), (0, 100)]), flags))
    sheet, plain = figure.subfigs[1].axes[0], page.subfigs[1].axes[0]
    assert sorted(text.get_text() for text in sheet.texts) == ["blank", "tiny", "tiny"]
    assert len(sheet.patches) == 3 and not plain.patches and len(page.subfigs) == 4
    assert "SECRET" not in texts(figure) + figure.alt_text  # no id of a patient
    assert [text.get_text() for text in figure.subfigs[4].axes[0].texts] == [
        "same bytes\ntrain, a:\nfolder/000.png\ntest, a:\nfolder/100.png",
        "same bytes\ntrain, b:\nfolder/001.png\ntrain, a:\nfolder/002.png",
    ]


def test_names_in_any_letters_are_drawn_plain_cut_and_without_warnings():
    noise = gathered(("lung\x1b[2J\u202e", "🫁 a$b$_c"), copies=[(0, 100)])
    noise.table.loc[0, "file"] = "train/\n\x9b.png"
    figure = figures.data_page(report(replace(noise, name="L" * 200)))
    with warnings.catch_warnings(action="error"):
        assert len(figure.png()) > 1000
        figures.confusion(pd.DataFrame(np.eye(2, dtype=int), ["正常", "b"], ["正常", "b"]))
    with warnings.catch_warnings(action="ignore"):
        words = texts(figure)
    assert not set(words + figure.alt_text) & {"\x1b", "\x9b", "\u202e"}
    for text in (f"{'L' * 30}…{'L' * 29}: usable", "lung�[2J�", "🫁", "train/��.png"):
        assert text in words


def test_eleven_classes_of_unreadable_images_do_not_break_the_page(check_picture):
    noise = gathered(tuple(f"class_{k}" for k in range(11)), 330, channels=3)
    noise.table["error"] = "OSError"
    figure = check_picture(figures.data_page(report(noise, probes=(np.nan,) * 4)))
    assert "Sizes in pixels: unknown" in figure.alt_text
