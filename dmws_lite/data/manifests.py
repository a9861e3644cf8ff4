"""Manifests: tables (.csv, .tsv, .parquet, .xlsx, .json, .jsonl, .txt) that list images and say what they are."""

from __future__ import annotations

import filecmp
import json
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from unicodedata import normalize

import pandas as pd

from dmws_lite.data.images import DICOM, NIFTI, SUFFIXES, suffix_of
from dmws_lite.data.names import SPLIT_NAMES
from dmws_lite.runtime.text import examples

TABLES = (".csv", ".tsv", ".parquet", ".xlsx", ".xls", ".json", ".jsonl")
MANIFESTS = ("metadata.csv", "metadata.parquet", "manifest.csv", "manifest.parquet")  # say what they are by their name
MOST_ROWS = 10**7  # of a Parquet file, a small one of which may fill the memory: our choice
ENDINGS = (*SUFFIXES, *DICOM, *NIFTI)
COLUMNS = {  # names of columns, in any case; the first that is there is used
    "file": (
        *("file", "file_name", "filename", "path", "file_path", "filepath", "image", "image_path", "image_name"),
        *("image_file", "image_id", "image_index", "id_code"),
    ),
    "label": (
        *("label", "class", "class_name", "diagnosis", "dx", "category", "target", "benign_malignant", "labels"),
        *("finding", "findings", "finding_labels", "pathology", "disease", "level", "grade", "diagnostic", "condition"),
        *("ground_truth", "class_id", "label_id", "label_name"),
    ),
    "split": ("split", "subset", "partition"),
    "patient": (
        *("patient", "patient_id", "patientid", "subject", "subject_id", "subjectid", "case_id", "lesion_id"),
        *("pid", "mrn", "participant", "participant_id", "patient_no", "patient_number"),
    ),
}
UNKNOWN = ("", "-", "?", "na", "n/a", "nan", "none", "null", "unknown")  # in the columns split and patient
UNCERTAIN = {"", "-1", "uncertain", "unknown", "nan"}  # beside 0 and 1
ROWS = 200  # of a table, from which it is seen which column names the images: our choice
Find = Callable[[object, Path], list[str]]  # see `make_finder`


def read_entries(
    path: Path,
    files: Iterable[str],
    columns: Mapping[str, str] | None = None,
    root: Path | None = None,
    masks: Collection[str] = (),
) -> tuple[pd.DataFrame, list[str]]:
    """What a manifest says of images, one row each: file, label, split, patient, "" where not said; and notes.

    files, root: the images that are there. A row may name one by its path, the end of it, or its name alone when no
    other image has it; endings need not agree. columns: role to the column's name; the rest is looked for, see COLUMNS.
    masks: those of the files that a further column may name.
    """
    raw, columns, notes = read_table(path), columns or {}, list[str]()
    find = make_finder(files, root or path.parent, masks)
    usual, with_images = usual_columns(raw), image_columns(raw, find, path.parent)
    roles = {role: names[0] for role, names in usual.items() if names}
    roles |= {"file": with_images[0]} if with_images else {}
    roles |= columns
    if missing := [name for name in roles.values() if name not in raw] + ["file"] * ("file" not in roles):
        text = f"{path} has no column {missing[0]!r}: its columns are {', '.join(map(str, raw))}"
        raise ValueError(f"{text}. Name the one with the files of images 'file', or rename a table of something else")
    names = raw[roles["file"]]
    if not all(isinstance(name, str) for name in names):
        text = f"{path}: column {roles['file']!r} holds no file names. If it holds the images themselves, pass "
        raise ValueError(f"{text}datasets.load_dataset({path.suffix[1:]!r}, data_files=...)")
    table = read_facts(path, raw.assign(file=_match_files(names, find, path, root or path.parent)), roles)
    for name in [] if "file" in columns else with_images[1:]:
        found = [find(value, path.parent) for value in raw[name]]
        others = {files[0] for files in found if files and not {*table["file"], *masks} & {*files}}
        if 2 * len(others) > len(raw):
            text = f"{path} names images in two columns, {roles['file']!r} and {name!r}, so that a row is not of one"
            raise ValueError(f"{text} image. Write one row for each image, or leave out one of these columns")
    if "label" not in roles:
        scores = finding_columns(raw)
        ones = raw[scores].apply(_to_text) == "1"
        if scores and ones.sum(axis=1).eq(1).all():
            table["label"] = ones.idxmax(axis=1)
            notes.append(f"{path}: the label is the one of {examples(scores)} that is 1")
    elif "label" not in columns and len(usual["label"]) > 1:
        calls = " or ".join(f"label={name!r}" for name in usual["label"][1:])
        notes.append(f"{path}: the label is column {roles['label']!r}; open_data(..., {calls}) takes another")
    table = table.drop_duplicates(ignore_index=True)
    if len(repeated := table["file"][table.duplicated("file")]):
        raise ValueError(f"{path} lists {len(repeated)} images twice: {examples(repeated)}. Keep one row of each")
    return table, notes


