import re

import pandas as pd
import pytest
from huggingface_hub import DatasetCard

from dmws_lite.data.cards import card_text, cards, read_card

TEMPLATE = next(iter(cards().values())).with_name("template.md")
HEADINGS = ["What it shows", "Where it comes from", "How to cite", "Licence", "Splits and flips", "Known problems"]
HEADINGS += ["Must not be used for"]
FRONT = """pretty_name: Toy
license: mit
dmws:
  sources: [{folder: ~/toy}]
  layout: classes
  classes: {a: {meaning: first}, b: {meaning: second}}
"""


def assert_refused(folder, front, message):
    (folder / "toy.md").write_text(f"---\n{front}---\n\n# Toy\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"toy.md.*{message}"):
        read_card(folder / "toy.md")


@pytest.mark.parametrize("path", [*cards().values(), TEMPLATE], ids=lambda path: path.stem)
def test_a_card_reads_says_everything_and_is_a_hugging_face_card(path):
    card = read_card(path)
    assert re.findall(r"^## (.+)$", card.prose, re.M) == HEADINGS
    assert card.prose.startswith(f"# {card.pretty_name}\n")
    assert all(len(part.strip()) > 20 for part in re.split(r"^## .+$", card.prose, flags=re.M)[1:])
    standard = DatasetCard.load(path)
    assert standard.data.license == card.license and standard.data.task_categories == ["image-classification"]


def test_patients_are_read_from_file_names():
    for name, file, patient in (
        ("chest_pneumonia", "train/PNEUMONIA/person1000_bacteria_2931.jpeg", "person1000_bacteria"),
        ("chest_pneumonia", "train/NORMAL/IM-0115-0001.jpeg", "IM-0115"),
        ("chest_pneumonia", "test/NORMAL/NORMAL2-IM-0317-0001.jpeg", "NORMAL2-IM-0317"),
        ("chest_pneumonia", "train/PNEUMONIA/BACTERIA-1008087-0001.jpeg", "BACTERIA-1008087"),
        ("sars_cov_2_ct", "COVID/Covid (7).png", "Covid ("),
        ("sars_cov_2_ct", "non-COVID/Non-Covid (1239).png", "Non-Covid (12"),
    ):
        assert re.search(read_card(name).patient.pattern, file).group(1) == patient


def test_unknown_cards_are_named_with_the_closest(tmp_path):
    with pytest.raises(ValueError, match="unknown card 'brestmnist' .did you mean 'breastmnist'"):
        read_card("brestmnist")
    with pytest.raises(FileNotFoundError, match="gone.md does not exist"):
        read_card(tmp_path / "gone.md")
    (tmp_path / "plain.md").write_text("# Only prose\n")
    with pytest.raises(ValueError, match=r"plain.md has no front matter"):
        read_card(tmp_path / "plain.md")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("layout: classes", "layuot: classes", "dmws has an unknown key 'layuot' .did you mean 'layout'"),
        ("folder: ~/toy", "foldr: ~/toy", "dmws.sources.0 has an unknown key 'foldr' .did you mean 'folder'"),
        ("layout: classes", "layout: folders", "dmws.layout is 'folders': it should be 'classes', 'splits' or"),
        ("pretty_name: Toy", "pretty_name: 7", "pretty_name is 7: .*string.*quotes"),
        ("layout: classes", "window: [400, -1000]", "dmws has window .400.0, -1000.0.: write the lower value first"),
        ("a: {meaning: first}, ", "", "dmws.classes is .*at least 2"),
        ("a: {meaning: first}", "a: {folder: b/c, meaning: first}", "classes 'b' in 'b' and 'a' in 'b/c'"),
        ("a: {meaning: first}", "b: {meaning: first}", "line 7: .*'b' is written twice"),
        ("layout: classes", "counts: {train: {aa: 3}}", "counts train of 'aa' .did you mean 'a'"),
        ("layout: classes", "patient: {pattern: 'p[0-9]+'}", "dmws.patient.pattern is 'p.*', with 0 groups"),
        ("layout: classes", "patient: {pattern: '(p'}", "dmws.patient.pattern is '.p', which is no regular expression"),
        (FRONT, "pretty_name: Toy\nlicense: mit\n", "dmws is missing"),
        (FRONT, "- a\n- b\n", "is .'a', 'b'."),
        ("mit", "!!python/object/apply:os.mkdir ['ran']", "constructor for the tag"),
        ("{folder: ~/toy}", "{}", "dmws.sources.0 has no source: give one of folder, hub"),
        ("{folder: ~/toy}", "{folder: x, kaggle: a/b}", "has folder and kaggle: give one"),
        ("{folder: ~/toy}", "{folder: x, size: 3}", "has size, which does not belong to folder"),
        ("{folder: ~/toy}", "{url: ftp://example.org/x}", "dmws.sources.0.url is 'ftp://example.org/x'"),
        ("{folder: ~/toy}", "{medmnist: breastmnist}", "medmnist 'breastmnist' without image_size: add 28, 64"),
        ("{folder: ~/toy}", "{phantom: lung_ct}, {folder: x}", "phantom beside other sources"),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_the_way_out(tmp_path, monkeypatch, before, after, message):
    monkeypatch.chdir(tmp_path)
    assert before in FRONT
    assert_refused(tmp_path, FRONT.replace(before, after), message)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["a/../../x", "/etc", "C:/x", "~/x", "a\\b"])
def test_paths_that_leave_the_data_are_refused(tmp_path, place):
    named = FRONT.replace("meaning: first", f"meaning: first, folder: {place}")
    for front in (FRONT + f"  root: {place}\n", FRONT + f"  split: {{manifest: {place}}}\n", named):
        assert_refused(tmp_path, front, "stays inside")


def test_a_written_card_reads_back_as_what_was_seen(tmp_path):
    labels, splits = ["yes", "no", "yes", "no", "no"], ["train", "train", "val", "test", "test"]
    table = pd.DataFrame({"label": labels, "split": splits, "mode": "gray"})
    name, told = "Nierenbilder: Größe {x}", {"layout": "splits"}
    text = card_text(name, table, ("no", "yes"), told, tmp_path, "patient", "k.csv")
    (tmp_path / "k.md").write_text(text, encoding="utf-8")
    card = read_card(tmp_path / "k.md")
    assert (card.pretty_name, card.license, card.layout) == (name, "unknown", "splits")
    assert card.sources[0].folder == str(tmp_path) and list(card.classes) == ["no", "yes"]
    assert card.counts == {"train": {"yes": 1, "no": 1}, "val": {"yes": 1}, "test": {"no": 2}}
    assert (card.image.mode, card.split.rule, card.split.manifest, card.flips) == ("gray", "patient", "k.csv", [])
    assert re.findall(r"^## (.+)$", card.prose, re.M) == HEADINGS
