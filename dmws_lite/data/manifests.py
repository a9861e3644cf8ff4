"""Manifests: tables (.csv, .tsv, .parquet, .xlsx, .json, .jsonl) that list images and say what they are."""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING
from unicodedata import normalize

from dmws_lite.data.images import DICOM, SUFFIXES, suffix_of
from dmws_lite.data.names import SPLIT_NAMES
from dmws_lite.runtime.text import examples

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".csv", ".tsv", ".parquet", ".xlsx", ".xls", ".json", ".jsonl")
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
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id", "subjectid", "case_id", "lesion_id"),
    "frame": ("frame",),
}
UNKNOWN = ("", "-", "?", "na", "n/a", "nan", "none", "null", "unknown")  # in the columns split and patient
UNCERTAIN = {"", "-1", "uncertain", "unknown", "nan"}  # beside 0 and 1


def read_entries(
    path: Path, files: Sequence[str], columns: Mapping[str, str] | None = None, root: Path | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """What a manifest says of the images in a folder, and notes on how it was read.

    files:   paths of the images that are there, relative to root (the manifest's folder). A row may name one by this
             path, without its ending, by the end of its path, or by its name alone when no other image has it.
    columns: role ("file", "label", "split", "patient") to the column's name; the rest is looked for, see COLUMNS.
    Returns a row for each row of the manifest: file (one of `files`), label, split, patient and frame, all text, ""
    where not said. Raises ValueError naming the manifest.
    """
    import pandas as pd

    raw, root, notes = read_table(path), root or path.parent, []
    roles = column_roles(raw, files, columns)
    missing = [name for name in roles.values() if name not in raw] + ["file"] * ("file" not in roles)
    if missing:
        raise ValueError(
            f"{path} has no column {missing[0]!r}: its columns are {', '.join(map(str, raw))}. Name the one with the "
            "images' files 'file', or give the table another name if it is no list of images"
        )
    names = raw[roles["file"]]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"{path}: column {roles['file']!r} holds no file names. If it holds the images themselves, "
            f"pass datasets.load_dataset({path.suffix[1:]!r}, data_files=...)"
        )
    values = {role: _text(raw[roles[role]]) if role in roles else "" for role in COLUMNS if role != "file"}
    table = pd.DataFrame({"file": _matched(names, files, path, root), **values}, dtype=object)
    stems = {_forms(file)[3] for file in files}
    more = [name for name in raw if name != roles["file"] and (2 * _known(raw[name], stems) > len(raw))]
    if more := [name for name in more if not {*_stems(raw[name])} & {*_stems(names)}]:
        notes.append(f"{path}: the images are those of column {roles['file']!r}; {examples(more)} name others")
    others = [name for name in _usual(raw)["label"] if name != roles.get("label")]
    if "label" not in roles and (scores := findings(raw)) and (_numbers(raw[scores]) == 1).sum(axis=1).eq(1).all():
        table["label"] = _numbers(raw[scores]).idxmax(axis=1)
        notes.append(f"{path}: the label is the one of {examples(scores)} that is 1")
    elif others and not (columns or {}).get("label"):
        calls = " or ".join(f"label={name!r}" for name in others)
        notes.append(f"{path}: the label is column {roles['label']!r}; open_data(..., {calls}) takes another")
    for role in ("split", "patient"):
        table[role] = table[role].mask(table[role].str.lower().isin(UNKNOWN), "")
    splits = table["split"].str.lower().map({**SPLIT_NAMES, "": ""})
    if splits.isna().any():
        unknown = table["split"][splits.isna()].iloc[0]
        raise ValueError(f"{path}: split {unknown!r} is unknown: write one of {', '.join(SPLIT_NAMES)}")
    table = table.drop_duplicates(ignore_index=True) if len(table) else table
    repeated = table["file"][table.duplicated(["file", "frame"])]
    if len(repeated):
        raise ValueError(f"{path} lists {len(repeated)} images twice: {examples(repeated)}. Keep one row of each")
    return table.assign(split=table["split"].str.lower().map({**SPLIT_NAMES, "": ""})), notes


