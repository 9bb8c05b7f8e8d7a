"""Claims: one process at a time works in a folder.

A claim is a lock of the operating system on the folder itself. It leaves no file behind and ends with its process,
however that ends, so nothing has to be cleaned up after a kill. Where a system or a file system knows no such
locks, nothing is claimed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transmodal.data.files import check_folder
from transmodal.errors import InputError, Refused

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a folder, if need be, and keep other processes that claim it out of it; an empty one goes again.

    Raises:
        Refused: another process has claimed it.
        InputError: it is a file, or cannot be made.
    """
    check_folder(folder)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(f"{folder}: cannot be written ({problem.strerror}); choose another --out") from problem
    place = _lock(folder)
    try:
        yield
    finally:
        if place is not None:
            os.close(place)
        if made:
            with suppress(OSError):
                folder.rmdir()


def _lock(folder: Path) -> int | None:
    if fcntl is None:
        return None
    try:
        place = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        os.close(place)
        raise Refused(
            f"{folder}: another process is working in this folder; wait until it ends, or choose another --out"
        ) from problem
    except OSError:
        pass  # Not every file system over a network has locks.
    return place
