import re

import pandas as pd
import pytest
from huggingface_hub import DatasetCard

from dmws_lite.data.cards import (
    FrontMatter,
    Label,
    Patient,
    Picture,
    Recipe,
    Source,
    Split,
    card_text,
    cards,
    read_card,
)

TEMPLATE = next(iter(cards().values())).with_name("template.md")
HEADINGS = ["What it shows", "Where it comes from", "How to cite", "Licence", "Splits and flips", "Known problems"]
HEADINGS += ["Must not be used for"]
MEDMNIST = ("pneumoniamnist", "breastmnist", "organamnist", "bloodmnist")
REAL = ("covid_radiography", "sars_cov_2_ct", "brain_tumor_mri", "chest_pneumonia", *MEDMNIST)
FRONT = """pretty_name: Toy
license: mit
task_categories: [image-classification]
tags: [medical]
size_categories: [n<1K]
language: [en]
"""
DMWS = """dmws:
  sources: [{folder: ~/toy}]
  layout: classes
  classes: {a: {meaning: first}, b: {meaning: second}}
"""


def written(folder, front=FRONT + DMWS, prose="# Toy\n", name="toy.md"):
    path = folder / name
    path.write_text(f"---\n{front}---\n\n{prose}", encoding="utf-8")
    return path


def refused(folder, front):
    """What reading says of a card that it refuses; it has to name the file."""
    path = written(folder, front)
    with pytest.raises(ValueError) as caught:
        read_card(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


# --- the cards that are here ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*cards().values(), TEMPLATE], ids=lambda path: path.stem)
def test_a_card_reads_says_everything_and_is_a_hugging_face_card(path):
    card = read_card(path)
    headings = re.findall(r"^## (.+)$", card.prose, re.M)
    assert headings == HEADINGS
    assert card.prose.startswith(f"# {card.pretty_name}\n")
    assert all(len(part.strip()) > 20 for part in re.split(r"^## .+$", card.prose, flags=re.M)[1:])
    standard = DatasetCard.load(path)
    assert standard.data.license == card.license and standard.data.task_categories == ["image-classification"]


@pytest.mark.parametrize(
    ("name", "file", "patient"),
    [
        ("chest_pneumonia", "train/PNEUMONIA/person1000_bacteria_2931.jpeg", "person1000_bacteria"),
        ("chest_pneumonia", "test/PNEUMONIA/person10_virus_35.jpeg", "person10_virus"),
        ("chest_pneumonia", "train/NORMAL/IM-0115-0001.jpeg", "IM-0115"),
        ("chest_pneumonia", "test/NORMAL/NORMAL2-IM-0317-0001.jpeg", "NORMAL2-IM-0317"),
        ("chest_pneumonia", "train/PNEUMONIA/BACTERIA-1008087-0001.jpeg", "BACTERIA-1008087"),
        ("sars_cov_2_ct", "COVID/Covid (7).png", "Covid ("),
        ("sars_cov_2_ct", "COVID/Covid (99).png", "Covid ("),
        ("sars_cov_2_ct", "COVID/Covid (1239).png", "Covid (12"),
        ("sars_cov_2_ct", "non-COVID/Non-Covid (100).png", "Non-Covid (1"),
    ],
)
def test_patients_are_read_from_file_names(name, file, patient):
    assert re.search(read_card(name).patient.pattern, file).group(1) == patient


def test_the_template_explains_every_key():
    text = TEMPLATE.read_text(encoding="utf-8")
    keys = {key for form in (FrontMatter, Recipe, Source, Label, Picture, Split, Patient) for key in form.model_fields}
    assert not [key for key in keys if not re.search(rf"\b{key}:", text)]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_small_card_gets_defaults(tmp_path):
    card = read_card(written(tmp_path))
    assert (card.name, card.pretty_name, card.license, card.prose) == ("toy", "Toy", "mit", "# Toy")
    assert card.path == tmp_path / "toy.md"
    assert {name: label.folder for name, label in card.classes.items()} == {"a": "a", "b": "b"}
    assert (card.root, card.fit, card.flips, card.window, card.image, card.counts) == (
        ".",
        "crop",
        [],
        None,
        None,
        None,
    )
    assert (card.split.rule, card.split.seed, card.split.manifest) == (None, 0, None)
    assert repr(card) == str(card) == "Card(toy: Toy, 2 classes, from folder)"


def test_unknown_cards_are_named_with_the_closest(tmp_path):
    with pytest.raises(ValueError, match="unknown card 'brestmnist' .did you mean 'breastmnist'"):
        read_card("brestmnist")
    with pytest.raises(FileNotFoundError, match="gone.md does not exist"):
        read_card(tmp_path / "gone.md")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("layout: classes", "layuot: classes", "dmws has an unknown key 'layuot' .did you mean 'layout'"),
        ("folder: ~/toy", "foldr: ~/toy", "dmws.sources.0 has an unknown key 'foldr' .did you mean 'folder'"),
        ("meaning: first", "meening: first", "dmws.classes.a has an unknown key 'meening' .did you mean 'meaning'"),
        ("layout: classes", "layout: folders", "dmws.layout is 'folders': it should be 'classes', 'splits' or"),
        ("pretty_name: Toy", "pretty_name: 7", "pretty_name is 7: .*string.*quotes"),
        ("license: mit\n", "", "license is missing"),
        ("layout: classes", "image: {mode: grey}", "dmws.image.mode is 'grey': it should be 'gray' or 'colour'"),
        ("layout: classes", "split: {seed: '0'}", "dmws.split.seed is '0': it should be a valid integer"),
        ("layout: classes", "window: [400, -1000]", "dmws has window .400.0, -1000.0.: write the lower value first"),
        ("a: {meaning", "no: {meaning", "is False: it .*string .put it in quotes."),
        ("a: {meaning: first}, ", "", "dmws.classes is .*at least 2"),
        ("a: {meaning: first}", "a: {folder: b/c, meaning: first}", "classes 'b' in 'b' and 'a' in 'b/c'"),
        ("a: {meaning: first}", "b: {meaning: first}", "line 11: .*'b' is written twice"),
        ("layout: classes", "counts: {train: {aa: 3}}", "counts train of 'aa' .did you mean 'a'"),
        ("layout: classes", "counts: {all: {a: 3.5}}", "dmws.counts.all.a is 3.5"),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_the_way_out(tmp_path, before, after, message):
    assert before in FRONT + DMWS
    assert re.search(message, refused(tmp_path, (FRONT + DMWS).replace(before, after)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{}", "dmws.sources.0 has no source: give one of folder, hub"),
        ("{folder: x, kaggle: a/b}", "has folder and kaggle: give one"),
        ("{folder: x, sha256: " + 64 * "a" + "}", "has sha256, which does not belong to folder"),
        ("{url: ftp://example.org/x}", "dmws.sources.0.url is 'ftp://example.org/x'"),
        ("{url: 'https://example.org/x', sha256: abc}", "dmws.sources.0.sha256 is 'abc'"),
        ("{kaggle: justaname}", "dmws.sources.0.kaggle is 'justaname'"),
        ("{medmnist: breastmnist}", "medmnist 'breastmnist' without image_size: add 28, 64"),
        ("{medmnist: breastmnist, image_size: 32}", "dmws.sources.0.image_size is 32"),
        ("{phantom: knee}", "phantom is 'knee': it should be 'chest_xray'"),
        ("{phantom: lung_ct}, {folder: x}", "phantom beside other sources"),
        ("", "dmws.sources is .*at least 1"),
    ],
)
def test_a_source_is_one_kind_with_what_belongs_to_it(tmp_path, source, message):
    assert re.search(message, refused(tmp_path, FRONT + DMWS.replace("{folder: ~/toy}", source)))


@pytest.mark.parametrize("key", ["root: {}", "split: {{manifest: {}}}", "classes"])
@pytest.mark.parametrize("place", ["a/../../x", "/etc", "C:/x", "~/x", "a\\b"])
def test_paths_that_leave_the_data_are_refused(tmp_path, key, place):
    if key == "classes":
        front = FRONT + DMWS.replace("meaning: first", f"meaning: first, folder: {place}")
    else:
        front = FRONT + DMWS + f"  {key.format(place)}\n"
    assert re.search(r"stays inside|forward slashes", refused(tmp_path, front))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("p[0-9]+", "0 groups"),
        ("(p)([0-9]+)", "2 groups"),
        ("(p", "no regular expression"),
    ],
)
def test_a_patient_pattern_is_short_and_has_one_group(tmp_path, pattern, message):
    text = refused(tmp_path, FRONT + DMWS + f"  patient: {{pattern: '{pattern}'}}\n")
    assert "dmws.patient.pattern is" in text and message in text


