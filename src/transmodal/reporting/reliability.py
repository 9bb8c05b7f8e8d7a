"""Reliability: the share that intervals held against the share that they were to hold."""

from collections.abc import Mapping, Sequence

from transmodal.inference.conformal import Reliability
from transmodal.reporting.canvas import FAINT, new_figure, to_png

_COLOUR = "#0072b2"


def reliability_chart(found: Mapping[str, Sequence[Reliability]]) -> bytes:
    """PNG, a chart for each target: mean over people, bars from the least to the most of them."""
    with new_figure((340 * len(found), 340), "white") as figure:
        for place, (target, entries) in enumerate(found.items(), start=1):
            axes = figure.add_subplot(1, len(found), place)
            axes.plot([0, 1], [0, 1], "--", color=FAINT, lw=1, label="as stated")
            x, y = [e.nominal for e in entries], [e.held for e in entries]
            below, above = [e.held - e.least for e in entries], [e.most - e.held for e in entries]
            axes.errorbar(x, y, (below, above), color=_COLOUR, lw=1.2, marker="o", ms=4, capsize=3, label="held")
            axes.set_title(target, loc="left", fontsize=10)
            axes.set_xlabel("share of voxels that intervals should hold")
            axes.set_ylabel("share held, people left out")
            axes.set_xlim(0.4, 1.02)
            axes.set_ylim(0, 1.02)
            axes.legend(frameon=False, fontsize=8, loc="lower right")
        figure.tight_layout(pad=0.8, w_pad=1.6)
        return to_png(figure)


def reliability_table(found: Mapping[str, Sequence[Reliability]]) -> str:
    """The same as Markdown."""
    lines = ["| target | stated | held | of a person: least | most |", "|---|---|---|---|---|"]
    lines += [
        f"| {target} | {e.nominal:.0%} | {e.held:.1%} | {e.least:.1%} | {e.most:.1%} |"
        for target, entries in found.items()
        for e in entries
    ]
    return "\n".join(lines)
