"""A signature is a schema: what is filled, what is refused, and with which words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from transmodal import schema
from transmodal.errors import RecipeError


@dataclass(frozen=True)
class Inner:
    lr: float = 0.5
    name: Literal["adam", "sgd"] = "adam"


@dataclass(frozen=True)
class Outer:
    needed: int
    size: tuple[int, ...] = (1,)
    pair: tuple[float, float] = (0.0, 1.0)
    flag: bool = False
    limit: float | None = None
    inner: Inner = field(default_factory=Inner)
    rest: Mapping[str, Any] = field(default_factory=dict)


def test_fills_nested_tables_and_converts_only_lists_and_whole_numbers() -> None:
    table = {"needed": 3, "size": [4, 5], "pair": [1, 2], "inner": {"lr": 1}, "limit": 2, "rest": {"a": [1]}}
    made = schema.make(Outer, table, "t")
    assert made == Outer(3, (4, 5), (1.0, 2.0), False, 2.0, Inner(1.0), {"a": [1]})
    assert isinstance(made.pair[0], float)
    assert isinstance(made.inner.lr, float)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, r"t\.needed: this key has no default"),
        ({"needed": 1, "sise": [1]}, r"t\.sise: there is no such key; did you mean 'size'\?"),
        ({"needed": 1.5}, r"t\.needed = 1\.5 is a float, not a whole number"),
        ({"needed": True}, r"t\.needed = True is a bool, not a whole number"),
        ({"needed": 1, "flag": 1}, r"t\.flag = 1 is a int, not true or false"),
        ({"needed": 1, "pair": [1, 2, 3]}, r"t\.pair = \[1, 2, 3\] is a list"),
        ({"needed": 1, "size": [1, "x"]}, r"t\.size\[1\] = 'x' is a str, not a whole number"),
        (
            {"needed": 1, "inner": {"name": "adm"}},
            r"t\.inner\.name = 'adm' is not one of 'adam', 'sgd'; did you mean",
        ),
        ({"needed": 1, "inner": {"rate": 1}}, r"t\.inner\.rate: there is no such key"),
        ({"needed": 1, "limit": "low"}, r"t\.limit = 'low' is a str"),
    ],
)
def test_refuses_with_key_and_remedy(table: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        schema.make(Outer, table, "t")


@pytest.mark.parametrize(
    ("word", "path", "value"),
    [
        ("training.steps=500", ["training", "steps"], 500),
        ("lr=6e-4", ["lr"], 6e-4),
        ("on=true", ["on"], True),
        ('names=["a","b"]', ["names"], ["a", "b"]),
        ("data.path=/scans/here", ["data", "path"], "/scans/here"),
        ("mask=labels", ["mask"], "labels"),
        ("empty=", ["empty"], ""),
        ("a=b=c", ["a"], "b=c"),
    ],
)
def test_words_are_read_as_toml_or_else_as_text(word: str, path: list[str], value: Any) -> None:
    assert schema.parse_word(word) == (path, value)


def test_a_word_without_equals_is_refused() -> None:
    with pytest.raises(RecipeError, match="key=value"):
        schema.parse_word("steps")


def test_override_leaves_the_table_alone_and_refuses_to_open_a_value() -> None:
    table = {"a": {"b": 1, "c": 2}}
    assert schema.override(table, ["a.b=7", "d.e=1"]) == {"a": {"b": 7, "c": 2}, "d": {"e": 1}}
    assert table == {"a": {"b": 1, "c": 2}}
    with pytest.raises(RecipeError, match="b is a value, not a table"):
        schema.override(table, ["a.b.c=1"])


def test_plain_is_what_make_takes_back() -> None:
    made = Outer(1, size=(2, 3), inner=Inner(0.25, "sgd"))
    assert schema.make(Outer, schema.plain(made), "t") == made
