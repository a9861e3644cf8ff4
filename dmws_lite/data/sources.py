"""Getting a data set: from a folder, the Hugging Face Hub, an address, Kaggle or MedMNIST to a folder here."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmws_lite.data import archives, class_folders
from dmws_lite.data.downloads import download, forget, recorded
from dmws_lite.runtime.files import cache_folder

if TYPE_CHECKING:
    from dmws_lite.data.cards import Card

KAGGLE = "https://www.kaggle.com/api/v1/datasets/download"
EXTRA = 'pip install "dmws-lite[hub]"'
COMMIT = re.compile(r"[0-9a-f]{40}")
LEADS_OUT = re.compile(r'"[/~\\]|\.\./|://')  # a path or address in JSON
IMAGES, DOWNLOADED = "images", ".downloaded"


def fetch(card: Card, progress: bool = True) -> Path:
    """The folder (or manifest) of a card's first source that is there or can be got.

    Sources are tried in the card's order. What was downloaded and unpacked is kept below cache_folder("downloads",
    card.name) and taken from there the next time, without a network.
    Raises ValueError for a phantom, which is drawn, not fetched; FileNotFoundError listing each source, why it failed
    and the way out (ImportError when a package is missing). Warns when a download failed and a later source was taken.
    """
    if any(source.phantom for source in card.sources):
        raise ValueError(f"{card.name} is a phantom: it is drawn, not fetched; call open_data({card.name!r})")
    failures: list[tuple[Any, Exception]] = []
    for source in card.sources:
        try:
            path = _get(source, card, progress)
        except (OSError, ValueError, ImportError) as error:
            failures.append((source, error))
            continue
        if failed := [f"{was}: {error}" for was, error in failures if not was.folder]:
            warnings.warn(f"{card.name} comes from {source}, because {'; '.join(failed)}", stacklevel=2)
        return path
    missing = any(isinstance(error, ImportError) for _, error in failures)
    lines = "\n".join(f"- {source}: {error}" for source, error in failures)
    raise (ImportError if missing else FileNotFoundError)(
        f"{card.name} cannot be got from any of its sources:\n{lines}\n"
        "Mend one of these, or get the data by hand and pass its folder as the source"
    )


def fetch_hub(repository: str, revision: str | None = None, progress: bool = True, name: str = "hub") -> Path:
    """The folder of a data set on the Hugging Face Hub, downloaded when it is not there.

    repository: "OWNER/NAME".
    revision:   a commit, branch or tag; None is the newest, with a warning that says which commit it was.
    name:       the folder in cache_folder("downloads") to keep it in.
    Archives in it are unpacked and Parquet files with images become class folders, where they are more than half of
    its bytes. No code is run: Python files are not even downloaded.
    Raises ConnectionError when it cannot be got, ValueError when its archives or tables cannot be used.
    """
    folder = cache_folder("downloads", name)
    target = folder / _slug(f"{repository}@{revision or 'newest'}")
    archives.build_folder(target, lambda part: _fill_from_hub(repository, revision, part, progress), resume=True)
    return target / IMAGES if (target / IMAGES / DOWNLOADED).exists() else target


def from_datasets(dataset: Any, progress: bool = True) -> Path:
    """The images of a `datasets` Dataset or DatasetDict as a folder of class folders, or of splits with these inside.

    See `class_folders.write_datasets` for the columns that are used. Kept in the cache by the data set's fingerprint.
    Raises ValueError naming what is missing.
    """
    with _extra("datasets"):
        splits = class_folders.splits_of(dataset)
    prints = " ".join(f"{split}:{part._fingerprint}" for split, part in sorted(splits.items()))
    target = cache_folder("downloads", "datasets") / hashlib.sha256(prints.encode()).hexdigest()[:24]
    return archives.build_folder(target, lambda part: class_folders.write_datasets(splits, part, progress))


def _get(source: Any, card: Card, progress: bool) -> Path:
    if source.folder:
        return _local(source.folder, card)
    if source.hub:
        return fetch_hub(source.hub, source.revision, progress, card.name)
    if source.url:
        return _fetch_archive(source.url, card.name, progress, source.sha256, source.size)
    if source.kaggle:
        return _fetch_kaggle(source, card.name, progress)
    return _fetch_medmnist(source.medmnist, source.image_size, card.name, progress)


def _local(place: str, card: Card) -> Path:
    """A folder or manifest on this machine: "~/x", "$VARIABLE/x", or relative to the card."""
    if place.startswith("$"):
        variable, _, rest = place[1:].partition("/")
        if not os.environ.get(variable):
            raise FileNotFoundError(f"the environment variable {variable} is not set")
        place = os.path.join(os.environ[variable], rest)
    path = (card.path.parent / Path(place).expanduser()).resolve()
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        raise FileNotFoundError(f"{path} is {'empty' if path.exists() else 'not there'}")
    return path


def _slug(text: str) -> str:
    """A file name that says what it is and is like no other's."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[-60:]
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _fetch_archive(
    url: str,
    name: str,
    progress: bool,
    sha256: str | None = None,
    size: int | None = None,
    login: Callable[[], Any] = lambda: None,
) -> Path:
    """The folder of an archive at an address; `login` gives what `requests` takes as auth."""
    folder = cache_folder("downloads", name)
    target = folder / _slug(url.split("://")[-1])
    archive = target.with_name(f"{target.name}.download")
    known = recorded(archive).get("sha256")
    if target.is_dir() and sha256 not in (None, known):
        raise ValueError(
            f"{target} was unpacked from a file with sha256 {known} instead of {sha256}: delete {target} to "
            "download it again, or correct the card"
        )

    def fill(part: Path) -> None:
        download(url, archive, sha256, size, progress, auth=login())
        try:
            archives.unpack_into(archive, part)
        except ValueError:
            forget(archive)
            raise

    archives.build_folder(target, fill)
    archive.unlink(missing_ok=True)
    return target


