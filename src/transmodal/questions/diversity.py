"""Diversity: whether the masks of a site differ, by site, case and epoch, and what each of them is worth.

MRNet (https://arxiv.org/abs/2412.03039) lays three masks on its features and does not show that they differ. A
mask is worth what the scores change by when it alone is opened, that is, replaced by 1.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np
from torch import nn

from transmodal.data.files import write_text
from transmodal.data.loader import Loader
from transmodal.evaluation.table import Row
from transmodal.experiment.run import Run
from transmodal.losses.mask_terms import mask_readings
from transmodal.methods._method import Method
from transmodal.nn.masks import MaskStack
from transmodal.questions.taps import Heard
from transmodal.reporting.charts import Line
from transmodal.reporting.curves import spread
from transmodal.training.monitor import read_log

SHOWN = ("mean", "closed", "open", "effective", "correlation", "overlap")
"""What :func:`~transmodal.losses.mask_terms.mask_readings` says, in the order of a table."""
OPENED = "opened"


@dataclass(frozen=True)
class Reading:
    """What the log says of the masks of one site at one step of training."""

    run: str
    step: int
    epoch: float
    site: str
    reading: str
    value: float


def readings(case: str, heard: Heard) -> list[Row]:
    """Of every site: mean, shares closed and open, effective number, correlation and overlap of its masks."""
    found = []
    for site in heard.masks:
        masks = heard.site(site)
        for name, value in mask_readings(masks).items():
            found.append(Row(case, "masks", site, name, f"{len(masks)} masks", float(value), "1", len(masks[0])))
    return found


def logged(run: Run) -> list[Reading]:
    """The same while it was trained, from its log; nothing for a run that was logged without them."""
    recipe = run.recipe
    batch, accumulate = recipe.training.batch_size, recipe.training.accumulate
    items = Loader(run.dataset, run.split.train, recipe.task, recipe.sampling, batch_size=batch).items
    found = []
    for line in read_log(run.folder / "log.jsonl"):
        # Logs of earlier versions do not say how many processes there were.
        samples = line.get("samples", batch * accumulate)
        for name, value in line.get("terms", {}).items():
            kind, _, rest = name.partition("/")
            reading, _, site = rest.partition("/")
            if kind == "readings" and reading in SHOWN:
                epoch = round(line["step"] * samples / items, 4)
                found.append(Reading(run.folder.name, line["step"], epoch, site, reading, float(value)))
    return found


def opened(method: Method, scored: Callable[[], Sequence[Row]]) -> Iterator[Row]:
    """The scores with each mask of every site opened, and with all of a site, less the scores as they are.

    Args:
        method: with masks.
        scored: translates a case and scores it.
    """
    assert isinstance(method, nn.Module)
    plain = scored()
    for name, stack in method.named_modules():
        if not isinstance(stack, MaskStack):
            continue
        site, count = name.rsplit(".", 1)[-1], len(stack.heads)
        each = {f"mask {k + 1}": frozenset({k}) for k in range(count)}
        for label, forced in {**each, "all": frozenset(range(count))}.items():
            stack.forced = forced
            try:
                changed = scored()
            finally:
                stack.forced = frozenset()
            for now, before in zip(changed, plain, strict=True):
                yield replace(
                    now,
                    method=f"{label} {OPENED}",
                    region=site,
                    convention=f"{now.convention}, less as it is",
                    value=now.value - before.value,
                    n=count,
                )


def lines(found: Sequence[Reading]) -> dict[str, dict[str, Line]]:
    """Reading → site → steps and values, for charts; of several runs the first."""
    made: dict[str, dict[str, Line]] = {}
    for reading in SHOWN:
        for site in dict.fromkeys(r.site for r in found):
            own = [r for r in found if (r.run, r.site, r.reading) == (found[0].run, site, reading)]
            if own:
                made.setdefault(reading, {})[site] = ([r.step for r in own], [r.value for r in own])
    return made


def write_readings(path: Path, found: Sequence[Reading]) -> None:
    """A CSV table with a row for every run, step, site and reading."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([f.name for f in fields(Reading)])
    table.writerows(astuple(reading) for reading in found)
    write_text(path, text.getvalue())


def readings_table(found: Sequence[Row]) -> str:
    """Markdown: a line for every site, means over cases."""
    shown = [name for name in SHOWN if any(row.metric == name for row in found)]
    return _by_site(found, shown, lambda row: row.metric)


def worth_table(found: Sequence[Row], metric: str) -> str:
    """Markdown: what opening masks adds to a metric, a line for every site."""
    own = [row for row in found if row.metric == metric]
    shown = list(dict.fromkeys(row.method for row in own))
    return _by_site(own, shown, lambda row: row.method)


def _by_site(found: Sequence[Row], shown: Sequence[str], name: Callable[[Row], str]) -> str:
    made = [f"| site | n | {' | '.join(shown)} |", f"|---|---:|{'---:|' * len(shown)}"]
    for site in dict.fromkeys(row.region for row in found):
        own = [row for row in found if row.region == site]
        values = [np.array([row.value for row in own if name(row) == word]) for word in shown]
        made.append(f"| {site} | {max(map(len, values))} | {' | '.join(spread(v) for v in values)} |")
    return "\n".join(made)
