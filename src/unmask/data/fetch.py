"""Find the files of a built-in data set, and download those that are missing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unmask.data.dataset import DataError, needed


@dataclass(frozen=True, kw_only=True)
class Source:
    """The files of one data set: the folders that may hold them, and the address that publishes them.

    Attributes:
        name: of the data set, and of its folder in the cache.
        folders: looked into under each root, in this order; ``"."`` is the root itself.
        url: what the published files' names are appended to.
        md5: published file (``.gz`` or ``.tar.gz``) to the MD5 checksum of its bytes.

    Example:
        >>> source = Source(name="none", folders=(".",), url="http://127.0.0.1/", md5={})
        >>> source(["images"], data_dir=None, download=False)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        unmask.data.dataset.DataError: none: images not found together in ...
    """

    name: str
    folders: tuple[str, ...]
    url: str
    md5: Mapping[str, str]

    def __call__(self, files: Sequence[str], *, data_dir: Path | None, download: bool) -> list[Path]:
        """Return the paths of ``files``, plain or with ``.gz`` appended, all in one folder; downloaded if need be.

        Raises:
            DataError: they are nowhere, or the download failed; the message says where to put them.
        """
        roots = _roots(data_dir)
        found = self._find(files, roots)
        if found is None and download:
            self._download(files, roots)
            found = self._find(files, roots)
        if found is None:
            places = ", ".join(map(str, roots)) or "any folder"
            raise DataError(f"{self.name}: {', '.join(files)} not found together in {places}; {self._advice(roots)}")
        return found

    def _find(self, files: Sequence[str], roots: Sequence[Path]) -> list[Path] | None:
        for folder in (root / name for root in roots for name in self.folders):
            found = [path for file in files if (path := _plain_or_gzipped(folder / file))]
            if len(found) == len(files):
                return found
        return None

    def _download(self, files: Sequence[str], roots: Sequence[Path]) -> None:
        pooch = needed("pooch", f"{self.name}: downloading it")
        known = {published: f"md5:{digest}" for published, digest in self.md5.items()}
        cache = pooch.create(path=roots[-1] / self.name, base_url=self.url, registry=known, retry_if_failed=1)
        for published in self.md5:
            archive = published.endswith(".tar.gz")
            if not archive and published.removesuffix(".gz") not in files:
                continue
            try:
                cache.fetch(published, processor=pooch.Untar(extract_dir=".") if archive else None, progressbar=True)
            except (OSError, ValueError) as error:
                reason = " ".join(str(error).split())
                raise DataError(
                    f"{self.name}: could not download {self.url}{published} ({reason}); {self._advice(roots)}"
                ) from error

    def _advice(self, roots: Sequence[Path]) -> str:
        name = "name the folder that has them (UNMASK_DATA)"
        return f"put the files into {roots[0] / self.folders[0]}, or {name}" if roots else name


def _roots(data_dir: Path | None) -> list[Path]:
    """Return the folders to look in: the one given, the environment's, the user's cache. Those named must exist."""
    named = {"data_dir": data_dir, "UNMASK_DATA": os.environ.get("UNMASK_DATA")}
    roots = {name: Path(folder) for name, folder in named.items() if folder}
    for name, root in roots.items():
        if not root.is_dir():
            raise DataError(f"{name}: expected a folder, got {root}")
    return [*roots.values(), *_cache()]


def _cache() -> list[Path]:
    """Return the user's cache; none without the extra ``data``, which downloads into it."""
    try:
        import platformdirs
    except ImportError:
        return []
    return [platformdirs.user_cache_path("unmask")]


def _plain_or_gzipped(path: Path) -> Path | None:
    gzipped = path.with_name(f"{path.name}.gz")
    return path if path.is_file() else gzipped if gzipped.is_file() else None