def _fetch_kaggle(source: Any, name: str, progress: bool) -> Path:
    """A data set on Kaggle by its public address; private ones, and those with terms, need Kaggle's own credentials."""
    version = getattr(source, "version", None)
    url = f"{KAGGLE}/{source.kaggle}" + (f"?dataset_version_number={version}" if version else "")
    try:
        return _fetch_archive(url, name, progress, login=_kaggle_credentials)
    except PermissionError as error:
        raise PermissionError(
            f"{error}. For Kaggle: accept the terms on its page, and put your token (kaggle.com, Settings, API) into "
            "~/.kaggle/kaggle.json or KAGGLE_USERNAME and KAGGLE_KEY"
        ) from error


def _kaggle_credentials() -> Any:
    """What Kaggle's own package finds in the environment, in ~/.kaggle or in Colab's secrets; else None."""
    with _extra("kagglehub"):
        from kagglehub.config import get_kaggle_credentials
    found = get_kaggle_credentials()
    if found is None:
        return None
    if token := getattr(found, "api_key", None):
        return lambda request: request.headers.update(Authorization=f"Bearer {token}") or request
    return found.username, found.key


@contextmanager
def _extra(package: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{package} is not installed: {EXTRA}") from error


def _fill_from_hub(repository: str, revision: str | None, part: Path, progress: bool) -> None:
    """Download a snapshot into `part`, once, and make folders of images from what is in it."""
    if not (part / DOWNLOADED).exists():
        _snapshot(repository, revision, part, progress)
        (part / DOWNLOADED).touch()
    archives.unpack_inside(part)
    held, tables = archives.share(part, (".parquet", ".arrow"))
    if held > 0.5:
        archives.build_folder(part / IMAGES, lambda folder: _from_tables(part, folder, progress))
        for table in tables:
            table.unlink(missing_ok=True)


def _snapshot(repository: str, revision: str | None, part: Path, progress: bool) -> None:
    from huggingface_hub import HfApi, snapshot_download, utils

    where = f"hub data set {repository}@{revision or 'newest'}"
    try:
        with _quiet(utils, progress):
            commit = revision if revision and COMMIT.fullmatch(revision) else None
            commit = commit or HfApi().dataset_info(repository, revision=revision).sha
            snapshot_download(repository, repo_type="dataset", revision=commit, local_dir=part, ignore_patterns="*.py")
    except Exception as error:  # of many libraries' kinds
        reason = str(error).strip().split("\n")[0]
        raise ConnectionError(
            f"{where} could not be downloaded ({type(error).__name__}: {reason}): check its name, the revision and the "
            "network; for one that is not public, `hf auth login`"
        ) from error
    if revision is None:
        warnings.warn(
            f"{where}: no revision was asked for; this is commit {commit}. Put `revision: {commit}` into the card, or "
            f"pass hf://datasets/{repository}@{commit}, so that everyone gets the same",
            stacklevel=2,
        )


def _from_tables(snapshot: Path, folder: Path, progress: bool) -> None:
    """Class folders from a snapshot's Parquet files; images must be in them, not in files that they name."""
    with _extra("datasets"):
        import datasets
    _check_configs(snapshot / "README.md")
    cache = snapshot / ".tables"
    try:
        with _quiet(datasets, progress):
            loaded = datasets.load_dataset(str(snapshot), cache_dir=str(cache), trust_remote_code=False)
    except Exception as error:  # of many libraries' kinds
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{snapshot} cannot be read as a data set ({reason}): load it yourself and pass it") from error
    class_folders.write_datasets(class_folders.splits_of(loaded), folder, progress, files=False)
    (folder / DOWNLOADED).touch()
    shutil.rmtree(cache, ignore_errors=True)


def _check_configs(readme: Path) -> None:
    """Refuse a hub data set whose README says to load files from elsewhere."""
    from huggingface_hub.repocard import metadata_load

    configs = (metadata_load(readme) or {}).get("configs") if readme.is_file() else None
    if LEADS_OUT.search(json.dumps(configs, default=str)):
        raise ValueError(f"{readme}: its configs lead out of the data set: load it yourself and pass it")


@contextmanager
def _quiet(library: Any, progress: bool) -> Iterator[None]:
    """Without the progress bars of `datasets` or `huggingface_hub.utils`, unless they are wanted."""
    change = not progress and not library.are_progress_bars_disabled()
    if change:
        library.disable_progress_bars()
    try:
        yield
    finally:
        if change:
            library.enable_progress_bars()


def _fetch_medmnist(flag: str, size: int, name: str, progress: bool) -> Path:
    """A MedMNIST set as split and class folders of PNG files; its address, md5 and classes are the package's."""
    target = cache_folder("downloads", name) / f"{flag}-{size}"
    if target.is_dir():
        return target
    with _extra("medmnist"):
        from medmnist import INFO
    suffix = "" if size == 28 else f"_{size}"
    info = INFO.get(flag)
    if info is None or f"url{suffix}" not in info:
        known = [key for key, value in INFO.items() if f"url{suffix}" in value]
        close = difflib.get_close_matches(flag, known, 1)
        raise ValueError(f"medmnist {flag!r} at {size} px is unknown: write {close[0] if close else ', '.join(known)}")
    if info["task"].startswith("multi-label") or flag.endswith("3d"):
        raise ValueError(f"medmnist {flag!r} has several labels an image, or volumes: write another")
    file = target.with_suffix(".npz")

    def fill(part: Path) -> None:
        download(info[f"url{suffix}"], file, progress=progress, md5=info[f"MD5{suffix}"])
        class_folders.write_medmnist(file, list(info["label"].values()), part, progress)

    archives.build_folder(target, fill)
    file.unlink(missing_ok=True)
    return target
