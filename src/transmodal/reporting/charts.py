"""Charts of a report, as PNG bytes: training curves, and dots for every subject."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transmodal.reporting.canvas import FAINT, INK, new_figure, to_png
from transmodal.reporting.curves import Curve
from transmodal.reporting.tables import FLOORS

Line = tuple[Sequence[float | int], Sequence[float | int]]
"""Steps and values."""

_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")


def bands(charts: Mapping[str, Mapping[str, Curve]], label: str, up: str = "") -> bytes:
    """Small charts side by side, three in a row, of curves with intervals.

    Args:
        charts: title of a chart → name of a curve → the curve; floors are drawn in grey.
        label: of the x axis.
        up: of the y axes, where titles do not say it.
    """
    across = min(3, len(charts))
    down = math.ceil(len(charts) / across)
    with new_figure((380 * across, 300 * down), "white") as figure:
        for place, (title, named) in enumerate(charts.items(), start=1):
            axes = figure.add_subplot(down, across, place)
            colours = iter(_LINES * len(named))
            for name, curve in named.items():
                floor = name in FLOORS
                colour = FAINT if floor else next(colours)
                style = ("--", ":")[FLOORS.index(name) % 2] if floor else "-"
                low, high = curve.interval.T
                axes.fill_between(curve.x, low, high, color=colour, alpha=0.15, lw=0)
                axes.plot(curve.x, curve.middle, style, color=colour, lw=1.5, marker="o", ms=3, label=name)
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_xlabel(label)
            if place % across == 1 % across:
                axes.set_ylabel(up)
            if place == 1:
                axes.legend(frameon=False, fontsize=8)
            _plain(axes)
        figure.tight_layout(pad=0.8, w_pad=1.6)
        return to_png(figure)


def curves(lines: Mapping[str, Mapping[str, Line]]) -> bytes:
    """Small charts side by side, three in a row.

    Args:
        lines: title of a chart → name of a line → its steps and its values.
    """
    across = min(3, len(lines))
    down = math.ceil(len(lines) / across)
    with new_figure((360 * across, 260 * down), "white") as figure:
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
        return to_png(figure)


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
    with new_figure((max(420, 130 * len(values) + 120), 320), "white") as figure:
        axes = figure.add_subplot()
        places = np.arange(len(values))
        axes.plot(places, table, color=FAINT, lw=0.8, alpha=max(0.12, min(0.7, 12 / people)), zorder=1)
        solid = max(0.25, min(0.9, 30 / people))
        for place, (method, row) in enumerate(zip(values, table, strict=True)):
            colour = FAINT if method in floors else _LINES[0]
            axes.scatter(np.full(people, place), row, s=18, color=colour, alpha=solid, linewidths=0, zorder=2)
            if np.isfinite(row).any():
                axes.plot([place - 0.16, place + 0.16], [np.nanmean(row)] * 2, color=INK, lw=2, zorder=3)
        axes.set_xticks(places, [f"{m} (floor)" if m in floors else m for m in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_ylabel(label)
        _plain(axes)
        figure.tight_layout(pad=0.8)
        return to_png(figure)


def scatter(points: Mapping[str, tuple[float, float, tuple[float, float]]], across: str, up: str) -> bytes:
    """One point for each method, with its name and the interval of its height; the x axis is logarithmic.

    Args:
        points: method → x above 0, y, and the ends of y's interval.
        across: label of the x axis.
        up: label of the y axis.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    with new_figure((560, 340), "white") as figure:
        axes = figure.add_subplot()
        for method, (x, y, (low, high)) in points.items():
            colour = FAINT if method in FLOORS else _LINES[0]
            axes.plot([x, x], [low, high], color=colour, lw=1.5, alpha=0.6)
            axes.scatter([x], [y], s=28, color=colour, zorder=3)
            axes.annotate(method, (x, y), xytext=(6, 4), textcoords="offset points", fontsize=8, color=INK)
        axes.set_xscale("log")
        axes.margins(x=0.2)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        _plain(axes)
        figure.tight_layout(pad=0.8)
        return to_png(figure)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT)
    axes.grid(axis="y", color="#e8ebee", lw=0.7)
    axes.set_axisbelow(True)


def _wide(named: Mapping[str, Line]) -> bool:
    """Whether values are positive and span more than two powers of ten."""
    values = np.concatenate([np.asarray(v, dtype=float) for _, v in named.values()])
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() > 100 * values.min())
