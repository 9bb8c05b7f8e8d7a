"""Subsets: the people of an evaluation by what a table says of them, so that a mean cannot hide whom it fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

_WORDS = 6
"""A column of more different words than this names people rather than groups."""


@dataclass(frozen=True)
class Subset:
    """Some of the people.

    Attributes:
        column: of the table.
        name: what they share, ``F`` or ``below 76.5``.
        cases: their names.
    """

    column: str
    name: str
    cases: tuple[str, ...]


def subsets(facts: Mapping[str, Mapping[str, str]]) -> list[Subset]:
    """Groups of cases, column by column.

    A column of numbers gives two groups, below its median and from it on; a column of a few words gives one for
    each. A column that does not divide the cases gives none, nor one that names nearly everybody. Who has no
    entry is in no group.

    Args:
        facts: case → column → what the table says.
    """
    columns = dict.fromkeys(column for own in facts.values() for column in own)
    found: list[Subset] = []
    for column in columns:
        said = {case: own[column].strip() for case, own in facts.items() if own.get(column, "").strip()}
        groups = _by_number(said) or _by_word(said)
        found += [Subset(column, name, tuple(cases)) for name, cases in groups.items()]
    return found


def _by_number(said: Mapping[str, str]) -> dict[str, Sequence[str]]:
    try:
        numbers = {case: float(word) for case, word in said.items()}
    except ValueError:
        return {}
    if len(set(numbers.values())) <= _WORDS:
        return {}
    middle = median(numbers.values())
    below = [case for case, number in numbers.items() if number < middle]
    return {
        f"below {middle:.4g}": below,
        f"{middle:.4g} and above": [case for case in numbers if case not in below],
    }


def _by_word(said: Mapping[str, str]) -> dict[str, Sequence[str]]:
    words = sorted(set(said.values()))
    if not 1 < len(words) <= min(_WORDS, len(said) / 2):
        return {}
    return {word: [case for case, own in said.items() if own == word] for word in words}
