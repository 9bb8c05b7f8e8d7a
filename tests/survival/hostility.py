"""What hostile files have in common: nasty values, where a tree of JSON takes them, and how often it is tried."""

import copy
import os
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tally import TALLY

from transmodal.errors import TransmodalError

fuzz = settings(
    max_examples=int(os.environ.get("TRANSMODAL_HOSTILE", 40)),
    derandomize="TRANSMODAL_HOSTILE" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
NASTY: list[Any] = [
    None, True, -1, 0, 7, 10**6, 10**9, 10**30, -1e308, 1e308, float("nan"), float("inf"), "", "x" * 2000,
    "../../evil", "/etc/passwd", "a\0b", "\ud800", 10**400, -1e-300,
    "os.path", "T1w", [], {}, [[]], {"a": {}}, [1] * 500, [None], [10**9, 10**9],
]  # fmt: skip
CHANGES = st.lists(st.tuples(st.integers(0, 9999), st.integers(0, len(NASTY))), min_size=1, max_size=2)


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON tree."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from places(tree[key])


def changed(tree: Any, changes: list[tuple[int, int]]) -> Any:
    """The tree with some values replaced by nasty ones, or left out."""
    tree = copy.deepcopy(tree)
    for at, which in changes:
        found = list(places(tree))
        container, key = found[at % len(found)]
        if which < len(NASTY):
            container[key] = copy.deepcopy(NASTY[which])
        else:
            del container[key]
    return tree


def or_a_sentence(work: Callable[[], Any]) -> None:
    """Anything but an answer or an error of ours fails the test; which of the two it was is counted."""
    try:
        work()
    except TransmodalError:
        TALLY["hostile files refused"] += 1
    else:
        TALLY["hostile files read"] += 1
