"""Tiles hold every voxel, and a blend gives back what was cut, exactly where it can be exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.data.tile import Tile
from transmodal.errors import RecipeError
from transmodal.inference.blend import Blend, weights
from transmodal.inference.tiles import cover, starts

sizes = st.tuples(*[st.integers(1, 13)] * 3)


def test_starts_by_hand() -> None:
    assert starts(10, 4, 0.0) == [0, 3, 6]
    assert starts(8, 4, 0.5) == [0, 2, 4]
    assert starts(4, 4, 0.25) == [0]
    assert starts(3, 8, 0.25) == [-2]


@settings(max_examples=60, deadline=None)
@given(shape=sizes, size=sizes, overlap=st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_every_voxel_is_covered_and_no_tile_lies_outside(
    shape: tuple[int, int, int], size: tuple[int, int, int], overlap: float
) -> None:
    seen = np.zeros(shape, dtype=int)
    for tile in cover(shape, size, overlap):
        there, _ = tile.inside(shape)
        assert seen[there].size > 0
        seen[there] += 1
    assert seen.min() >= 1


@settings(max_examples=60, deadline=None)
@given(
    shape=sizes,
    size=sizes,
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    value=st.floats(-3000, 3000, width=32),
)
def test_a_constant_comes_back_bit_for_bit(
    shape: tuple[int, int, int], size: tuple[int, int, int], overlap: float, value: float
) -> None:
    blend = Blend(2, shape)
    for tile in cover(shape, size, overlap):
        blend.add(tile, np.full((2, *size), value, dtype=np.float32))
    assert (blend.result(fill=-9.0) == np.float32(value)).all()


@settings(max_examples=30, deadline=None)
@given(shape=sizes, size=sizes)
def test_what_is_cut_is_what_comes_back(shape: tuple[int, int, int], size: tuple[int, int, int]) -> None:
    volume = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    blend = Blend(1, shape)
    for tile in cover(shape, size, 0.5):
        blend.add(tile, tile.cut(volume, fill=99.0))
    np.testing.assert_allclose(blend.result(fill=0.0), volume, rtol=1e-5, atol=1e-6)


def test_overlap_is_the_weighted_mean() -> None:
    blend = Blend(1, (1, 1, 6))
    blend.add(Tile((0, 0, 0), (1, 1, 4)), np.full((1, 1, 1, 4), 1.0, dtype=np.float32))
    blend.add(Tile((0, 0, 2), (1, 1, 4)), np.full((1, 1, 1, 4), 4.0, dtype=np.float32))
    # Weights of a tile of four are 1/2, 1, 1, 1/2: the shared voxels weigh (1, 1/2) and (1/2, 1).
    assert weights((1, 1, 4)).ravel().tolist() == [0.5, 1.0, 1.0, 0.5]
    np.testing.assert_allclose(blend.result(0.0).ravel(), [1, 1, 2, 3, 4, 4], rtol=1e-6)


def test_where_no_tile_was_the_fill_stands() -> None:
    blend = Blend(1, (1, 1, 3))
    blend.add(Tile((0, 0, 0), (1, 1, 1)), np.ones((1, 1, 1, 1), dtype=np.float32))
    assert blend.result(-1.0).ravel().tolist() == [1.0, -1.0, -1.0]


def test_an_overlap_of_one_is_refused() -> None:
    with pytest.raises(RecipeError, match="overlap"):
        cover((4, 4, 4), (2, 2, 2), 1.0)
