"""What tables and lists in a folder say of its images, laid over what the folders say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from dmws_lite.data import manifests, names
from dmws_lite.data.cards import Card
from dmws_lite.data.manifests import MANIFESTS
from dmws_lite.data.sets import SPLITS
from dmws_lite.runtime.text import examples, tally

LOOKED_AT = 40  # tables that are tried for a list of the images: our choice


def find_tables(
    root: Path, files: pd.DataFrame, card: Card | None, label: str | int | None, problem: str
) -> tuple[list[Path], dict[Path, pd.DataFrame], list[str]]:
    """The tables among `files` that list the images: those with labels, what others say of them, notes on the rest.

    problem: why the folders alone say nothing ("" where they do): then a table that cannot be used is an error.
    """
    if card and card.manifest:
        if not (root / card.manifest).is_file():
            raise ValueError(f"{card.path}: manifest: {card.manifest} is not in {root}")
        return [root / card.manifest], {}, []
    images, masks = _listable_images(files)
    by_folder = not problem and len(_classes(images)) > 1
    labels, facts = dict[Path, set[str]](), dict[Path, pd.DataFrame]()
    notes, unread = list[str](), list[str]()
    by_name_only = isinstance(label, int) or (card and card.layout != "manifest")
    paths = [Path(file) for file in files["file"][files["kind"] == "table"]]
    for path in [root / file for file in sorted(paths, key=lambda file: (len(file.parts), file))][:LOOKED_AT]:
        if by_name_only and path.name not in MANIFESTS:
            continue
        try:
            raw = manifests.read_table(path)
            find = manifests.make_finder(_select_images(images, path, root)["file"], root, masks)
            columns = manifests.image_columns(raw, find, path.parent)
            matches = [find(value, path.parent) for value in raw[columns[0]]] if columns else []
            listed = {match[0] for match in matches if match}
            if not listed or 2 * sum(map(bool, matches)) < min(len(raw), len(images)):
                if path.suffix == ".txt":
                    named = examples(raw.get("file", raw.iloc[:, 0]))
                    notes.append(f"{path} names images that are not here ({named}): it is not used")
                continue
            clear = [match[0] if len(match) == 1 else "" for match in matches]
            told = manifests.read_facts(path, raw.assign(file=clear))
        except ValueError as error:
            may_be_other = path.suffix.lower() in (".json", ".jsonl") or not path.stat().st_size
            (unread if may_be_other else notes).append(f"{error}; whether it lists the images is not known")
            continue
        if re.search("submission|prediction", path.stem.lower()):
            notes.append(f"{path} is a table of answers by its name, not of labels: it is not used")
        elif label in raw if label else manifests.usual_columns(raw)["label"] or manifests.finding_columns(raw):
            labels[path] = listed
        else:
            if _split_named(path) or (told[["split", "patient"]] != "").any(axis=None):
                facts[path] = told
            if raw.shape[1] > 1 and not isinstance(label, int):
                (unread if path in facts else notes).append(manifests.explain_no_labels(path, raw, root))
    notes += _drop_partial(labels, images[images["reason"] == ""] if by_folder else images[:0])
    several = [path for path in labels if any(labels[path] & labels[other] for other in labels if other != path)]
    if several:
        calls = " or ".join(f"open_data({str(path)!r})" for path in several)
        used = examples(path.relative_to(root).as_posix() for path in several)
        raise ValueError(f"{root}: {used} list the same images: pass the one to use, {calls}")
    _require_training_labels(labels, images if not by_folder else images[:0], root)
    if not labels and not by_folder and (unused := notes + unread):
        raise ValueError(f"{problem or f'{root} holds no two class folders'}. {'. '.join(unused)}")
    return [*labels], facts, notes


def _require_training_labels(labels: dict[Path, set[str]], images: pd.DataFrame, root: Path) -> None:
    """Raise ValueError where the tables have labels of test images alone, and most `images` have none."""
    others = {*images["file"][images["reason"].isin(["", "folder"])]}.difference(*labels.values())
    if {*map(_split_named, labels)} == {"test"} and len(others) > sum(map(len, labels.values())):
        text = f"{root}: only the {sum(map(len, labels.values()))} test images have labels, in"
        text += f" {examples(path.name for path in labels)}; no table has those of the other {len(others)}"
        alone = f"open_data({str(next(iter(labels)))!r})"
        raise ValueError(f"{text}: add it (with an ending such as .csv), or open what there is alone, {alone}")


def _drop_partial(labels: dict[Path, set[str]], images: pd.DataFrame) -> Iterator[str]:
    """Drop tables of the minority of images for which another table, or `images` in folders, have labels; notes."""
    in_folders = {*images["file"][images["label"] != ""]}
    listed = set[str]().union(*labels.values())
    for path in [*labels]:
        others = max((labels[other] for other in labels if labels[other] & labels[path]), key=len)
        others = in_folders if 2 * len(listed & in_folders) < len(in_folders) else others
        if 2 * len(labels[path]) < len(others):
            text = f"{path} lists {len(labels[path])} images, and {len(others)} have labels without it: it is not used"
            yield f"{text}; open_data({str(path)!r}) goes by it alone"
            del labels[path]


def _classes(images: pd.DataFrame) -> set[str]:
    return {*images["label"][images["reason"] == ""]} - {""}


def _listable_images(files: pd.DataFrame) -> tuple[pd.DataFrame, set[str]]:
    """The images that a table may list, and those of them that are masks."""
    images = files[(files["kind"] == "image") & (files["reason"] != "beside")]
    return images, {*images["file"][images["reason"] == "mask"]}


def _splits_named(table: Path) -> set[str]:
    return {names.SPLIT_NAMES[word] for word in names.words(table.stem) if word in names.SPLIT_NAMES}


def _split_named(table: Path) -> str:
    """The split that a table's name tells, where it tells one, as train.csv and train_val.txt do; else ""."""
    splits = _splits_named(table)
    return max(splits, key=("val", "test", "train").index) if splits and len(splits - {"val"}) <= 1 else ""


