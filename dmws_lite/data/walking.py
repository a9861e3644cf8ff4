"""Walking through folders: which files are images, and what is passed over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dmws_lite.data import images

IMAGES = (*images.SUFFIXES, *images.DICOM, *images.NIFTI)
JUNK = ("__MACOSX", "@eaDir")  # left behind by archives and file servers; hidden files are passed over too
BYPRODUCTS = {  # what lies beside images without being one
    *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".xml", ".parquet", ".xls", ".xlsx", ".ods"),
    *(".md", ".rst", ".html", ".htm", ".css", ".js", ".pdf", ".doc", ".docx", ".tex", ".bib", ".log"),
    *(".py", ".ipynb", ".sh", ".m", ".r", ".db", ".ini", ".lnk", ".url", ".md5", ".sha256"),
}
NAMED = ("dicomdir", "readme", "license", "licence", "notice")  # the same, without an ending
_NO_ENDING, _IRREGULAR = "without an ending", "no regular file"


class Tree(NamedTuple):
    """What a folder holds, as paths relative to it: images, folders, links that cannot be followed, and other files.

    others: path to kind (".webp") of what is neither an image nor a usual by-product.
    """

    files: list[str]
    folders: list[str]
    links: list[str]
    others: dict[str, str]


def walk(root: Path, tops: tuple[str, ...] = ()) -> Tree:
    """All that is below a folder, hidden files and JUNK aside; of its own subfolders only `tops` when any are given.

    Images are regular files with an ending of IMAGES, and DICOM files without one.
    """
    tree, pending, home = Tree([], [], [], {}), [""], os.path.realpath(root)
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir()
                if entry.name.startswith(".") or entry.name in JUNK:
                    continue
                if is_folder and tops and not folder and entry.name not in tops:
                    continue
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink() and not is_file_inside(entry.path, home):
                    if is_folder or entry.name.lower().endswith(IMAGES):
                        tree.links.append(path)
                elif is_folder:
                    tree.folders.append(path)
                    pending.append(path)
                elif not entry.is_file():
                    tree.others[path] = _IRREGULAR
                elif is_image(entry.path):
                    tree.files.append(path)
                elif kind := _kind(entry.name.lower()):
                    tree.others[path] = kind
    return tree


def is_file_inside(path: str | Path, home: str) -> bool:
    """Whether a path leads, through links too, to a regular file in the folder whose real path is `home`."""
    return os.path.realpath(path).startswith(home + os.sep) and os.path.isfile(path)


def is_image(path: str) -> bool:
    """Whether a file is an image: by its ending, or a DICOM file that has none."""
    name = os.path.basename(path).lower()
    if images.suffix_of(name) or name in NAMED:
        return name.endswith(IMAGES)
    return os.path.isfile(path) and images.is_dicom(path)  # reading from a pipe would not end


def visible(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the folders, and of the files, in a folder."""
    with os.scandir(folder) as entries:
        found = [(e.name, e.is_dir()) for e in entries if not e.name.startswith(".") and e.name not in JUNK]
    return sorted(name for name, is_folder in found if is_folder), sorted(name for name, folder in found if not folder)


def tally(things: Iterable[str], text: str) -> str:
    """How often each thing is there, the most frequent first: `text` with its name and count, the first five of them.

    >>> tally(["b", "a", "b"], "{0} ({1} files)")
    'b (2 files), a (1 files)'
    """
    counts = sorted(Counter(things).items(), key=lambda item: (-item[1], item[0]))
    if len(counts) > 6:
        counts = [*counts[:5], (f"{len(counts) - 5} more", sum(count for _, count in counts[5:]))]
    return ", ".join(text.format(name, count) for name, count in counts)


def _kind(name: str) -> str:
    """What a file that is no image is, by its name; "" for by-products."""
    suffix = images.suffix_of(name)
    return "" if suffix in BYPRODUCTS or name in NAMED else suffix or _NO_ENDING