def read_facts(path: Path, raw: pd.DataFrame, roles: Mapping[str, str] | None = None) -> pd.DataFrame:
    """What columns say of the column `file`: label, split, patient, or ""; roles: as `columns`, None by usual names."""
    roles = roles or {role: names[0] for role, names in usual_columns(raw).items() if names}
    values = {role: _to_text(raw[roles[role]]) if role in roles else "" for role in COLUMNS if role != "file"}
    table = pd.DataFrame({"file": raw["file"], **values}, dtype=object)
    for role in ("split", "patient"):
        table[role] = table[role].mask(table[role].str.lower().isin(UNKNOWN), "")
    splits = table["split"].str.lower().map({**SPLIT_NAMES, "": ""})
    if splits.isna().any():
        unknown = table["split"][splits.isna()].iloc[0]
        raise ValueError(f"{path}: split {unknown!r} is unknown: write one of {', '.join(SPLIT_NAMES)}")
    return table.assign(split=splits)


def check_labels(table: pd.DataFrame, path: Path) -> None:
    """Refuse several labels in one, values that say "not known", and labels that are missing."""
    counts = Counter(table["label"])
    numbers = {"1" if label in ("1", "true") else label for label in map(str.lower, counts)}
    if {"0", "1"} <= numbers <= {"0", "1"} | UNCERTAIN and len(numbers) > 2:
        shown = ", ".join(f"{count} {label or 'blank'}" for label, count in sorted(counts.items()))
        text = f"{path}: beside 0 and 1 its labels hold other values ({shown}), which often mean uncertain or unknown"
        raise ValueError(f"{text}. Write 0 or 1 in their place, or keep the rows of table[column].isin([0, 1]) only")
    if 0 < counts[""] < len(table):
        blank = examples(table["file"][table["label"] == ""])
        text = f"{path} gives {counts['']} of {len(table)} images no label: {blank}"
        raise ValueError(f"{text}. Fill them in, or take them off the list")
    for mark in "|;, ":
        joined = [label for label in counts if mark in label and (mark != " " or {*label.split()} <= {*counts})]
        parts = Counter(part.strip(" []'\"") for label in joined for part in label.split(mark))
        recurring = sum(part in counts or count > 1 for part, count in parts.items())
        if joined and (mark != "," or 2 * recurring >= len(parts) or joined[0][0] == "["):
            count = sum(counts[label] for label in joined)
            text = f"{path}: {count} of {len(table)} images have several labels, joined by {mark!r}: {joined[0]!r}. "
            text += "Keep those with one, or add a column of 0 and 1 for a label (in pandas, table[column].str.contains"
            raise ValueError(f"{text}({next(iter(parts))!r})) and pass its name, open_data(..., label=NAME)")


def note_unknown(table: pd.DataFrame, path: Path) -> Iterator[str]:
    """A note for each label that says "not known", and is a class all the same."""
    for label, count in table["label"].value_counts().items():
        if str(label).lower() in {*UNKNOWN} - {"none"}:  # which is a class of some sets
            text = f"{path}: the label of {count} images is {label!r}, which is taken as a class. If it says that"
            yield f"{text} nothing is known of them, take their rows off the list"


def explain_no_labels(path: Path, raw: pd.DataFrame, source: Path) -> str:
    """Why a manifest gives no labels, and the way out: the call with what was opened."""
    call = f"open_data({str(source)!r}, label="
    if scores := finding_columns(raw):
        known = min(scores, key=lambda name: bool({*_to_text(raw[name])} - {"0", "1"}))
        text = f"{path} seems to hold a column of 0 and 1 for each finding ({', '.join(scores)}), of which several or"
        return f"{text} none are 1 in some rows: {call}{known!r}) takes one, label=1 (2, ...) a level of folders"
    text = f"{path} lists these images, but none of its columns is the label by its name ({', '.join(map(str, raw))})"
    return f"{text}: {call}NAME) takes one"


