import numpy as np
import pytest

from transmodal.data.intensity import IntensityFit
from transmodal.data.sampling import Sampling, extent, network_input, network_target, tile_around
from transmodal.data.task import Task
from transmodal.data.tile import Tile
from transmodal.errors import RecipeError

RNG = np.random.default_rng(0)
SHAPE = (7, 8, 9)
T1 = RNG.uniform(0, 100, (1, *SHAPE)).astype(np.float32)
T2 = RNG.uniform(0, 100, (1, *SHAPE)).astype(np.float32)
COLOUR = RNG.integers(0, 256, (3, *SHAPE)).astype(np.uint8)
FITS = {
    "T1w": IntensityFit("percentile", 50.0, 40.0, -1.0, 1.0),
    "T2w": IntensityFit("zscore", 50.0, 10.0),
    "cryo": IntensityFit("window", 127.5, 127.5, -1.0, 1.0),
}
N1, N2 = np.clip((T1 - 50) / 40, -1, 1), (T2 - 50) / 10


def test_an_axial_slice():
    task = Task(sources=("T1w", "T2w"), targets=("T2w",))
    tile = Tile((1, 2, 4), (3, 4, 1))
    values, present = network_input({"T1w": T1, "T2w": T2}, FITS, task, tile, 2)
    expected = np.stack([N1[0, 1:4, 2:6, 4], N2[0, 1:4, 2:6, 4]])
    np.testing.assert_allclose(values, expected, atol=1e-5)
    assert present.tolist() == [True, True]
    np.testing.assert_allclose(network_target({"T2w": T2}, FITS, task, tile, 2), expected[1:], atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_are_channels_source_by_source_lowest_first(axis):
    task = Task(sources=("T1w", "T2w"), neighbours=3)
    size = [1 if a == axis else n for a, n in enumerate(SHAPE)]
    origin = [4 if a == axis else 0 for a in range(3)]
    values, _ = network_input({"T1w": T1, "T2w": T2}, FITS, task, Tile(tuple(origin), tuple(size)), axis)
    expected = [np.take(n[0], i, axis=axis) for n in (N1, N2) for i in (3, 4, 5)]
    np.testing.assert_allclose(values, np.stack(expected), atol=1e-5)


def test_outside_the_volume_is_background():
    task = Task(sources=("T1w", "T2w"), neighbours=3)
    values, _ = network_input({"T1w": T1, "T2w": T2}, FITS, task, Tile((-2, 0, 0), (4, 8, 1)), 2)
    np.testing.assert_allclose(values[0], -1, atol=1e-6)
    np.testing.assert_allclose(values[3], -5, atol=1e-5)
    np.testing.assert_allclose(values[1, :2], -1, atol=1e-6)
    np.testing.assert_allclose(values[1, 2:], N1[0, :2, :, 0], atol=1e-5)
    np.testing.assert_allclose(values[5, 2:], N2[0, :2, :, 1], atol=1e-5)


def test_a_missing_source_is_zeros_and_said_to_be_missing():
    task = Task(sources=("cryo", "T1w"), neighbours=3)
    values, present = network_input({"T1w": T1}, FITS, task, Tile((0, 0, 4), (7, 8, 1)), 2)
    assert values.shape == (12, 7, 8)
    assert not values[:9].any()
    np.testing.assert_allclose(values[10], N1[0, :, :, 4], atol=1e-5)
    assert present.tolist() == [False, True]


def test_colour_keeps_channels_together_and_pads_with_black():
    task = Task(sources=("cryo",), neighbours=3)
    values, _ = network_input({"cryo": COLOUR}, FITS, task, Tile((0, 0, 0), (7, 8, 1)), 2)
    np.testing.assert_allclose(values[:3], -1, atol=1e-6)
    np.testing.assert_allclose(values[3:6], COLOUR[..., 0] / 127.5 - 1, atol=1e-5)
    np.testing.assert_allclose(values[6:], COLOUR[..., 1] / 127.5 - 1, atol=1e-5)


def test_a_patch():
    task = Task(sources=("T1w",), targets=("T2w", "cryo"), spatial=3)
    tile = Tile((1, 1, 6), (3, 4, 5))
    values, _ = network_input({"T1w": T1}, FITS, task, tile, None)
    np.testing.assert_allclose(values[..., :3], N1[:, 1:4, 1:5, 6:], atol=1e-5)
    np.testing.assert_allclose(values[..., 3:], -1, atol=1e-6)
    target = network_target({"T2w": T2, "cryo": COLOUR}, FITS, task, tile, None)
    assert target.shape == (4, 3, 4, 5)
    np.testing.assert_allclose(target[1:, ..., :3], COLOUR[:, 1:4, 1:5, 6:] / 127.5 - 1, atol=1e-5)


def test_only_the_slices_that_are_needed_are_read():
    class Counting(np.ndarray):
        def __getitem__(self, where):
            found = super().__getitem__(where)
            read.append(found.size)
            return found

    read: list[int] = []
    network_input(
        {"T1w": T1.view(Counting)}, FITS, Task(sources=("T1w",), neighbours=3), Tile((0, 0, 4), (7, 8, 1)), 2
    )
    assert max(read) == 7 * 8 * 3


BOX = ((2, 12), (4, 24), (3, 8))


def test_extent_is_0_and_1_at_the_first_and_last_voxel_of_the_box():
    np.testing.assert_allclose(extent(Tile((2, 4, 3), (10, 20, 5)), BOX), [[0, 1]] * 3)
    slice_ = extent(Tile((-7, 4, 5), (28, 39, 1)), BOX)
    np.testing.assert_allclose(slice_, [[-1, 2], [0, 2], [0.5, 0.5]])
    assert np.isfinite(extent(Tile((0, 0, 0), (1, 1, 1)), ((0, 1), (0, 1), (0, 1)))).all()


def test_a_window_larger_than_the_head_is_centred_on_it():
    tile = tile_around(Sampling(size=(16, 32)), BOX, 2, 6, np.random.default_rng(0))
    assert tile == Tile((-1, -2, 6), (16, 32, 1))
    coronal = tile_around(Sampling(view="coronal", size=(16, 11)), BOX, 1, 9, np.random.default_rng(0))
    assert coronal == Tile((-1, 9, 0), (16, 1, 11))


def test_a_small_window_visits_the_whole_head_and_stays_in_it():
    sampling, rng = Sampling(view="patch", size=(4, 4, 4)), np.random.default_rng(0)
    origins = np.array([tile_around(sampling, BOX, None, None, rng).origin for _ in range(400)])
    for axis, (low, high) in enumerate(BOX):
        assert (origins[:, axis].min(), origins[:, axis].max()) == (low, high - 4)


def test_jitter_moves_the_window_but_not_the_slice():
    sampling, rng = Sampling(size=(16, 32), jitter=3), np.random.default_rng(0)
    origins = np.array([tile_around(sampling, BOX, 2, 6, rng).origin for _ in range(200)])
    assert set(origins[:, 0] + 1) == set(origins[:, 1] + 2) == set(range(-3, 4))
    assert set(origins[:, 2]) == {6}


def test_axes_and_spatial():
    assert (Sampling().axes, Sampling(view="sagittal").axes) == ((2,), (0,))
    assert Sampling(view="planes").axes == (0, 1, 2)
    patch = Sampling(view="patch", size=(8, 8, 8))
    assert (patch.axes, patch.spatial, Sampling().spatial) == ((None,), 3, 2)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"size": (8, 8, 8)}, r"sampling\.size = \[8, 8, 8\]: give 2 numbers"),
        ({"view": "patch", "size": (8, 8)}, r"sampling\.size = \[8, 8\]: give 3 numbers"),
        ({"size": (0, 8)}, r"sampling\.size"),
        ({"view": "planes", "size": (8, 9)}, r"sampling\.size = \[8, 9\].*square"),
        ({"neighbours": 2}, r"sampling\.neighbours = 2"),
        ({"view": "patch", "size": (8, 8, 8), "neighbours": 3}, r"sampling\.neighbours = 3"),
        ({"flip": 1.5}, r"sampling\.flip = 1\.5"),
        ({"jitter": -1}, r"sampling\.jitter = -1"),
        ({"rotate": -1.0}, r"sampling\.rotate = -1"),
        ({"gamma": -0.5}, r"sampling\.gamma = -0\.5"),
        ({"view": "patch", "size": (8, 8, 8), "rotate": 5.0}, r"sampling\.rotate turns slices"),
    ],
)
def test_bad_values_name_their_key(table, words):
    with pytest.raises(RecipeError, match=words):
        Sampling(**table)
