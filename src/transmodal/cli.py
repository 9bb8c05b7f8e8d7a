"""The command line: which command the words ask for, and how it ends."""

import errno
import signal
import sys
import threading
import traceback
from functools import reduce
from operator import or_
from types import FrameType
from typing import Annotated, Any

import tyro

from transmodal import __version__, progress
from transmodal.commands import COMMANDS, Command, Voice
from transmodal.errors import InputError, RecipeError, TransmodalError

_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""What a disk answers that is full, read-only, somebody else's or dying."""
_NAMES = (errno.ENAMETOOLONG, errno.ELOOP)
"""What it answers to a name that is too long, and to links in a circle."""
_TRAINING = ("torch", "lightning_fabric", "safetensors", "matplotlib")
"""What comes with the extra ``train``."""


def parse(words: list[str] | None = None) -> Command:
    """The command that the words ask for; ends the process with 2 when they make no sense."""
    named = (Annotated[c, tyro.conf.subcommand(c.__name__.lower(), description=c.__doc__)] for c in COMMANDS)
    choice: Any = reduce(or_, named)
    return tyro.cli(
        choice,
        args=words,
        prog="transmodal",
        description="Cross-modality medical image synthesis. Synthetic images: research use only.",
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
    )


def run(words: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code, as :mod:`transmodal.errors` lists them.
    """
    words = sys.argv[1:] if words is None else words
    if words == ["--version"]:
        print(f"transmodal {__version__}")
        return 0
    command = parse(words)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _as_interrupt)
    getattr(command, "voice", Voice()).use()
    try:
        command.run()
    except TransmodalError as problem:
        return _fail(str(problem), problem.exit_code)
    except KeyboardInterrupt:
        again = "run it again to go on (train: with --resume)"
        return _fail(f"interrupted; what was finished before is whole; {again}", 130)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except MemoryError:
        return _fail(
            "there is not enough memory for this; close other programs, or ask for less at once (train and "
            "synthesize say by --dry-run what they need)",
            InputError.exit_code,
        )
    except OSError as problem:
        if problem.errno in _NAMES:
            return _fail(f"{problem.filename}: cannot be a path ({problem.strerror})", InputError.exit_code)
        if problem.errno not in _STORAGE:
            return _internal(problem)
        where = f"{problem.filename}: " if problem.filename else ""
        again = "what was finished before is whole; make room or choose another --out, and run it again"
        return _fail(f"{where}cannot be written ({problem.strerror}); {again}", InputError.exit_code)
    except ModuleNotFoundError as problem:
        if problem.name not in _TRAINING:
            return _internal(problem)
        extra = "pip install 'transmodal[train]' (an exported model is used without it)"
        return _fail(f"this needs {problem.name}, which is not installed: {extra}", RecipeError.exit_code)
    except Exception as problem:
        return _internal(problem)
    return 0


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    """A scheduler's SIGTERM ends a command as Ctrl-C does: what is open is closed, leftovers are cleared away."""
    raise KeyboardInterrupt


def _internal(problem: Exception) -> int:
    traceback.print_exc()
    return _fail(f"internal error ({type(problem).__name__}); please report the lines above", 1)


def _fail(message: str, code: int) -> int:
    if progress.voice() == "json":
        progress.event("error", message=message, exit_code=code)
    else:
        print(f"transmodal: {message}", file=sys.stderr)
    return code
