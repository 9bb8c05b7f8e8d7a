import io

import numpy as np
from matplotlib.image import imread

from transmodal.reporting.charts import curves, dots


def decode(png: bytes) -> np.ndarray:
    return np.round(imread(io.BytesIO(png))[..., :3] * 255).astype(int)


def has(picture: np.ndarray, colour: tuple[int, int, int], tolerance: int = 30) -> bool:
    return bool((np.abs(picture - np.array(colour)).max(axis=2) < tolerance).any())


def test_floors_are_grey_dots_and_methods_blue_ones() -> None:
    blue = (0, 0x72, 0xB2)
    values = {"identity": [1.0, 2.0], "pix2pix": [2.0, float("inf")]}
    assert has(decode(dots(values, "MAE", ("identity",))), blue)
    assert not has(decode(dots(values, "MAE", ("identity", "pix2pix"))), blue)


def test_every_line_of_a_chart_is_drawn_even_a_single_point() -> None:
    one = {"player": {"a": ([1.0], [2.0])}}
    two = {"player": {"a": ([1.0], [2.0]), "b": ([1.0, 2.0, 3.0], [2.0, float("nan"), 1.0])}}
    assert has(decode(curves(one)), (0, 0x72, 0xB2))
    assert not has(decode(curves(one)), (0xD5, 0x5E, 0))
    assert has(decode(curves(two)), (0xD5, 0x5E, 0))


def test_names_with_dollars_are_not_mathematics() -> None:
    assert decode(dots({"$a_{": [1.0, 2.0]}, "$MAE^")).std() > 0
    assert decode(curves({"$p_{": {"$t^": ([1, 2], [1.0, 2.0])}})).std() > 0