# --- hostile files ----------------------------------------------------------------------------------------------------


def test_a_file_without_front_matter_or_without_the_block_says_so(tmp_path):
    path = tmp_path / "plain.md"
    path.write_text("# Only prose\n")
    with pytest.raises(ValueError, match=r"plain.md has no front matter"):
        read_card(path)
    assert "dmws is missing" in refused(tmp_path, FRONT)
    assert "pretty_name is missing" in refused(tmp_path, "\n")
    assert "is ['a', 'b']" in refused(tmp_path, "- a\n- b\n")


def test_yaml_that_builds_objects_is_refused_and_not_run(tmp_path):
    target = tmp_path / "ran"
    for tag in (f"!!python/object/apply:os.mkdir ['{target}']", "!!python/name:os.system", "!custom {a: 1}"):
        assert "constructor for the tag" in refused(tmp_path, FRONT.replace("mit", tag) + DMWS)
    assert not target.exists()


# --- writing ----------------------------------------------------------------------------------------------------------


def decoded_table():
    table = pd.DataFrame(
        {"label": ["yes", "no", "yes", "no", "no"], "split": ["train", "train", "val", "test", "test"]}
    )
    return table.assign(mode="gray", width=[64, 64, 32, 64, 64], height=48, depth=8)


def test_a_written_card_reads_back_as_what_was_seen(tmp_path):
    text = card_text("Nierenbilder: Größe {x}", decoded_table(), ("no", "yes"), "splits", tmp_path, "patient", "k.csv")
    path = tmp_path / "k.md"
    path.write_text(text, encoding="utf-8")
    card = read_card(path)
    assert (card.pretty_name, card.license, card.layout) == ("Nierenbilder: Größe {x}", "unknown", "splits")
    assert card.sources[0].folder == str(tmp_path)
    assert list(card.classes) == ["no", "yes"]
    assert card.counts == {"train": {"yes": 1, "no": 1}, "val": {"yes": 1}, "test": {"no": 2}}
    assert (card.image.mode, card.image.size, card.image.depth) == ("gray", None, 8)
    assert (card.split.rule, card.split.manifest, card.flips) == ("patient", "k.csv", [])
    assert re.findall(r"^## (.+)$", card.prose, re.M) == HEADINGS