def _select_images(images: pd.DataFrame, table: Path, root: Path) -> pd.DataFrame:
    """The images beside a table in a folder of their own, else those of the split that its name tells, else all."""
    beside = images[images["file"].str.startswith(f"{table.parent.relative_to(root).as_posix()}/")]
    splits = _splits_named(table)
    of_split = images[images["split"].isin(splits)]
    return beside if len(beside) else of_split if len(splits) == 1 and len(of_split) else images


def add_facts(files: pd.DataFrame, facts: Mapping[Path, pd.DataFrame]) -> Iterator[str]:
    """Take what tables say of patients and, if with the folders they say it of all images, splits; else a note."""
    images = (files["kind"] == "image") & (files["reason"] == "")
    splits, narrow, clashes = dict[str, str](), dict[str, str](), 0
    for path in sorted(facts, key=lambda path: -len(_splits_named(path))):  # train_val, then val
        told = facts[path].drop_duplicates("file").set_index("file")
        files["patient"] = files["patient"].mask(files["patient"] == "", files["file"].map(told["patient"]).fillna(""))
        named = "" if files["split"][images].any() else _split_named(path)
        more = {file: split or named for file, split in told["split"].items() if file and (split or named)}
        if len(_splits_named(path)) < 2:
            by_table = files["file"].map(more)
            differ = images & (files["split"] != "") & by_table.notna() & (by_table != files["split"])
            _require_agreement(path, "split", files["file"][differ])
            clashes += sum(narrow.get(file, split) != split for file, split in more.items())
            narrow |= more
        splits |= more
    told = files["file"][images].map(lambda file: splits.get(file, ""))
    told = told.mask(told == "", files["split"][images])
    if facts and (told != "").any() and (clashes or not {"train", "test"} <= {*told} <= {*SPLITS}):
        text = f"{examples(path.name for path in facts)}: the split is made here, since tables and folders tell only "
        yield text + tally(told.replace("", "none")) + f", and of {clashes} images two" * bool(clashes)
        told = ""
    files.loc[images, "split"] = told


