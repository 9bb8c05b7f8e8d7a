"""A resolved recipe as TOML text, which ``transmodal train`` reads back."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(table: Mapping[str, Any]) -> str:
    """TOML of nested tables, texts, numbers, booleans and lists; a key without a value (None) is left out."""
    return "\n".join(_lines(table, ())).strip() + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    values = {name: v for name, v in table.items() if v is not None and not isinstance(v, Mapping)}
    lines = [f"{key(name)} = {value(v)}" for name, v in values.items()]
    if path and (lines or not table):
        lines.insert(0, f"[{'.'.join(key(name) for name in path)}]")
    for name, inner in table.items():
        if isinstance(inner, Mapping):
            lines += ["", *_lines(inner, (*path, name))] if lines else _lines(inner, (*path, name))
    return lines


def key(name: str) -> str:
    """A key as TOML: quoted where it must be."""
    return name if _BARE.fullmatch(name) else _text(name)


def value(given: Any) -> str:
    """One value as TOML."""
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, float):
        return repr(given) if math.isfinite(given) else {math.inf: "inf", -math.inf: "-inf"}.get(given, "nan")
    if isinstance(given, Mapping):
        inner = ", ".join(f"{key(k)} = {value(v)}" for k, v in given.items() if v is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(given, (list, tuple)):
        return f"[{', '.join(value(item) for item in given if item is not None)}]"
    return str(given) if isinstance(given, int) else _text(str(given))


def _text(text: str) -> str:
    # JSON escapes what TOML wants escaped, but for one control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
