"""Manifests: tables (.csv, .parquet) that list images and say what they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING
from unicodedata import normalize

from dmws_lite.data.images import suffix_of
from dmws_lite.runtime.text import examples

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {  # names of columns, in any case; the first that is there is used
    "file": (
        *("file", "file_name", "filename", "path", "file_path", "filepath", "image", "image_path", "image_name"),
        *("image_file", "image_id", "image_index"),
    ),
    "label": ("label", "class", "class_name", "diagnosis", "dx", "category", "target"),
    "split": ("split", "subset", "partition"),
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id", "subjectid", "case_id", "lesion_id"),
    "frame": ("frame",),
}
SPLIT_NAMES = {
    **{"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"},
    **{"test": "test", "testing": "test"},
}
UNKNOWN = ("", "-", "?", "na", "n/a", "nan", "none", "null", "unknown")  # in the columns split and patient


def read_entries(path: Path, files: Sequence[str], columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """What a manifest says of the images in its folder.

    path:    a .csv (UTF-8; comma, semicolon or tab) or .parquet file.
    files:   paths of the images that are there, relative to the manifest's folder. A row may name one by this path,
             by this path without its ending, or by its name alone when no other image has it.
    columns: role ("file", "label", "split", "patient") to the column's name; the rest is looked for, see COLUMNS.
    Returns one row per row of the manifest: file (one of `files`), label, split, patient and frame, all text, "" where
    not said.
    Raises ValueError naming the manifest: it cannot be read, has no column with files, lists an image that is not
    there, outside its folder, or twice, labels some images only, or has a split that is none of SPLIT_NAMES.
    """
    import pandas as pd

    raw = _read(path)
    plain = {re.sub(r"[\s-]+", "_", str(name).strip().lower()): str(name) for name in raw}
    usual = {role: [plain[name] for name in names if name in plain] for role, names in COLUMNS.items()}
    roles = {role: names[0] for role, names in usual.items() if names} | dict(columns or {})
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
    table = pd.DataFrame({"file": _matched(names, files, path), **values}, dtype=object)
    for role in ("split", "patient"):
        table[role] = table[role].mask(table[role].str.lower().isin(UNKNOWN), "")
    splits = table["split"].str.lower().map({**SPLIT_NAMES, "": ""})
    if splits.isna().any():
        unknown = table["split"][splits.isna()].iloc[0]
        raise ValueError(f"{path}: split {unknown!r} is unknown: write one of {', '.join(SPLIT_NAMES)}")
    repeated = table["file"][table.duplicated(["file", "frame"])]
    if len(repeated):
        raise ValueError(f"{path} lists {len(repeated)} images twice: {examples(repeated)}. Keep one row of each")
    blank = table["file"][table["label"] == ""]
    if 0 < len(blank) < len(table):
        raise ValueError(
            f"{path} gives {len(blank)} of {len(table)} images no label: {examples(blank)}. "
            "Fill them in, or take them off the list"
        )
    return table.assign(split=splits)


def no_labels(path: Path) -> str:
    """Why a manifest gives no labels, and the way out."""
    raw = _read(path)
    columns = [name for name in raw if {*_text(raw[name])} == {"0", "1"}]
    if len(columns) > 1:
        return (
            f"{path} seems to hold a column of 0 and 1 for each class ({', '.join(columns)}): add one column 'label' "
            "with the class's name instead (in pandas, table[columns].idxmax(axis=1))"
        )
    return f"{path} has no column with labels: its columns are {', '.join(raw)}. Name one 'label'"


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        with open(path, encoding="utf-8") as file:
            separator = max(",;\t", key=file.readline().count)
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, index_col=False)
        return table.rename(columns=str.strip)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}): save it as .csv in UTF-8, or as .parquet") from error


def _text(column: pd.Series) -> pd.Series:
    """Values as text: nothing is "", 1.0 is "1"."""
    text = column.astype("string").fillna("").str.strip()
    return text.str.replace(r"^(-?\d+)\.0$", r"\1", regex=True).astype(object)


def _matched(names: Iterable[str], files: Iterable[str], path: Path) -> list[str]:
    """The file that each name means: by its path, else by path without ending, by name, by name without ending."""
    indexes: list[dict[str, list[str]]] = [{}, {}, {}, {}]
    for file in files:
        key = normalize("NFC", file)
        name, ending = key.rpartition("/")[2], len(suffix_of(key))
        for index, form in zip(indexes, (key, key[: len(key) - ending], name, name[: len(name) - ending]), strict=True):
            index.setdefault(form, []).append(file)
    plain = [normalize("NFC", _inside(name.strip(), path)) for name in names]
    matches = {name: next((index[name] for index in indexes if name in index), []) for name in plain}
    missing = [name for name in plain if not matches[name]]
    if missing:
        raise ValueError(
            f"{path} lists {len(missing)} of {len(plain)} images that are not in its folder: {examples(missing)}. "
            "Add them, or take them off the list; paths are relative to the manifest, and links are not followed"
        )
    if unclear := [name for name in plain if len(matches[name]) > 1]:
        raise ValueError(f"{path}: {unclear[0]!r} may be {examples(matches[unclear[0]])}: write the path")
    return [matches[name][0] for name in plain]


def _inside(name: str, path: Path) -> str:
    """A path of a manifest, relative to it and with forward slashes; refused when it leads out of its folder."""
    plain = PurePosixPath(name.replace("\\", "/").removeprefix(f"{path.parent.as_posix()}/"))
    if plain.is_absolute() or PureWindowsPath(name).drive or ".." in plain.parts:
        raise ValueError(f"{path}: {name!r} leads out of its folder: write paths relative to the manifest")
    return str(plain)