def apply_tables(
    root: Path, tables: list[Path], files: pd.DataFrame, card: Card | None, label: str | int | None, opened: bool
) -> tuple[dict[Path, pd.DataFrame], list[str], dict[str, object]]:
    """Take the images' labels from tables. Returns all that these say, notes, and what a card says to read them again.

    opened: whether the table itself is the source, so that it alone says which images there are.
    """
    images, masks = _listable_images(files)
    columns: dict[str, str] = {str(role): name for role, name in (card.columns or {}).items()} if card else {}
    columns |= {"label": label} if isinstance(label, str) else {}
    facts, notes = dict[Path, pd.DataFrame](), list[str]()
    for path in tables:
        listable = _select_images(images, path, root)["file"]
        facts[path], more = manifests.read_entries(path, listable, columns, root, masks)
        notes += more
    entries = pd.concat([*facts.values()], ignore_index=True)
    recipe: dict[str, object] = {}
    if not isinstance(label, int) and entries["label"].any() and len(tables) == 1:
        recipe = {"layout": "manifest", "manifest": os.path.relpath(tables[0], root), "columns": columns}
        recipe = {key: value for key, value in recipe.items() if value}
    if card:
        entries["label"] = entries["label"].replace(card.class_folders)
    elif entries["label"].any():
        manifests.check_labels(entries, tables[0])
        notes += manifests.note_unknown(entries, tables[0])
    entries["label_folder"] = entries["file"].map(images.set_index("file")["label"])
    if isinstance(label, int) or ((card or tables[0].name in MANIFESTS) and not entries["label"].any()):
        entries["label"] = entries["label_folder"]
    if not entries["label"].any():
        source = tables[0] if opened else root
        raise ValueError(manifests.explain_no_labels(tables[0], manifests.read_table(tables[0]), source))
    pairs = entries[["label", "label_folder"]].drop_duplicates()
    one_to_one = len(pairs) > 1 and all(pairs[name].is_unique for name in pairs)
    if label is None and one_to_one and pairs["label"].str.isdecimal().all() and pairs["label_folder"].ne("").all():
        entries["label"] = entries["label_folder"]  # of which the labels are numbers
    notes += [] if card or opened else _compare_labels(tables[0], entries, _classes(images))
    labels = files["file"].map(entries[entries["label"] != ""].set_index("file")["label"])
    unlisted = (files["kind"] == "image") & files["reason"].isin(["", "folder"] if recipe else [""]) & labels.isna()
    files["label"] = labels.fillna(files["label"])
    files["reason"] = files["reason"].mask(labels.notna(), "").mask(unlisted, "unlisted")
    files["group"] = files["group"].mask(unlisted, files["folder"])
    files.loc[files["file"].isin([os.path.relpath(path, root) for path in tables]), ["kind", "reason"]] = ""
    return facts, notes, recipe


def _compare_labels(path: Path, table: pd.DataFrame, classes: set[str]) -> list[str]:
    """A note where a table's labels are not the folders' names; refused where they are, but of other images."""
    labels = table["label"].str.lower()
    differ = table["file"][labels != table["label_folder"].str.lower()]
    if len(classes) > 1 and {*labels} == {*map(str.lower, classes)}:
        _require_agreement(path, "label", differ)
    text = f"{path} lists these images: the labels are its own, not the folders {examples(sorted(classes))}"
    return [text] if len(differ) and len(classes) > 1 else []


def _require_agreement(path: Path, what: str, differ: pd.Series) -> None:
    if len(differ):
        text = f"{path} and the folders disagree on the {what} of {len(differ)} images: {examples(sorted(differ))}"
        raise ValueError(f"{text}. Move them or correct the table; or open_data({str(path)!r}) goes by the table alone")
