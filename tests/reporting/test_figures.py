import io

import numpy as np
import pytest
from matplotlib.image import imread

from transmodal.reporting.canvas import error_colours
from transmodal.reporting.figures import Column, Scale, montage, panel

WINDOW = (-1.0, 3.0)
CELL, TOP, GAP = 220, 30, 4


def decode(png: bytes) -> np.ndarray:
    picture = imread(io.BytesIO(png))[..., :3]
    return np.round(picture * 255).astype(int)


def flat(value: float) -> np.ndarray:
    return np.full((10, 10), value, dtype=np.float32)


def middle(picture: np.ndarray, column: int, band: int = 0, tall: int = CELL) -> list[int]:
    x = GAP + column * (CELL + GAP) + CELL // 2
    return picture[TOP + band * (tall + GAP) + tall // 2 + 9, x].tolist()


def columns(*values: float) -> list[Column]:
    return [Column(str(value), [flat(value)], WINDOW) for value in values]


def test_the_window_is_fixed() -> None:
    shown = decode(montage(columns(-1.0, 3.0, 1.0, 9.0, -9.0), [0.0], (1.0, 1.0), Scale("CT", "HU", WINDOW)))
    found = [middle(shown, place) for place in range(5)]
    assert found[0] == found[4] == [0, 0, 0]
    assert found[1] == found[3] == [255, 255, 255]
    assert found[2][0] == pytest.approx(127.5, abs=1.5)
    assert len(set(found[2])) == 1


def test_an_error_map_is_black_at_zero_and_its_scale_is_fixed() -> None:
    errors = [0.0, 1.0, -1.0, 5.0]  # the scale ends at a quarter of the window's width of 4
    shown = [Column("m", [flat(0.0)], WINDOW, [flat(error)]) for error in errors]
    picture = decode(montage(shown, [0.0], (1.0, 1.0), Scale("CT", "HU", WINDOW)))
    zero, plus, minus, beyond = (middle(picture, place, band=1) for place in range(4))
    assert zero == [0, 0, 0]
    assert plus == beyond
    assert plus[0] > plus[2]
    assert minus[2] > minus[0]
    assert abs(sum(plus) - sum(minus)) < 60  # neither side shouts louder


def test_error_colours_are_neutral_at_zero() -> None:
    assert error_colours()(0.5) == (0, 0, 0, 1)


def test_left_is_left_and_front_is_up() -> None:
    picture = flat(-1.0)
    picture[:5, 5:] = 3.0  # low X: the patient's left; high Y: the front
    shown = decode(montage([Column("a", [picture], WINDOW)], [0.0], (1.0, 1.0), Scale("CT", "", WINDOW)))
    quarters = {
        (front, side): shown[TOP + CELL // 4 + (1 - front) * CELL // 2, GAP + CELL // 4 + side * CELL // 2, 0]
        for front in (0, 1)
        for side in (0, 1)
    }
    assert quarters == {(1, 0): 255, (1, 1): 0, (0, 0): 0, (0, 1): 0}


def test_voxels_keep_their_proportions() -> None:
    shown = decode(montage(columns(3.0), [0.0], (1.0, 2.0), Scale("CT", "", WINDOW)))
    white = (shown == 255).all(axis=2)
    assert white[TOP : TOP + 2 * CELL, GAP : GAP + CELL].mean() > 0.98
    assert shown.shape[0] == TOP + 2 * CELL + GAP + 52


def test_colour_is_shown_as_it_is() -> None:
    picture = np.broadcast_to(np.array([200.0, 100.0, 50.0], dtype=np.float32), (10, 10, 3))
    shown = decode(
        montage([Column("cryo", [picture], (0.0, 255.0))], [0.0], (1.0, 1.0), Scale("cryo", "", (0.0, 255.0)))
    )
    assert middle(shown, 0) == [200, 100, 50]


def test_a_voxel_that_is_not_a_number_is_not_dark() -> None:
    shown = decode(montage(columns(float("nan")), [0.0], (1.0, 1.0), Scale("CT", "", WINDOW)))
    assert middle(shown, 0) == [255, 0, 255]


def test_panel_shows_values_in_the_window_and_errors_on_their_scale() -> None:
    shown = decode(panel([("source", flat(3.0)), ("prediction", flat(-1.0)), ("error", flat(0.0))], WINDOW))
    assert shown.shape == (30 + 240 + 4, 3 * 244 + 4, 3)
    centres = [shown[160, 4 + i * 244 + 120].tolist() for i in range(3)]
    assert centres == [[255] * 3, [0] * 3, [0] * 3]
    beyond = decode(panel([("error of pix2pix", flat(1.0))], WINDOW))
    assert beyond[160, 124, 0] > beyond[160, 124, 2]


def test_names_with_dollars_are_not_mathematics() -> None:
    assert decode(panel([("$x^{", flat(0.0))], WINDOW)).size


def test_equal_data_give_equal_bytes() -> None:
    again = [montage(columns(0.0, 1.0), [3.0], (1.0, 1.0), Scale("CT", "HU", WINDOW)) for _ in range(2)]
    assert again[0] == again[1]
