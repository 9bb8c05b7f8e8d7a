"""Every error that Transmodal raises on purpose, and the exit code that each one ends a command with.

::

    TransmodalError             1  something inside went wrong
    ├── Diverged                1  a loss or a gradient became NaN or infinite
    ├── RecipeError             2  a recipe, an option or a word on the command line is wrong
    ├── InputError              3  a file or a folder that was given cannot be used
    ├── PartialFailure          4  some cases of a batch failed; the others are written
    └── Refused                 5  a guard refused; ``--force`` overrides it

A message is one sentence or two: what is wrong, where (file, case, key), what arrived, what to do.
Ctrl-C ends a command with 130, as shells expect.
"""

import difflib
from collections.abc import Iterable
from typing import Any


class TransmodalError(Exception):
    """Something inside went wrong; all errors below are of this kind."""

    exit_code = 1


class Diverged(TransmodalError):
    """A loss or a gradient became NaN or infinite.

    Attributes:
        turn: where in the training (:class:`transmodal.training.divergence.Turn`).
    """

    def __init__(self, message: str, turn: Any):
        super().__init__(message)
        self.turn = turn


class RecipeError(TransmodalError):
    """A recipe, an option or a word on the command line is wrong."""

    exit_code = 2


class InputError(TransmodalError):
    """A file or a folder that was given cannot be used."""

    exit_code = 3


class PartialFailure(TransmodalError):
    """Some cases of a batch failed; the others are written.

    Attributes:
        failures: name of the case → the sentence that says what went wrong with it.
    """

    exit_code = 4

    def __init__(self, message: str, failures: dict[str, str]):
        super().__init__(message)
        self.failures = failures


class Refused(TransmodalError):
    """A guard refused to go on; ``--force`` overrides it."""

    exit_code = 5


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped word: ``"; did you mean 'width'?"``, or the list of what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(names) or 'none'}"


def of_library(problem: Exception) -> str:
    """What a library says of a case that it could not do: the end of its message, on one line."""
    said = " ".join(str(problem).split())[-200:]
    if isinstance(problem, MemoryError):
        said = f"{said or 'it needs more than is left'}; close something, or resample the images"
    return f"{type(problem).__name__}: {said}"
