"""Charts of agreement, as PNG bytes: made against measured, differences against means, coefficients by region."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from transmodal.evaluation.agreement import Agreement, Estimate
from transmodal.reporting.canvas import FAINT, INK, new_figure, to_png
from transmodal.reporting.tables import FLOORS

_DOT, _LINE = "#0072b2", "#d55e00"

Points = tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Agreement]
"""Measured and made numbers of the same subjects, and how they agree."""


def pairs(points: Mapping[str, Points], unit: str) -> bytes:
    """A column for each method: above, made against measured; below, Bland and Altman's differences.

    Args:
        points: method → its numbers in one region.
        unit: of the numbers; empty for none.
    """
    across = len(points)
    named = f" ({unit})" if unit else ""
    with new_figure((300 * across + 30, 520), "white") as figure:
        grid = figure.subplots(2, across, sharex="row", sharey="row", squeeze=False)
        for column, (method, (measured, made, found)) in enumerate(points.items()):
            above, below = grid[0, column], grid[1, column]
            _identity(above, measured, made, found)
            _differences(below, measured, made, found)
            above.set_title(f"{method} (floor)" if method in FLOORS else method, loc="left", fontsize=10)
            above.set_xlabel(f"measured{named}")
            below.set_xlabel(f"mean of both{named}")
            if column == 0:
                above.set_ylabel(f"synthetic{named}")
                below.set_ylabel(f"synthetic - measured{named}")
                above.legend(frameon=False, fontsize=8, loc="upper left")
        figure.tight_layout(pad=0.8, w_pad=1.2)
        return to_png(figure)


def forest(values: Mapping[str, Mapping[str, Estimate]], label: str, best: float) -> bytes:
    """A row for each region, a mark with its interval for each method.

    Args:
        values: region → method → number.
        label: of the axis.
        best: where a line stands for perfect agreement.
    """
    methods = list(dict.fromkeys(method for own in values.values() for method in own))
    step = 0.7 / max(1, len(methods))
    colours = _colours(methods)
    with new_figure((760, 70 + (16 + 12 * len(methods)) * len(values)), "white") as figure:
        axes = figure.add_subplot()
        for row, own in enumerate(values.values()):
            for place, method in enumerate(methods):
                if method in own:
                    y = row + (place - (len(methods) - 1) / 2) * step
                    found = own[method]
                    axes.plot([found.low, found.high], [y, y], color=colours[method], lw=1.4, alpha=0.6)
                    axes.plot([found.value], [y], "o", color=colours[method], ms=4.5,
                              label=method if row == 0 else None)  # fmt: skip
        axes.axvline(best, color=INK, lw=0.8)
        axes.set_yticks(range(len(values)), list(values))
        axes.set_ylim(len(values) - 0.4, -0.6)
        # An interval may reach far below: the axis shows what can be told apart.
        axes.set_xlim(*_ends([one for own in values.values() for one in own.values()], best))
        axes.set_xlabel(label)
        axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        _plain(axes, "x")
        figure.tight_layout(pad=0.8)
        return to_png(figure)


def _identity(axes: Any, measured: np.ndarray, made: np.ndarray, found: Agreement) -> None:
    low, high = float(min(measured.min(), made.min())), float(max(measured.max(), made.max()))
    axes.plot([low, high], [low, high], color=INK, lw=0.9, label="equal")
    if math.isfinite(found.slope.value):
        ends = np.array([measured.min(), measured.max()])
        axes.plot(ends, found.made + found.slope.value * (ends - found.measured), color=_LINE, lw=1.4,
                  label="Deming")  # fmt: skip
    axes.scatter(measured, made, s=16, color=_DOT, alpha=0.8, linewidths=0, zorder=3)
    _plain(axes, "both")


def _differences(axes: Any, measured: np.ndarray, made: np.ndarray, found: Agreement) -> None:
    axes.axhline(0, color=INK, lw=0.9)
    for one, style in ((found.bias, "-"), (found.lower, "--"), (found.upper, "--")):
        axes.axhspan(one.low, one.high, color=_LINE, alpha=0.12, lw=0)
        axes.axhline(one.value, color=_LINE, lw=1.3, ls=style)
    axes.scatter((measured + made) / 2, made - measured, s=16, color=_DOT, alpha=0.8, linewidths=0, zorder=3)
    _plain(axes, "y")


def _ends(found: Sequence[Estimate], best: float) -> tuple[float, float]:
    values = [one.value for one in found if math.isfinite(one.value)] + [best]
    lows = [one.low for one in found if math.isfinite(one.low)]
    highs = [one.high for one in found if math.isfinite(one.high)]
    width = max(max(values) - min(values), 0.2)
    low = max(min([*values, *lows]), min(values) - 0.6 * width)
    high = min(max([*values, *highs]), max(values) + 0.6 * width)
    return low - 0.04 * width, high + 0.04 * width


def _colours(methods: Sequence[str]) -> dict[str, str]:
    own = iter(("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555") * len(methods))
    return {method: FAINT if method in FLOORS else next(own) for method in methods}


def _plain(axes: Any, lines: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT)
    axes.grid(axis=lines, color="#e8ebee", lw=0.7)
    axes.set_axisbelow(True)
