from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.data.splits import fold
from transmodal.errors import InputError, RecipeError


@dataclass(frozen=True)
class Person:
    name: str
    subject: str
    split: str | None = None


def people(n, sessions=1, start=0):
    return [Person(f"p{i}_{s}", f"p{i}") for i in range(start, start + n) for s in range(sessions)]


@given(st.integers(3, 40), st.integers(3, 6), st.integers(1, 3))
@settings(max_examples=40)
def test_folds_partition_people(n, folds, sessions):
    folds = min(folds, n)
    cases, stored = people(n, sessions), None
    tested: list[str] = []
    for number in range(folds):
        split, stored = fold(cases, number, folds, stored=stored)
        parts = [{name.split("_")[0] for name in part} for part in (split.train, split.val, split.test)]
        assert sum(len(part) for part in parts) == len(set.union(*parts)) == n
        assert len(split.train) + len(split.val) + len(split.test) == n * sessions
        tested += split.test
    assert sorted(tested) == sorted(case.name for case in cases)
    sizes = Counter(stored["folds"][str(folds)].values())
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_no_one_moves_when_people_join():
    first, stored = fold(people(7), 1, 3)
    second, grown = fold(people(13), 1, 3, stored=stored)
    assert set(first.train) <= set(second.train)
    assert set(first.val) <= set(second.val)
    assert set(first.test) <= set(second.test)
    sizes = Counter(grown["folds"]["3"].values())
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_the_order_of_the_cases_does_not_matter():
    assert fold(people(9), 0, 3)[1] == fold(people(9)[::-1], 0, 3)[1]


def test_a_known_assignment_stays_what_it_was_in_earlier_versions():
    assert fold(people(6), 0, 3)[1]["folds"]["3"] == {"p0": 0, "p2": 1, "p3": 2, "p5": 0, "p4": 1, "p1": 2}


def test_a_split_column_wins():
    cases = [
        Person("a", "a", "train"),
        Person("b", "b", "val"),
        Person("c", "c", "test"),
        Person("d", "d", "train"),
    ]
    split, stored = fold(cases, 0, 5)
    assert (split.train, split.val, split.test) == (("a", "d"), ("b",), ("c",))
    assert stored["folds"] == {}
    with pytest.raises(RecipeError, match="leave it at 0"):
        fold(cases, 1, 5)
    with pytest.raises(RecipeError, match="val part of the split has no case"):
        fold([c for c in cases if c.split != "val"], 0, 5)


@pytest.mark.parametrize(
    ("n", "number", "folds", "words"),
    [
        (4, 0, 5, r"data\.folds = 5 is more than the 4 subjects; give fewer folds \(3 to 4\)"),
        (4, 4, 4, r"data\.fold = 4: give 0 to 3"),
        (4, -1, 4, r"data\.fold = -1: give 0 to 3"),
        (4, 0, 2, r"data\.folds = 2: give at least 3"),
    ],
)
def test_folds_that_cannot_be_made(n, number, folds, words):
    with pytest.raises(RecipeError, match=words):
        fold(people(n), number, folds)


def test_a_part_that_empties_is_refused():
    _, stored = fold(people(3), 0, 3)
    hands = stored["folds"]["3"]
    left = [p for p in people(3) if hands[p.subject] != 1] + [Person("q", next(s for s in hands if hands[s] == 2))]
    more = [*left, Person("r", next(s for s in hands if hands[s] == 0))]
    with pytest.raises(RecipeError, match="more than the 2 subjects"):
        fold(more, 0, 3, stored=stored)


def test_another_file_is_refused():
    with pytest.raises(InputError, match=r"splits\.json"):
        fold(people(5), 0, 3, stored={"format": "other"})
