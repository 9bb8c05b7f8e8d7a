"""Records: JSON files that we wrote and read again. Somebody may have damaged or changed them in between.

::

    with as_written(path, "prepare the dataset again"):
        known = fields_of(read_json(path), {"name": str, "folds": Mapping[str, int]}, "splits")
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transmodal.errors import InputError, RecipeError
from transmodal.schema import coerce

_STRANGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, RecipeError)


@contextmanager
def as_written(path: Path, remedy: str) -> Iterator[None]:
    """A block that takes a record at its word; where that fails, a sentence names the file.

    Args:
        path: of the record.
        remedy: what to do about a damaged one.

    Raises:
        InputError: the block stumbled over what it read.
    """
    try:
        yield
    except _STRANGE as problem:
        what = " ".join(str(problem).split())[:200]
        raise InputError(
            f"{path}: is damaged, or of another version ({type(problem).__name__}: {what}); {remedy}"
        ) from problem


def fields_of(stored: Any, kinds: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Key → its value as the type that it must have (:func:`transmodal.schema.coerce`); other keys are left out.

    Raises:
        RecipeError: a wrong type, or not an object at all.
        KeyError: a key is missing.
    """
    table = coerce(stored, Mapping[str, Any], where)
    return {key: coerce(table[key], kind, f"{where}.{key}") for key, kind in kinds.items()}