def check_labels(table: pd.DataFrame, path: Path) -> None:
    """Refuse several labels in one, values that say "not known", and labels that are missing."""
    labels = table["label"]
    counts = Counter(labels)
    numbers = {"1" if label in ("1", "true") else label for label in map(str.lower, counts)}
    if {"0", "1"} <= numbers and numbers - {"0", "1"} <= UNCERTAIN and len(numbers) > 2:
        told = ", ".join(f"{count} {label or 'blank'}" for label, count in sorted(counts.items()))
        raise ValueError(
            f"{path}: beside 0 and 1 its labels hold other values ({told}), which often mean uncertain or not "
            "mentioned, and are no class. Write 0 or 1 in their place, or take those rows off the list (in pandas, "
            "table[table[column].isin([0, 1])])"
        )
    blank = table["file"][labels == ""]
    if 0 < len(blank) < len(table):
        raise ValueError(
            f"{path} gives {len(blank)} of {len(table)} images no label: {examples(blank)}. "
            "Fill them in, or take them off the list"
        )
    for mark in "|;, ":
        joined = [label for label in counts if mark in label and (mark != " " or {*label.split()} <= {*counts})]
        parts = Counter(part.strip(" []'\"") for label in joined for part in label.split(mark))
        again = sum(part in counts or count > 1 for part, count in parts.items())
        if joined and (mark != "," or 2 * again >= len(parts) or joined[0][0] == "["):
            number = sum(counts[label] for label in joined)
            raise ValueError(
                f"{path}: {number} of {len(table)} images have several labels, joined by {mark!r}: {joined[0]!r}. This "
                "project classifies one label an image. Keep the rows with one label, or add a column that says "
                f"whether one is there (in pandas, table[column].str.contains({next(iter(parts))!r})) and pass its "
                "name, open_data(..., label=NAME)"
            )


def no_labels(path: Path) -> str:
    """Why a manifest gives no labels, and the way out."""
    raw = read_table(path)
    if scores := findings(raw):
        return (
            f"{path} seems to hold a column of 0 and 1 for each finding ({', '.join(scores)}), of which several or "
            "none are 1 in some rows. This project classifies one label an image: "
            f"open_data({str(path)!r}, label={scores[0]!r}) takes one of them"
        )
    groups = {str(name): raw[name].astype(str).nunique() for name in raw}
    likely = [name for name, count in groups.items() if 1 < count <= len(raw) // 2] or [*groups]
    calls = " or ".join(
        f"open_data({str(path)!r}, label={name!r})" for name in sorted(likely, key=lambda n: groups[n])[:3]
    )
    return (
        f"{path} has no column with labels: its columns are {', '.join(groups)}. Name one 'label', or pass the one "
        f"that it is: {calls}"
    )


def findings(raw: pd.DataFrame) -> list[str]:
    """The columns of 0 and 1 (also -1 and blank), where there are several."""
    columns = [str(name) for name in raw if {"1"} < {*_text(raw[name])} <= {"0", "1", "-1", ""}]
    constant = [str(name) for name in raw if {*_text(raw[name])} == {"0"}]
    return [name for name in raw if name in columns + constant] if len(columns) > 1 else []


def listed(raw: pd.DataFrame, files: Iterable[str]) -> list[str]:
    """The paths, without ending, of the images that a table lists in its files' column, one for each row."""
    stems = {_forms(file)[3] for file in files}
    names = [_forms(str(name).replace("\\", "/")) for name in raw.get(column_roles(raw, files).get("file"), ())]
    return [name[1] for name in names if name[3] in stems]


def column_roles(raw: pd.DataFrame, files: Iterable[str], columns: Mapping[str, str] | None = None) -> dict[str, str]:
    """Which column is what: as told, else by its name; the files' column also by what is in it."""
    roles = {role: names[0] for role, names in _usual(raw).items() if names} | dict(columns or {})
    stems = {_forms(file)[3] for file in files}
    if "file" not in (columns or {}) and stems:
        best = max([*_usual(raw)["file"], *raw], key=lambda name: _known(raw[name], stems), default="")
        if best in raw and _known(raw[best], stems):
            roles["file"] = best
    return roles


def _stems(names: Iterable[object]) -> list[str]:
    return [_forms(name.replace("\\", "/"))[3] for name in names if isinstance(name, str)]


def _known(names: Iterable[object], stems: set[str]) -> int:
    """How many values of a column name an image that is there."""
    return sum(stem in stems for stem in _stems(names))


def read_table(path: Path, rows: int | None = None) -> pd.DataFrame:
    """A table (the first rows of it) as text, where its kind does not know better."""
    import pandas as pd

    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return pd.read_parquet(path)
        if suffix in (".xlsx", ".xls"):
            table = pd.read_excel(path, dtype=str, keep_default_na=False, nrows=rows)
        elif suffix in (".json", ".jsonl"):
            text = path.read_text("utf-8")
            items = [*map(json.loads, text.splitlines())] if suffix == ".jsonl" else json.loads(text)
            if isinstance(items, dict) and not any(isinstance(value, list | dict) for value in items.values()):
                items = [{"file": file, "label": value} for file, value in items.items()]
            table = pd.DataFrame(items).astype(object)
            table = table.map(lambda value: "|".join(map(str, value)) if isinstance(value, list) else value)
            table = table.where(table.notna(), "")
        else:
            with open(path, encoding="utf-8") as file:
                separator = max(",;\t", key=file.readline().count)
            table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, index_col=False, nrows=rows)
        return table.rename(columns=lambda name: str(name).strip())
    except ImportError as error:
        raise ValueError(
            f"{path} is not read here: save it as .csv, or pip install {'xlrd' if suffix == '.xls' else 'openpyxl'}"
        ) from error
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}): save it as .csv in UTF-8, or as .parquet") from error


