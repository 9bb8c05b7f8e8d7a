"""Recognition: what is one's own is found, what is another's is not, and ties count against."""

import numpy as np
import pytest

from transmodal.errors import InputError
from transmodal.evaluation.recognition import recognise, sample

RNG = np.random.default_rng(0)
MASK = RNG.random((12, 13, 14)) < 0.7
MAPS = {f"sub-{i}": sample(RNG.normal(size=MASK.shape), MASK) for i in range(5)}


def test_a_measured_map_recognises_itself() -> None:
    for one in recognise(MAPS, MAPS):
        assert (one.rank, one.own) == (1, pytest.approx(1))
        assert one.margin == pytest.approx(1 - one.best)


def test_maps_that_are_exchanged_are_recognised_as_each_other() -> None:
    names = list(MAPS)
    turned = dict(zip(names, [MAPS[name] for name in [*names[1:], names[0]]], strict=True))
    found = recognise(turned, MAPS)
    assert [one.other for one in found] == [*names[1:], names[0]]
    assert all(one.rank > 1 and one.margin < 0 for one in found)


def test_one_map_for_all_is_recognised_once_and_a_constant_never() -> None:
    same = dict.fromkeys(MAPS, MAPS["sub-3"])
    assert [one.rank == 1 for one in recognise(same, MAPS)] == [False, False, False, True, False]
    flat = dict.fromkeys(MAPS, sample(np.ones(MASK.shape), MASK))
    assert {one.rank for one in recognise(flat, MAPS)} == {5}


def test_correlation_is_numpys_in_both_masks() -> None:
    first, second = RNG.normal(size=(2, *MASK.shape))
    other = RNG.random(MASK.shape) < 0.7
    found = recognise({"a": sample(first, MASK)}, {"a": sample(second, other), "b": MAPS["sub-0"]})[0]
    both = MASK & other
    assert found.own == pytest.approx(np.corrcoef(first[both], second[both])[0, 1], abs=1e-6)


def test_large_maps_are_thinned_alike_and_single_or_unequal_ones_refused() -> None:
    large = np.random.default_rng(1).normal(size=(90, 90, 90))
    assert len(sample(large, large > 0).values) == 45**3
    with pytest.raises(InputError, match="two subjects or more on one grid"):
        recognise({"a": MAPS["sub-0"]}, {"a": MAPS["sub-0"]})
    with pytest.raises(InputError, match="maps of 2 shapes"):
        recognise(MAPS, MAPS | {"sub-9": sample(large, large > 0)})


def test_maps_of_one_size_and_other_shapes_are_refused() -> None:
    turned = sample(RNG.normal(size=MASK.shape).transpose(2, 0, 1), MASK.transpose(2, 0, 1))
    assert len(turned.values) == len(MAPS["sub-0"].values)
    with pytest.raises(InputError, match="maps of 2 shapes"):
        recognise(MAPS, MAPS | {"sub-9": turned})


def test_another_session_of_the_same_person_is_not_another_person() -> None:
    """The made map of one visit is the measured map of the other: alone it loses, as one person it wins."""
    visits = {"a1": MAPS["sub-0"], "a2": MAPS["sub-1"], "b": MAPS["sub-2"], "c": MAPS["sub-3"]}
    made = {"a1": MAPS["sub-1"], "b": MAPS["sub-2"]}
    alone = recognise(made, visits)
    assert (alone[0].other, alone[0].among) == ("a2", 4)
    assert alone[0].rank > 1
    first, second = recognise(made, visits, {"a1": "a", "a2": "a"})
    assert first.other in ("b", "c")
    assert (first.among, second.among) == (3, 4)
    assert first.best == pytest.approx(
        max(np.corrcoef(MAPS["sub-1"].values[both], other.values[both])[0, 1]
            for other in (MAPS["sub-2"], MAPS["sub-3"]) for both in [MASK.ravel()]), abs=1e-6
    )  # fmt: skip
    with pytest.raises(InputError, match="1 subjects"):
        recognise({"a1": visits["a1"]}, {"a1": visits["a1"], "a2": visits["a2"]}, {"a1": "a", "a2": "a"})
