"""Manifests: tables (.csv, .parquet) that list images and say what they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING
from unicodedata import normalize

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


def listed(path: Path, files: Sequence[str], columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """What a manifest says of the images in its folder.

    path:    a .csv (UTF-8; comma, semicolon or tab) or .parquet file.
    files:   paths of the images that are there, relative to the manifest's folder. A row may name one by this path,
             by this path without its ending, or by its name alone when no other image has it.
    columns: role ("file", "label", "split", "patient") to the column's name; the rest is looked for, see COLUMNS.
    Returns a row a row of the manifest: file (one of `files`), label, split, patient (each "" where not said), and
    frame (text, "" where not said).
    Raises ValueError naming the manifest: it cannot be read, has no column with files, lists an image that is not
    there, outside its folder, or twice, or has a split that is none of SPLIT_NAMES.
    """
    import pandas as pd

    raw = _read(path)
    found = _columns(raw, path, columns or {})
    if "file" not in found:
        raise ValueError(
            f"{path} has no column with the images' files: its columns are {', '.join(raw)}. Name one 'file', "
            "or give the manifest another name if it is no list of images"
        )
    names = raw[found["file"]]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"{path}: column {found['file']!r} holds no file names. If it holds the images themselves, "
            f"pass datasets.load_dataset({path.suffix[1:]!r}, data_files=...)"
        )
    said = {role: _text(raw[found[role]]) if role in found else "" for role in COLUMNS if role != "file"}
    table = pd.DataFrame({"file": _matched(names, files, path), **said}, dtype=object)
    for role in ("split", "patient"):
        table[role] = table[role].mask(table[role].str.lower().isin(UNKNOWN), "")
    table["split"] = _splits(table["split"], path)
    twice = table[table.duplicated(["file", "frame"])]
    if len(twice):
        raise ValueError(f"{path} lists {len(twice)} images twice: {some(twice['file'])}. Keep one row of each")
    return table


def no_labels(path: Path) -> str:
    """Why a manifest gives no labels, and the way out."""
    raw = _read(path)
    columns = [name for name in raw if set(_text(raw[name])) == {"0", "1"}]
    if len(columns) > 1:
        return (
            f"{path} seems to hold a column of 0 and 1 for each class ({', '.join(columns)}): add one column 'label' "
            "with the class's name instead (in pandas, table[columns].idxmax(axis=1))"
        )
    return f"{path} has no column with labels: its columns are {', '.join(raw)}. Name one 'label'"


def joined(placed: pd.DataFrame, said: pd.DataFrame, path: Path, expected: Iterable[str]) -> pd.DataFrame:
    """What folders and manifests say together.

    placed:   file, split and label by folder, "" where a folder does not say.
    said:     from `listed`; where both say, they must agree. Folders that bear no class's name say nothing of labels.
    path:     the manifest, for errors.
    expected: files that must be listed.
    Raises ValueError naming files that are not listed, or on which the two disagree.
    """
    expected = [*expected]
    unlisted = sorted({*expected} - {*said["file"]})
    if unlisted:
        raise ValueError(
            f"{path} does not list {len(unlisted)} of {len(expected)} images: {some(unlisted)}. "
            "Add or delete them, or pass the manifest itself as the source to use only what it lists"
        )
    table = said.merge(placed, on="file", suffixes=("", "_folder"))
    classes = set(table["label"].str.lower()) & set(table["label_folder"].str.lower()) - {""}
    for column in ("split", "label") if classes else ("split",):
        told, folder = table[column], table[f"{column}_folder"]
        differ = table["file"][(told.str.lower() != folder.str.lower()) & (told != "") & (folder != "")]
        if len(differ):
            raise ValueError(
                f"{path} and the folders disagree on the {column} of {len(differ)} images: {some(differ)}. "
                "Move the files, or correct the manifest"
            )
    if not table["label"].any():
        table["label"] = table["label_folder"]
    return table.assign(split=table["split"].where(table["split"] != "", table["split_folder"]))


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        with open(path, encoding="utf-8") as file:
            separator = max(",;\t", key=file.readline().count)
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, index_col=False).rename(
            columns=str.strip
        )
    except ImportError as error:
        raise ImportError(f'{path} needs pyarrow: pip install "dmws-lite[hub]", or save it as .csv') from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}): save it as .csv in UTF-8, or as .parquet") from error


def _columns(raw: pd.DataFrame, path: Path, told: Mapping[str, str]) -> dict[str, str]:
    """Role to the column's name in the file, for the roles that it has."""
    gone = [name for name in told.values() if name not in raw]
    if gone:
        raise ValueError(f"{path} has no column {gone[0]!r}: its columns are {', '.join(raw)}")
    plain = {re.sub(r"[\s-]+", "_", str(name).strip().lower()): str(name) for name in raw}
    found = {role: [plain[name] for name in names if name in plain] for role, names in COLUMNS.items()}
    return {role: names[0] for role, names in found.items() if names} | dict(told)


def _text(column: pd.Series) -> pd.Series:
    """Values as text: nothing is "", 1.0 is "1"."""
    text = column.astype("string").fillna("").str.strip()
    return text.str.replace(r"^(-?\d+)\.0$", r"\1", regex=True).astype(object)


def _splits(values: pd.Series, path: Path) -> pd.Series:
    names = values.str.lower().map({**SPLIT_NAMES, "": ""})
    if names.isna().any():
        raise ValueError(
            f"{path}: split {values[names.isna()].iloc[0]!r} is unknown: write one of {', '.join(SPLIT_NAMES)}"
        )
    return names


def _matched(names: Sequence[str], files: Sequence[str], path: Path) -> list[str]:
    """The file that each name means."""
    exact = {normalize("NFC", file): file for file in files}
    wanted = [normalize("NFC", _inside(name.strip(), path)) for name in names]
    loose: list[dict[str, list[str]]] = [{}, {}, {}]
    if any(name not in exact for name in wanted):
        for key, file in exact.items():
            for place, index in zip((_stem(key), _name(key), _stem(_name(key))), loose, strict=True):
                index.setdefault(place, []).append(file)
    found = [[exact[name]] if name in exact else next((d[name] for d in loose if name in d), []) for name in wanted]
    missing = [name for name, candidates in zip(wanted, found, strict=True) if not candidates]
    if missing:
        raise ValueError(
            f"{path} lists {len(missing)} of {len(wanted)} images that are not in its folder: {some(missing)}. "
            "Add them, or take them off the list; paths are relative to the manifest, and links are not followed"
        )
    for name, candidates in zip(wanted, found, strict=True):
        if len(candidates) > 1:
            raise ValueError(f"{path}: {name!r} may be {some(candidates)}: write the path")
    return [candidates[0] for candidates in found]


def _inside(name: str, path: Path) -> str:
    """A path of a manifest with forward slashes; refused when it leads out of the folder."""
    plain = PurePosixPath(name.replace("\\", "/"))
    if plain.is_absolute() or PureWindowsPath(name).drive or ".." in plain.parts:
        raise ValueError(f"{path}: {name!r} leads out of its folder: write paths relative to the manifest")
    return str(plain)


def _name(file: str) -> str:
    return file.rpartition("/")[2]


def _stem(file: str) -> str:
    from dmws_lite.data.images import suffix_of

    return file[: len(file) - len(suffix_of(file))]


def some(names: Iterable[str]) -> str:
    """The first five of some names, as text."""
    names = [*names]
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
