"""Pictures of slices, as PNG bytes: montages of a case for the report, panels during training.

Slices are shown the neurological way (the patient's left is on the left), front up, in true proportions, in a
window that is given and never fitted, on black. An error map is black where the error is zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from transmodal.reporting.canvas import DPI, FAINT, error_colours, new_figure, to_png
from transmodal.reporting.slices import Picture

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

ERROR = "error"
"""A title that starts with this word marks an error map in :func:`panel`."""

ERROR_SHARE = 0.25
"""The error scale ends at this share of the window's width, in every montage and panel."""

_GAP = 4

_Box = tuple[int, int, int, int]
"""Left, upper edge, width and height in pixels."""


@dataclass(frozen=True)
class Column:
    """One column of a montage.

    Attributes:
        title: what it shows.
        pictures: one slice for each row.
        window: values drawn black and white; colour slices ignore it and are drawn as they are, 0 to 255.
        errors: prediction - reference for each row (NaN where it does not count), or None.
    """

    title: str
    pictures: Sequence[Picture]
    window: tuple[float, float]
    errors: Sequence[np.ndarray] | None = None


@dataclass(frozen=True)
class Scale:
    """What the two colour bars of a montage say.

    Attributes:
        name: the target's name.
        unit: its unit, empty for none.
        window: values drawn black and white.
    """

    name: str
    unit: str
    window: tuple[float, float]

    @property
    def error(self) -> float:
        """Where the error scale ends, on both sides."""
        return ERROR_SHARE * (self.window[1] - self.window[0])


def montage(
    columns: Sequence[Column],
    heights: Sequence[float],
    spacing: tuple[float, float],
    scale: Scale,
    width: int = 1400,
) -> bytes:
    """Slices of one case: a column for each image, a row for each slice, errors under the predictions.

    Args:
        columns: what is shown, from left to right; all with as many slices as ``heights``.
        heights: of the slices, in millimetres; written on the picture.
        spacing: edge lengths of a voxel along X and Y, in millimetres.
        scale: of the target, for the colour bars and the error maps.
        width: of the picture in pixels, at most.
    """
    across, along = _size(columns[0].pictures[0], spacing)
    cell = int(min(220, (width - _GAP) / max(len(columns), 3) - _GAP))
    tall = max(1, round(cell * along / across))
    bands = 2 if any(column.errors for column in columns) else 1
    top, foot = 30, 52
    size = (max(len(columns), 3) * (cell + _GAP) + _GAP, top + len(heights) * bands * (tall + _GAP) + foot)
    with new_figure(size, "black") as figure:
        for index, column in enumerate(columns):
            left = _GAP + index * (cell + _GAP)
            _write(figure, left + cell / 2, 10, column.title, size=11, ha="center")
            for row, height in enumerate(heights):
                upper = top + row * bands * (tall + _GAP)
                box = (left, upper, cell, tall)
                _slice(figure, box, column.pictures[row], column.window, spacing)
                if index == 0:
                    _letters(figure, box, f"z = {height:.0f} mm".replace("-", "−"))
                if column.errors:
                    if index and not columns[index - 1].errors:
                        middle = upper + 1.5 * tall + _GAP
                        style = {"ha": "right", "va": "center", "color": FAINT}
                        _write(figure, left - 8, middle, "prediction − reference", **style)
                    under = (left, upper + tall + _GAP, cell, tall)
                    _error(figure, under, column.errors[row], scale.error, spacing)
        _bars(figure, size, scale, with_errors=bands == 2)
        colour = any(column.pictures[0].ndim == 3 for column in columns)
        return to_png(figure, few_colours=not colour)


