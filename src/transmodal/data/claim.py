"""Claims: one process at a time works in a folder.

A claim is a lock of the operating system on the folder itself. It leaves no file behind and ends with its process,
however that ends, so nothing has to be cleaned up after a kill. Where a system or a file system knows no such
locks, nothing is claimed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transmodal import progress
from transmodal.data.files import check_folder
from transmodal.errors import InputError, Refused

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def claimed(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Make a folder, if need be, and keep other processes that claim it out of it; an empty one goes again.

    Args:
        folder: to work in.
        wait: until another process that has claimed it gives it back.

    Raises:
        Refused: another process has claimed it, and nobody waits.
        InputError: it is a file, or cannot be made.
    """
    check_folder(folder)
    made = not folder.exists()
    place = _claim(folder, wait)
    try:
        yield
    finally:
        if made:
            # Before the claim ends: who waits for it then sees that the folder is gone.
            with suppress(OSError):
                folder.rmdir()
        if place is not None:
            os.close(place)


def _claim(folder: Path, wait: bool) -> int | None:
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise InputError(
                f"{folder}: cannot be written ({problem.strerror}); choose another --out"
            ) from problem
        if fcntl is None:
            return None
        try:
            place = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        try:
            _lock(place, folder, wait)
        except BaseException:
            os.close(place)
            raise
        with suppress(OSError):
            if os.path.samestat(os.fstat(place), os.stat(folder)):
                return place
        # Whoever held it took the empty folder away: the lock is on nothing.
        os.close(place)


def _lock(place: int, folder: Path, wait: bool) -> None:
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        if wait:
            progress.say(f"{folder}: another process is working in this folder; waiting until it has written")
            fcntl.flock(place, fcntl.LOCK_EX)
            return
        raise Refused(
            f"{folder}: another process is working in this folder; wait until it ends, or choose another --out"
        ) from problem
    except OSError:
        pass  # Not every file system over a network has locks.
