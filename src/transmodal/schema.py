"""A signature is a schema: fill a constructor from a table of a recipe, or say in a sentence why not.

Works on any callable with annotated keyword arguments, so settings (frozen dataclasses) and methods
(``nn.Module`` classes) are checked by the same few lines and their defaults are written once.
"""

import inspect
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar

from transmodal.errors import RecipeError, nearest

Made = TypeVar("Made")


def make(constructor: Callable[..., Made], table: Mapping[str, Any], where: str, *given: Any) -> Made:
    """Call ``constructor(*given, **table)`` after checking every key and type against its signature.

    Args:
        constructor: a class or function with annotated arguments; those that are themselves frozen
            dataclasses are filled from nested tables.
        table: keys and values as TOML gives them: lists where tuples are wanted, ints where floats are.
        where: name of the table, for messages, such as ``training.optimizer``.
        *given: leading positional arguments that are not the table's business.

    Raises:
        RecipeError: an unknown key (with the nearest known one), a wrong type, or a missing key.
    """
    known = arguments(constructor, skip=len(given))
    for key in table:
        if key not in known:
            raise RecipeError(f"{where}.{key}: there is no such key{nearest(key, known)}")
    filled = {key: coerce(value, known[key].annotation, f"{where}.{key}") for key, value in table.items()}
    missing = [k for k, p in known.items() if p.default is inspect.Parameter.empty and k not in filled]
    if missing:
        raise RecipeError(f"{where}.{missing[0]}: this key has no default; it must be there")
    return constructor(*given, **filled)


def arguments(constructor: Callable[..., Any], skip: int = 0) -> dict[str, inspect.Parameter]:
    """Name → parameter of everything that a table may set, in order."""
    parameters = list(inspect.signature(constructor).parameters.values())[skip:]
    return {p.name: p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}


def coerce(value: Any, wanted: Any, where: str) -> Any:
    """``value`` as the annotated type; lists become tuples and ints floats, nothing else is converted.

    Raises:
        RecipeError: naming the key, the type wanted and what arrived.
    """
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted in (Any, inspect.Parameter.empty):
        return value
    if is_dataclass(wanted) and isinstance(wanted, type):
        if isinstance(value, wanted):
            return value
        if isinstance(value, Mapping):
            return make(wanted, value, where)
    elif origin is Literal:
        if value in inner:
            return value
        hint = nearest(str(value), [str(i) for i in inner])
        raise RecipeError(f"{where} = {value!r} is not one of {', '.join(repr(i) for i in inner)}{hint}")
    elif origin in (typing.Union, types.UnionType):
        for choice in inner:
            try:
                return coerce(value, choice, where)
            except RecipeError:
                continue
    elif wanted is type(None):
        if value is None:
            return None
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            kinds = [inner[0]] * len(value) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
            if len(kinds) == len(value):
                pairs = enumerate(zip(value, kinds, strict=True))
                return tuple(coerce(v, kind, f"{where}[{i}]") for i, (v, kind) in pairs)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            kind = inner[1] if inner else Any
            return {k: coerce(v, kind, f"{where}.{k}") for k, v in value.items()}
    elif wanted is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(value, float) or abs(value) <= sys.float_info.max:
            return float(value)
    elif (
        isinstance(wanted, type) and isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
    ):
        return value
    raise RecipeError(f"{where} = {value!r} is a {type(value).__name__}, not {_spell(wanted)}")


def _spell(wanted: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(wanted, str(wanted).replace("collections.abc.", "").replace("typing.", ""))


def parse_word(word: str) -> tuple[list[str], Any]:
    """``training.optimizer.lr=1e-4`` → (path, value); the value is read as TOML, else taken as text.

    Raises:
        RecipeError: the word has no ``=``.
    """
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise RecipeError(f"{word!r} is not understood; overrides are written key=value, as in training.steps=500")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    return key.strip().split("."), value


def override(table: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A copy of ``table`` with ``key=value`` words laid over it."""
    merged = _copy(table)
    for word in words:
        path, value = parse_word(word)
        place = merged
        for step in path[:-1]:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise RecipeError(f"{word!r}: {step} is a value, not a table")
        place[path[-1]] = value
    return merged


def _copy(table: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in table.items()}


def plain(settings: Any) -> Any:
    """Settings as JSON holds them: dataclasses become dicts and tuples lists, all the way down."""
    if is_dataclass(settings) and not isinstance(settings, type):
        return {f.name: plain(getattr(settings, f.name)) for f in fields(settings)}
    if isinstance(settings, Mapping):
        return {k: plain(v) for k, v in settings.items()}
    if isinstance(settings, (list, tuple)):
        return [plain(v) for v in settings]
    return settings