def finding_columns(raw: pd.DataFrame) -> list[str]:
    """The columns of 0 and 1 (also -1 and blank), where there are several."""
    values = {name: {*_to_text(raw[name])} for name in raw}
    columns = [name for name in raw if {"1"} < values[name] <= {"0", "1", "-1", ""}]
    return [name for name in raw if name in columns or values[name] == {"0"}] if len(columns) > 1 else []


def image_columns(raw: pd.DataFrame, find: Find, folder: Path) -> list[str]:
    """The columns whose values name images that are there, in the first rows: the one that names most comes first.

    Of two that name as many, the one whose values can mean one image only: a path goes before a name.
    """
    columns = {name: raw[name].head(ROWS) for name in [*usual_columns(raw)["file"], *raw]}
    counts = {name: [len(find(value, folder)) for value in values] for name, values in columns.items()}
    hits = {name: (sum(map(bool, numbers)), numbers.count(1)) for name, numbers in counts.items() if any(numbers)}
    return sorted(hits, key=lambda name: hits[name], reverse=True)


def usual_columns(raw: pd.DataFrame) -> dict[str, list[str]]:
    """The columns that have a usual name of each role, in the order of COLUMNS."""
    plain = {re.sub(r"[\s-]+", "_", str(name).strip().lower()): str(name) for name in raw}
    return {role: [plain[name] for name in names if name in plain] for role, names in COLUMNS.items()}


def read_table(path: Path) -> pd.DataFrame:
    """A table as text, where its kind does not know better."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            from pyarrow import parquet

            if (rows := parquet.ParquetFile(path).metadata.num_rows) > MOST_ROWS:
                raise ValueError(f"it has {rows} rows, at most {MOST_ROWS} are read")
            return pd.read_parquet(path)
        if suffix in (".xlsx", ".xls"):
            table = pd.read_excel(path, dtype=str, keep_default_na=False)
        elif suffix in (".json", ".jsonl"):
            text = path.read_text("utf-8")
            items = [*map(json.loads, text.splitlines())] if suffix == ".jsonl" else json.loads(text)
            table = pd.DataFrame(_list_rows(items) if isinstance(items, dict) else items).astype(object)
            table = table.map(lambda value: "|".join(map(str, value)) if isinstance(value, list) else value)
            table = table.where(table.notna(), "")
        elif suffix == ".txt":
            rows = _split_cells(path.read_text("utf-8"))
            names = _name_columns(rows[0]) or ["file"] * _is_list_of_split(path, rows[:4])
            table = pd.DataFrame(rows, columns=names) if names else pd.DataFrame(rows[1:], columns=rows[0])
        else:
            with open(path, encoding="utf-8-sig") as file:
                first = file.readline()
            separator = max(",;\t", key=first.count)
            names = _name_columns(first.strip().split(separator))
            options = {"header": None, "names": names} if names else {}
            table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, index_col=False, **options)
        return table.rename(columns=lambda name: str(name).strip())
    except ImportError as error:
        package = {".xls": "xlrd", ".parquet": "pyarrow"}.get(suffix, "openpyxl")
        raise ValueError(f"{path} is not read without {package}: pip install {package}, or save it as .csv") from error
    except (ValueError, TypeError, OSError, IndexError) as error:
        raise ValueError(f"{path} cannot be read ({error}): save it as .csv in UTF-8, or as .parquet") from error


def _name_columns(first: Sequence[object]) -> list[str]:
    """Names for the columns of a list without a header, given its first row; none where this names no image."""
    named = [isinstance(cell, str) and suffix_of(cell.strip(' "')) in ENDINGS for cell in first]
    splits = [str(cell).strip().lower() in SPLIT_NAMES for cell in first]
    others = "label" if len(named) - sum(splits) == 2 else "column {}"
    names = ["file" if image else "split" if splits[k] else others.format(k + 1) for k, image in enumerate(named)]
    return names if any(named) else []


def _list_rows(items: Mapping[str, Any]) -> list[Any] | Mapping[str, Any]:
    """The rows of a JSON object that has a list for each split, or something for each image; others as they are."""
    rows = []
    for key, value in items.items():
        if isinstance(value, list) and key.lower() not in SPLIT_NAMES:
            return items
        for item in value if isinstance(value, list) else [value if isinstance(value, dict) else [key, value]]:
            cells = item if isinstance(item, list) else [item]
            row = item if isinstance(item, dict) else dict(zip(("file", "label", "class_name"), cells, strict=False))
            rows.append({"split": key, **row} if isinstance(value, list) else {"file": key, **row})
    return rows


def lists_images(path: Path) -> bool:
    """Whether each of a text file's first lines, but for a header, names an image, in the same one of its columns."""
    try:
        with open(path, encoding="utf-8") as file:
            cells = _split_cells(file.read(4000))[:4]
    except (OSError, ValueError):
        return False
    rows = [_name_columns(row) for row in cells]
    rows = rows[1:] if len(rows) > 1 and not rows[0] else rows  # without a header
    named = bool(rows) and all(row == rows[0] and row.count("file") == 1 for row in rows)
    return named or _is_list_of_split(path, cells)


