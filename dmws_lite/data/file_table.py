"""The files below a folder in one table: which lie where, and which are images, tables or neither."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from dmws_lite.data import images, manifests, names
from dmws_lite.data.cards import Card
from dmws_lite.data.manifests import ENDINGS, MANIFESTS
from dmws_lite.data.sets import SPLITS

JUNK = ("__MACOSX", "@eaDir")  # left behind by archives and file servers; hidden files are passed over too
BYPRODUCTS = {  # what lies beside images without being one
    *(".txt", ".yaml", ".yml", ".toml", ".xml", ".ods", ".md", ".rst", ".html", ".htm", ".css", ".js", ".pdf", ".doc"),
    *(".docx", ".tex", ".bib", ".log", ".py", ".ipynb", ".sh", ".m", ".r", ".db", ".ini", ".lnk", ".url", ".md5"),
    ".sha256",
}
NAMED = ("dicomdir", "readme", "license", "licence", "notice")  # the same, without an ending


def enter_single_folders(root: Path, card: Card | None) -> Path:
    """The folder that holds the layout: the card's root, and folders that hold nothing but one folder are entered."""
    if card and card.root != ".":
        inner = root / card.root
        if not inner.is_dir() or not inner.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{card.path}: root: {card.root} is no folder inside {root}: pass the one that holds it")
        root = inner
    marks = {*(card.class_folders if card else ()), *([card.manifest] if card and card.manifest else MANIFESTS)}
    while folder := _only_folder(root, marks):
        root = folder
    return root


def _only_folder(root: Path, marks: set[str]) -> Path | None:
    """The one folder that a folder holds; None where it holds more, or where the layout begins (one of `marks`)."""
    paths = [path for path in root.iterdir() if _is_visible(path.name)]
    folders = [path for path in paths if path.is_dir()]
    if len(folders) != 1 or folders[0].is_symlink() or names.roles([folders[0].name])[folders[0].name] in SPLITS:
        return None
    begins = any((root / name).exists() for name in marks)
    begins = begins or any(_kind_of_file(str(path), root) in ("image", "table") for path in paths)
    inside = any(path.is_dir() or path.name in marks for path in folders[0].iterdir())
    return folders[0] if inside and not begins else None


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in JUNK


def list_files(root: Path) -> pd.DataFrame:
    """Each visible file below a folder, one row each: file (relative to root), folder, kind (see `_kind_of_file`)."""

    def refuse(error: OSError) -> None:
        raise error

    rows = []
    for parent, folders, files in os.walk(root, onerror=refuse):
        folders[:] = filter(_is_visible, folders)
        folder = "" if parent == str(root) else Path(parent).relative_to(root).as_posix()
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in filter(_is_visible, [*files, *links]):
            kind = _kind_of_file(os.path.join(parent, name), root)
            rows.append((f"{folder}/{name}".lstrip("/"), folder, kind))
    return pd.DataFrame(rows, columns=["file", "folder", "kind"], dtype=object)


def _kind_of_file(path: str, root: Path) -> str:
    """What a file is: "image", "table", "" for by-products, "link" out of the root or to a folder, or its ending."""
    name = os.path.basename(path).lower()
    suffix = images.suffix_of(name)
    if os.path.islink(path) and not (os.path.isfile(path) and Path(path).resolve().is_relative_to(root.resolve())):
        return "link" if os.path.isdir(path) or name.endswith((*ENDINGS, *manifests.TABLES)) else ""
    if not os.path.isfile(path):
        return "no regular file"  # reading from a pipe would not end
    if suffix in manifests.TABLES or (suffix == ".txt" and manifests.lists_images(Path(path))):
        return "table"
    if name in NAMED or suffix in BYPRODUCTS:
        return ""
    if not suffix:
        return "image" if images.is_dicom(path) else "without an ending"
    return "image" if suffix in ENDINGS else suffix
