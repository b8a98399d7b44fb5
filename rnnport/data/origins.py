"""Where the files of built-in sets come from: this machine, the cache, or their public origin."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from rnnport.data.sequences import read_bytes
from rnnport.errors import DataError, FetchError, MissingExtraError

DATA_FOLDER = "RNNPORT_DATA"
CACHE_FOLDER = "RNNPORT_CACHE"


@dataclass(frozen=True)
class Origin:
    """A file of a built-in set, with what its bytes must add up to."""

    name: str  # as its origin names it
    folder: str  # where it lies under $RNNPORT_DATA; the folder itself is looked into, too
    urls: tuple[str, ...]
    sha256: str  # of the file as it is downloaded
    content: str  # sha256 of the unpacked content, however it is packed here

    def variants(self) -> tuple[str, ...]:
        """The names under which a user may hold the file: packed or not."""
        plain = self.name.removesuffix(".gz")
        return (plain, f"{plain}.gz")


def find(origin: Origin) -> tuple[Path, bytes]:
    """A file and its unpacked content, from ``$RNNPORT_DATA``, the cache or its origin.

    Raises:
        DataError: the file that lies here is not the one of that name.
        FetchError: it is nowhere here and cannot be downloaded.
        MissingExtraError: the downloader is not installed.
    """
    path = _local(origin) or _download(origin)
    content = read_bytes(path)
    found = hashlib.sha256(content).hexdigest()
    if found != origin.content:
        raise DataError(
            f"{path} is not the {origin.name} that is expected: its content has sha256 {found}, "
            f"not {origin.content}; remove it, or put the original there"
        )
    return path, content


def _local(origin: Origin) -> Path | None:
    root = os.environ.get(DATA_FOLDER)
    if not root:
        return None
    places = (Path(root) / origin.folder, Path(root))
    files = (place / name for place in places for name in origin.variants())
    return next((file for file in files if file.is_file()), None)


def _download(origin: Origin) -> Path:
    try:
        import pooch
    except ImportError as error:
        raise MissingExtraError("pooch", "data", f"downloading {origin.name}") from error
    folder = Path(os.environ.get(CACHE_FOLDER) or pooch.os_cache("rnnport")) / origin.folder
    problems = []
    for url in origin.urls:
        try:
            return Path(pooch.retrieve(url, f"sha256:{origin.sha256}", origin.name, folder))
        except (OSError, ValueError) as error:  # no network; a wrong checksum
            problems.append(f"{url}: {' '.join(str(error).split())[:120]}")
    raise FetchError(
        f"{origin.name} is not on this machine and could not be downloaded: {'; '.join(problems)}. "
        f"Put the file into the folder {folder}, or set {DATA_FOLDER} to a folder with "
        f"{origin.folder}/{origin.name}"
    )