def panel(images: Sequence[tuple[str, Picture]], window: tuple[float, float]) -> bytes:
    """One axial slice in several images side by side, for a look during training.

    Args:
        images: title and slice, X to the patient's right and Y to the front. An image whose title starts with
            ``error`` is drawn on the error scale (black at zero), the others in ``window``.
        window: values drawn black and white.
    """
    across, along = images[0][1].shape[:2]
    cell = 240
    tall = max(1, round(cell * along / across))
    limit = ERROR_SHARE * (window[1] - window[0])
    with new_figure((len(images) * (cell + _GAP) + _GAP, 30 + tall + _GAP), "black") as figure:
        for index, (title, picture) in enumerate(images):
            box = (_GAP + index * (cell + _GAP), 30, cell, tall)
            _write(figure, box[0] + cell / 2, 10, title, size=11, ha="center")
            if title.startswith(ERROR):
                _error(figure, box, picture, limit, (1.0, 1.0))
            else:
                _slice(figure, box, picture, window, (1.0, 1.0))
            if index == 0:
                _letters(figure, box, "")
        return to_png(figure)


def _grey() -> "Colormap":
    from matplotlib import colormaps

    # A voxel that is not a number must not pass for a dark one.
    return colormaps["gray"].with_extremes(bad="#ff00ff")


def _size(picture: Picture, spacing: tuple[float, float]) -> tuple[float, float]:
    return picture.shape[0] * spacing[0], picture.shape[1] * spacing[1]


def _axes(figure: "Figure", box: _Box) -> Any:
    left, upper, across, down = box
    wide, high = figure.get_size_inches() * DPI
    axes = figure.add_axes((left / wide, 1 - (upper + down) / high, across / wide, down / high))
    axes.set_axis_off()
    return axes


def _slice(
    figure: "Figure",
    box: _Box,
    picture: Picture,
    window: tuple[float, float],
    spacing: tuple[float, float],
) -> None:
    axes, aspect = _axes(figure, box), spacing[1] / spacing[0]
    if picture.ndim == 3:
        colours = np.clip(np.nan_to_num(picture) / 255, 0, 1).transpose(1, 0, 2)
        axes.imshow(colours, origin="lower", aspect=aspect)
    else:
        low, high = window
        axes.imshow(picture.T, cmap=_grey(), vmin=low, vmax=high, origin="lower", aspect=aspect)


def _error(
    figure: "Figure",
    box: _Box,
    error: np.ndarray,
    limit: float,
    spacing: tuple[float, float],
) -> None:
    axes = _axes(figure, box)
    colours = error_colours()
    aspect = spacing[1] / spacing[0]
    axes.imshow(error.T, cmap=colours, vmin=-limit, vmax=limit, origin="lower", aspect=aspect)


def _write(figure: "Figure", x: float | int, y: float | int, text: str, **style: Any) -> None:
    wide, high = figure.get_size_inches() * DPI
    look: dict[str, Any] = {"color": "#e6e9ec", "size": 9, "va": "top"} | style
    figure.text(x / wide, 1 - y / high, text, **look)


def _letters(figure: "Figure", box: _Box, corner: str) -> None:
    from matplotlib.patheffects import withStroke

    left, upper, across, down = box
    # An outline keeps the letters readable on bright skin and bone.
    look: dict[str, Any] = {"path_effects": [withStroke(linewidth=2.5, foreground="black")]}
    _write(figure, left + 4, upper + down / 2, "L", va="center", weight="bold", **look)
    _write(figure, left + across - 4, upper + down / 2, "R", va="center", ha="right", weight="bold", **look)
    _write(figure, left + 4, upper + down - 4, corner, va="bottom", **look)


def _bars(figure: "Figure", size: tuple[int, int], scale: Scale, *, with_errors: bool) -> None:
    unit = f" {scale.unit}" if scale.unit not in ("", "1", "window") else ""
    low, high = scale.window
    bars = [(scale.name, _grey(), f"{low:.4g}", f"{high:.4g}{unit}")]
    if with_errors:
        limit = f"{scale.error:.4g}"
        bars.append(("prediction − reference", error_colours(), f"−{limit}", f"+{limit}{unit}"))
    length = min(240, size[0] // 2 - 40)
    for index, (name, colours, first, last) in enumerate(bars):
        left = _GAP + 8 + index * (size[0] // 2)
        upper = size[1] - 44
        _write(figure, left, upper, name)
        axes = _axes(figure, (left, upper + 15, length, 9))
        axes.imshow(np.linspace(0, 1, 256)[None], cmap=colours, aspect="auto")
        _write(figure, left, upper + 27, first, size=8)
        _write(figure, left + length, upper + 27, last, size=8, ha="right")