def _is_list_of_split(path: Path, rows: Sequence[Sequence[str]]) -> bool:
    """Whether a text file is named for a split, as train.txt is, and has a path on each line, its ending left out."""
    paths = [row[0] for row in rows if len(row) == 1 and "/" in row[0] and "//" not in row[0]]
    return path.stem.lower() in SPLIT_NAMES and bool(rows) and len(paths) == len(rows)


def _split_cells(text: str) -> list[list[str]]:
    return [re.split(r"[\s,;]+", line.strip()) for line in text.splitlines() if line.strip()]


def make_finder(files: Iterable[str], root: Path, masks: Collection[str] = ()) -> Find:
    """A function that gives the images which a value of a manifest in a folder may mean: see `read_entries`."""
    roots = [f"{place.as_posix()}/" for place in (root, root.resolve())]
    by_path, by_end = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for file in files:
        path = _without_ending(file)
        by_path[path].append(file)
        for end in _path_ends(path):
            by_end[end].append(file)

    def find(value: object, folder: Path) -> list[str]:
        if not isinstance(value, str):
            return []
        beside = f"{folder.as_posix().removeprefix(root.as_posix())}/".lstrip("/")  # the manifest's folder
        name = normalize("NFC", posixpath.normpath(value.strip().replace("\\", "/")))
        for prefix in roots:
            name = name.removeprefix(prefix)
        path = _without_ending(name)
        matches = by_path.get(beside + path) or by_path.get(path) or by_end.get(path)
        matches = matches or next((by_path[end] for end in _path_ends(path) if end in by_path), [])
        matches = [file for file in matches if file not in masks] or matches
        matches = [file for file in matches if file.startswith(beside)] or matches
        return [file for file in matches if normalize("NFC", file) in (name, beside + name)] or matches

    return find


def _without_ending(name: str) -> str:
    """A path without the ending of an image."""
    name, ending = normalize("NFC", name), suffix_of(name)
    return name[: len(name) - len(ending)] if ending in ENDINGS else name


def _path_ends(path: str) -> Iterator[str]:
    """A path without none, one, two ... of its upper folders."""
    while path:
        yield path
        path = path.partition("/")[2]


def _match_files(names: Iterable[str], find: Find, path: Path, root: Path) -> list[str]:
    """The file that each name means, without the folders that all names share where these are not here.

    Of several files that it may mean, if they are copies, the first.
    """
    paths = {name: "/" + name.strip().replace("\\", "/").lstrip("/") for name in names}
    shared = posixpath.commonpath([*map(posixpath.dirname, paths.values())]) if paths else ""
    matches = {
        name: find(name, path.parent) or find(posixpath.relpath(whole, shared), path.parent)
        for name, whole in paths.items()
    }
    if missing := [name for name in paths if not matches[name]]:
        first = missing[0]
        leads_out = posixpath.normpath(paths[first][1:]).startswith("..")
        if leads_out or PurePosixPath(first).is_absolute() or PureWindowsPath(first).drive:
            raise ValueError(f"{path}: {first!r} leads out of its folder: write paths relative to the manifest")
        text = f"{path} lists {len(missing)} of {len(paths)} images that are not in its folder: {examples(missing)}"
        raise ValueError(f"{text}. Add them, or take them off the list; paths are relative, and links are not followed")
    matches = {name: sorted(found) for name, found in matches.items()}
    for name, (first, *others) in matches.items():
        if any(not filecmp.cmp(root / first, root / other, shallow=False) for other in others):
            text = f"{path}: {name!r} may be {examples([first, *others])}: write the path, or move the table"
            raise ValueError(f"{text} into the folder of those that it means")
    return [matches[name][0] for name in names]


def _to_text(column: pd.Series) -> pd.Series:
    """Values as text: nothing is "", 1.0 is "1"."""
    text = column.astype("string").fillna("").str.strip()
    return text.str.replace(r"^(-?\d+)\.0$", r"\1", regex=True).astype(object)