def _usual(raw: pd.DataFrame) -> dict[str, list[str]]:
    """The columns that have a usual name of each role, in the order of COLUMNS."""
    plain = {re.sub(r"[\s-]+", "_", str(name).strip().lower()): str(name) for name in raw}
    return {role: [plain[name] for name in names if name in plain] for role, names in COLUMNS.items()}


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    return table.apply(_text).replace("", "0").astype(float)


def _text(column: pd.Series) -> pd.Series:
    """Values as text: nothing is "", 1.0 is "1"."""
    text = column.astype("string").fillna("").str.strip()
    return text.str.replace(r"^(-?\d+)\.0$", r"\1", regex=True).astype(object)


def _forms(file: str) -> tuple[str, str, str, str]:
    """A path, without its ending, its name, and that without its ending."""
    key = normalize("NFC", file)
    name, ending = key.rpartition("/")[2], len(suffix_of(key))
    return key, key[: len(key) - ending], name, name[: len(name) - ending]


def _matched(names: Iterable[str], files: Iterable[str], path: Path, root: Path) -> list[str]:
    """The file that each name means: by its path, else by path without ending, by name, by name without ending."""
    indexes: list[dict[str, list[str]]] = [{}, {}, {}, {}]
    for file in files:
        for index, form in zip(indexes, _forms(file), strict=True):
            index.setdefault(form, []).append(file)

    plain = [normalize("NFC", _inside(name.strip(), path, root)) for name in names]
    shared = min((name.rpartition("/")[0] for name in plain), default="")
    while shared and not all(name.startswith(f"{shared}/") for name in plain):
        shared = shared.rpartition("/")[0]
    above = [shared[:k] for k in range(len(shared) + 1) if not k or shared[k : k + 1] in ("", "/")]

    def find(name: str) -> list[str]:
        below = [name.removeprefix(folder).removeprefix("/") for folder in above]  # folders above ours, in all names
        below += [
            _forms(form)[1] for form in below if suffix_of(form) in (*SUFFIXES, *DICOM)
        ]  # saved with another ending
        return next((index[form] for form in below for index in indexes if form in index), [])

    matches = {name: find(name) for name in plain}
    missing = [name for name in plain if not matches[name]]
    if missing and (PurePosixPath(missing[0]).is_absolute() or PureWindowsPath(missing[0]).drive):
        raise ValueError(f"{path}: {missing[0]!r} leads out of its folder: write paths relative to the manifest")
    if missing:
        raise ValueError(
            f"{path} lists {len(missing)} of {len(plain)} images that are not in its folder: {examples(missing)}. "
            "Add them, or take them off the list; paths are relative to the manifest, and links are not followed"
        )
    if unclear := [name for name in plain if len(matches[name]) > 1]:
        raise ValueError(f"{path}: {unclear[0]!r} may be {examples(matches[unclear[0]])}: write the path")
    return [matches[name][0] for name in plain]


def _inside(name: str, path: Path, root: Path) -> str:
    """A path of a manifest with forward slashes, relative to root when it leads into it; refused with .. out of it."""
    plain = posixpath.normpath(name.replace("\\", "/")) if name else name
    for folder in (root, root.resolve(), path.parent):
        plain = plain.removeprefix(f"{folder.as_posix()}/")
    below = path.parent.relative_to(root).as_posix() if path.parent.is_relative_to(root) else "."
    if plain.startswith("../"):
        plain = posixpath.normpath(posixpath.join(below, plain))
    if plain.startswith(".."):
        raise ValueError(f"{path}: {name!r} leads out of its folder: write paths relative to the manifest")
    return plain
