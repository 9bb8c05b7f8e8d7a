"""Files are never half-written: a temporary name in the same folder, fsync, rename.

A process that is killed leaves its temporary files behind. Their names say whose they are, so that whoever works
in the folder next can clear them away (:func:`clear_leftovers`) and leave those of a living process alone.
"""

import hashlib
import json
import math
import os
import platform
import re
import shutil
import time
import tomllib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transmodal.data.limits import MOST_TEXT, check_plain, read_whole
from transmodal.errors import InputError, RecipeError

_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_PART = re.compile(r"\..+\.([0-9a-f]{8})\.(\d+)\.part")
_REPLACED = re.compile(r"\.(.+)\.replaced")
_STALE = 24 * 3600.0
"""Seconds after which a temporary file of another machine counts as left behind."""


def part(path: Path) -> Path:
    """The name under which this process writes what becomes ``path``: hidden, in the same folder."""
    return path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.part")


def clear_leftovers(folder: Path) -> None:
    """Remove what killed processes left below a folder; a folder that they were about to replace comes back."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob(".*")):
        if (old := _REPLACED.fullmatch(path.name)) and path.is_dir():
            whole = path.with_name(old[1])
            _remove(path) if whole.exists() else os.rename(path, whole)
        elif (found := _PART.fullmatch(path.name)) and _is_abandoned(path, found[1], int(found[2])):
            _remove(path)


def bring_back(folder: Path) -> None:
    """Put a folder back in its place that a process was about to replace when it was killed."""
    folder = Path(os.path.realpath(folder))
    old = folder.with_name(f".{folder.name}.replaced")
    if folder.exists() or not old.is_dir():
        return
    for path in folder.parent.iterdir():
        found = _PART.fullmatch(path.name) if path.name.startswith(f".{folder.name}.") else None
        if found and not _is_abandoned(path, found[1], int(found[2])):
            return  # It lives, and is between its two renames.
    with suppress(OSError):
        os.rename(old, folder)


def _is_abandoned(path: Path, host: str, process: int) -> bool:
    if host != _HOST:
        with suppress(OSError):
            return time.time() - path.stat().st_mtime > _STALE
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return process == os.getpid()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all; makes the folder.

    Raises:
        InputError: no permission, or the disk is full.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all; makes the folder.

    Raises:
        InputError: no permission, or the disk is full.
    """
    temporary = part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        raise InputError(f"{path}: cannot be written ({problem.strerror}); choose another --out") from problem
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_folder(path: Path) -> None:
    """Refuse a path that cannot become a folder, because it or a part of it is a file.

    Raises:
        InputError: names the file.
    """
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise InputError(f"{nearest}: is a file where a folder is needed; choose another --out")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def strict(content: Any) -> Any:
    """The same for strict JSON, which knows neither NaN nor infinity: they become None."""
    if isinstance(content, Mapping):
        return {key: strict(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [strict(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: missing, not readable, or not JSON.
    """
    try:
        return json.loads(read_whole(path, MOST_TEXT).decode("utf-8"))
    except FileNotFoundError as problem:
        raise InputError(f"{path}: there is no such file; check the path") from problem
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror}); check its mode and owner") from problem
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path}: is not valid JSON ({problem}); it was changed or damaged") from problem


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file that a user wrote; ``what`` it is, for messages: a recipe, a suite.

    Raises:
        InputError: missing, or not readable.
        RecipeError: not TOML.
    """
    try:
        return tomllib.loads(read_whole(path, MOST_TEXT).decode("utf-8"))
    except FileNotFoundError as problem:
        raise InputError(f"{path}: there is no such {what}; see recipes/ for examples") from problem
    except (IsADirectoryError, ValueError, RecursionError) as problem:
        raise RecipeError(f"{path}: is not a TOML file ({problem})") from problem
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror}); check its mode and owner") from problem


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers in names by their value."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p) for p in parts]


def fingerprint(files: Sequence[Path]) -> dict[str, Any]:
    """Size and time of every file, and the sha256 of them all; for :func:`is_same`.

    Raises:
        InputError: one of them is a pipe or a device.
    """
    digest = hashlib.sha256()
    for file in files:
        check_plain(file)
        with open(file, "rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return {"stamps": _stamps(files), "sha256": digest.hexdigest()}


def is_same(files: Sequence[Path], known: Mapping[str, Any]) -> bool:
    """Whether they hold what they held; they are only read if the sizes are the same and a time is not."""
    stamps = _stamps(files)
    if stamps == known["stamps"]:
        return True
    sizes, before = ([size for size, _ in s] for s in (stamps, known["stamps"]))
    return bool(sizes == before and fingerprint(files)["sha256"] == known["sha256"])


def _stamps(files: Sequence[Path]) -> list[list[int]]:
    return [[stat.st_size, stat.st_mtime_ns] for stat in (file.stat() for file in files)]


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that takes the place of ``path`` when the block ends well, and vanishes when it does not.

    Where ``path`` is a link, what it leads to is replaced.

    Raises:
        InputError: no permission, or the disk is full.
    """
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        bring_back(path)
        temporary = part(path)
        _remove(temporary)
        temporary.mkdir()
    except OSError as problem:
        raise InputError(f"{path}: cannot be written ({problem.strerror}); choose another --out") from problem
    try:
        yield temporary
        old = path.with_name(f".{path.name}.replaced")
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            # Between these two renames nothing lies at ``path``; bring_back puts the old folder there again.
            os.rename(path, old)
        os.rename(temporary, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
