"""Pictures of a report, as PNG bytes: montages and panels of slices, training curves, dots per subject.

Slices are shown the neurological way (the patient's left is on the left), front up, in true proportions, in a
window that is given and never fitted, on black. An error map is black where the error is zero.
Only matplotlib's objects are used, never pyplot: no global state, no window, safe in any thread.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from transmodal.reporting.slices import Picture

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

ERROR = "error"
"""A title that starts with this word marks an error map in :func:`panel`."""

ERROR_SHARE = 0.25
"""The error scale ends at this share of the window's width, in every montage and panel."""

_ERROR_COLOURS = ("#b3e5ff", "#3aa0e0", "#0d3f73", "#000000", "#8a1c14", "#ef6a4c", "#ffdccf")
_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
_DPI = 100
_GAP = 4

_Box = tuple[int, int, int, int]
"""Left, upper edge, width and height in pixels."""

Line = tuple[Sequence[float | int], Sequence[float | int]]
"""Steps and values."""

_INK, _FAINT = "#1c2126", "#9aa3ab"


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
    with _figure(size, "black") as figure:
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
                        style = {"ha": "right", "va": "center", "color": _FAINT}
                        _write(figure, left - 8, middle, "prediction − reference", **style)
                    under = (left, upper + tall + _GAP, cell, tall)
                    _error(figure, under, column.errors[row], scale.error, spacing)
        _bars(figure, size, scale, with_errors=bands == 2)
        colour = any(column.pictures[0].ndim == 3 for column in columns)
        return _png(figure, few_colours=not colour)


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
    with _figure((len(images) * (cell + _GAP) + _GAP, 30 + tall + _GAP), "black") as figure:
        for index, (title, picture) in enumerate(images):
            box = (_GAP + index * (cell + _GAP), 30, cell, tall)
            _write(figure, box[0] + cell / 2, 10, title, size=11, ha="center")
            if title.startswith(ERROR):
                _error(figure, box, picture, limit, (1.0, 1.0))
            else:
                _slice(figure, box, picture, window, (1.0, 1.0))
            if index == 0:
                _letters(figure, box, "")
        return _png(figure)


def curves(lines: Mapping[str, Mapping[str, Line]]) -> bytes:
    """Small charts side by side, three in a row.

    Args:
        lines: title of a chart → name of a line → its steps and its values.
    """
    across = min(3, len(lines))
    down = math.ceil(len(lines) / across)
    with _figure((360 * across, 260 * down), "white") as figure:
        for place, (title, named) in enumerate(lines.items(), start=1):
            axes = figure.add_subplot(down, across, place)
            for index, (name, (steps, values)) in enumerate(named.items()):
                marker = "o" if len(steps) < 2 else ""
                colour = _LINES[index % len(_LINES)]
                axes.plot(steps, values, color=colour, lw=1.3, marker=marker, ms=4, label=name)
            alone = next(iter(named)) if len(named) == 1 else title
            axes.set_title(title if alone in title else f"{title}: {alone}", loc="left", fontsize=10)
            axes.set_xlabel("step")
            if _wide(named):
                axes.set_yscale("log")
            if len(named) > 1:
                axes.legend(frameon=False, fontsize=8)
            _plain(axes)
        figure.tight_layout(pad=0.8, w_pad=1.6)
        return _png(figure)


def dots(values: Mapping[str, Sequence[float]], label: str, floors: Sequence[str] = ()) -> bytes:
    """One metric for every subject and method: a dot each, a line through each subject, a bar at the mean.

    Args:
        values: method → value of each subject, the same subjects in the same order; NaN where there is none.
        label: of the axis: metric, unit, which way is better.
        floors: methods that are drawn in grey.
    """
    table = np.array(list(values.values()), dtype=float)
    table[~np.isfinite(table)] = np.nan
    people = table.shape[1]
    with _figure((max(420, 130 * len(values) + 120), 320), "white") as figure:
        axes = figure.add_subplot()
        places = np.arange(len(values))
        axes.plot(places, table, color=_FAINT, lw=0.8, alpha=max(0.12, min(0.7, 12 / people)), zorder=1)
        solid = max(0.25, min(0.9, 30 / people))
        for place, (method, row) in enumerate(zip(values, table, strict=True)):
            colour = _FAINT if method in floors else _LINES[0]
            axes.scatter(np.full(people, place), row, s=18, color=colour, alpha=solid, linewidths=0, zorder=2)
            if np.isfinite(row).any():
                axes.plot([place - 0.16, place + 0.16], [np.nanmean(row)] * 2, color=_INK, lw=2, zorder=3)
        axes.set_xticks(places, [f"{m} (floor)" if m in floors else m for m in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_ylabel(label)
        _plain(axes)
        figure.tight_layout(pad=0.8)
        return _png(figure)


def error_colours() -> "Colormap":
    """Blue, black at zero, red: an error map on black shows its errors and nothing else."""
    from matplotlib.colors import LinearSegmentedColormap

    # An odd number of levels, so that zero has one of its own.
    return LinearSegmentedColormap.from_list("error", _ERROR_COLOURS, N=257).with_extremes(bad="black")


def _grey() -> "Colormap":
    from matplotlib import colormaps

    # A voxel that is not a number must not pass for a dark one.
    return colormaps["gray"].with_extremes(bad="#ff00ff")


@contextmanager
def _figure(size: tuple[int, int], background: str) -> Iterator["Figure"]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Names come from files: a dollar sign in one is a dollar sign, not mathematics.
    with rc_context({"text.parse_math": False, "font.family": "DejaVu Sans", "font.size": 9}):
        scale = 1 if background == "black" else 2
        figure = Figure((size[0] / _DPI, size[1] / _DPI), dpi=_DPI * scale, facecolor=background)
        yield figure


def _png(figure: "Figure", *, few_colours: bool = False) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    picture = _with_palette(pixels) if few_colours else Image.fromarray(pixels)
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _with_palette(pixels: np.ndarray) -> Any:
    """The picture in 160 greys, 95 colours of the error scale and the mark of NaN: a third of the size."""
    from PIL import Image
    from scipy.spatial import cKDTree

    greys = np.repeat(np.linspace(0, 255, 160), 3).reshape(-1, 3)
    palette = np.concatenate([greys, 255 * error_colours()(np.linspace(0, 1, 95))[:, :3], [(255, 0, 255)]]).round()
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    packed = red << 16 | green << 8 | blue
    found, place = np.unique(packed, return_inverse=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    nearest = cKDTree(palette).query(colours)[1]
    picture = Image.fromarray(nearest[place].reshape(packed.shape).astype(np.uint8))
    picture.putpalette(palette.astype(np.uint8).tobytes())
    return picture


def _size(picture: Picture, spacing: tuple[float, float]) -> tuple[float, float]:
    return picture.shape[0] * spacing[0], picture.shape[1] * spacing[1]


def _axes(figure: "Figure", box: _Box) -> Any:
    left, upper, across, down = box
    wide, high = figure.get_size_inches() * _DPI
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
    wide, high = figure.get_size_inches() * _DPI
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


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(color=_FAINT)
    axes.grid(axis="y", color="#e8ebee", lw=0.7)
    axes.set_axisbelow(True)


def _wide(named: Mapping[str, Line]) -> bool:
    """Whether values are positive and span more than two powers of ten."""
    values = np.concatenate([np.asarray(v, dtype=float) for _, v in named.values()])
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() > 100 * values.min())
