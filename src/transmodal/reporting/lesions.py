"""The survival of lesions: numbers, tables and the page."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float

from transmodal.evaluation.contrast import Probe, echo, false, kept
from transmodal.evaluation.statistics import interval_of_mean
from transmodal.reporting import sections
from transmodal.reporting.charts import bands
from transmodal.reporting.curves import Curve
from transmodal.reporting.figures import ERROR, panel
from transmodal.reporting.findings import Grid, markdown
from transmodal.reporting.html import PURPOSE, document
from transmodal.reporting.tables import FLOORS, order

FORMAT = "transmodal.lesions/1"

_HOW = (
    "Kept: the contrast that lesions have in the synthetic volume, as a share of what they should have (slope "
    "through the origin over the lesions of a case; 1 is all, 0 none, below 0 the wrong way round). Echo: "
    "change of contrast at places without a lesion. False: contrast that the method shows or misses by itself, "
    "before anything is put in; both in units of the lesions' own contrast. Mean over cases, 95 % interval."
)
_MODES = {
    "simulated": "The heads are phantoms and were scanned again with lesions in white matter, source and target "
    "with the same noise: what should change is known.",
    "painted": "Lesions were painted into the sources, in the direction in which white-matter lesions differ; at "
    "intensity 1 by three tenths of the source's window. What should change is not known: expected is the same "
    "share of the target's window.",
}
_CHANGE = "Change: black is none, red brighter, blue darker; the scale ends at a quarter of the window."


@dataclass(frozen=True)
class Survival:
    """What became of the lesions.

    Attributes:
        method: the label of the first run: whose number goes on the model card.
        target: modality that was made.
        unit: of contrasts.
        mode: ``simulated``, ``painted``, or both.
        diameters: in mm.
        intensities: 1 is a full lesion.
        probes: every place, size and intensity.
        notes: what was left out, in sentences.
        people: case → the case under whose name its person counts; each for itself where it is not there.
    """

    method: str
    target: str
    unit: str
    mode: str
    diameters: tuple[float, ...]
    intensities: tuple[float, ...]
    probes: Sequence[Probe]
    notes: Sequence[str] = ()
    people: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """Floors first."""
        return order([one.method for one in self.probes])

    def over_cases(self, method: str, number: Callable[[Sequence[Probe]], float]) -> dict[str, float]:
        """Person → a number of the probes of all of their cases."""
        cases: dict[str, list[Probe]] = {}
        for one in self.probes:
            if one.method == method:
                cases.setdefault(self.people.get(one.case, one.case), []).append(one)
        return {case: number(own) for case, own in cases.items()}

    def curve(self, method: str, attribute: str, doses: Sequence[float]) -> Curve:
        """Kept contrast against ``diameter`` or ``intensity``, over all of the other."""
        found = [
            self.over_cases(method, lambda own, dose=dose: kept(  # type: ignore[misc]
                [one for one in own if getattr(one, attribute) == dose]))
            for dose in doses
        ]  # fmt: skip
        cases = tuple(found[0])
        return Curve(tuple(doses), cases, np.array([[by[case] for case in cases] for by in found]))


@dataclass(frozen=True, eq=False)
class Picture:
    """One axial slice through a lesion.

    Attributes:
        source: name of the first source, without and with lesions.
        target: the true target with lesions; None where it is not known.
        due: how the target should change.
        made: method → what it makes of the source with lesions.
        change: method → how that differs from what it makes without.
        window: values drawn black and white.
    """

    source: tuple[str, Float[np.ndarray, "X Y"], Float[np.ndarray, "X Y"]]
    target: Float[np.ndarray, "X Y"] | None
    due: Float[np.ndarray, "X Y"]
    made: Mapping[str, Float[np.ndarray, "X Y"]]
    change: Mapping[str, Float[np.ndarray, "X Y"]]
    window: tuple[float, float]


def lesions_facts(found: Survival) -> dict[str, Any]:
    """What ``lesions.json`` holds; ``kept`` of ``methods[method]`` is the number for a model card."""
    lesions = {(one.case, one.place) for one in found.probes if one.kind == "lesion"}
    return {
        "format": FORMAT,
        "method": found.method,
        "target": found.target,
        "unit": found.unit,
        "mode": found.mode,
        "diameters": list(found.diameters),
        "intensities": list(found.intensities),
        "cases": len({one.case for one in found.probes}),
        "lesions": len(lesions),
        "methods": {
            method: {
                "kept": _mean(found.over_cases(method, kept)),
                "echo": _mean(found.over_cases(method, echo)),
                "false": _mean(found.over_cases(method, false)),
                "by_diameter": _points(found.curve(method, "diameter", found.diameters)),
                "by_intensity": _points(found.curve(method, "intensity", found.intensities)),
            }
            for method in found.methods
        },
        "sentences": [*sentences(found), _mode(found)],
    }


def lesions_markdown(found: Survival) -> str:
    """The table, and how to read it."""
    lines = [f"- {one}" for one in sentences(found)]
    return "\n\n".join([markdown(*_table(found)), "\n".join(lines), f"{_mode(found)} {_HOW}"]) + "\n"


def sentences(found: Survival) -> list[str]:
    """What must not be overlooked."""
    said = []
    for method in found.methods:
        if method in FLOORS:
            continue
        number, own = _mean(found.over_cases(method, kept)), _mean(found.over_cases(method, false))
        if number["mean"] is None:
            continue
        round_about = " It shows them the wrong way round: dark where they are bright, or the reverse."
        said.append(
            f"{method} keeps {_percent(number['mean'])} of the contrast of inserted lesions."
            + (round_about if number["high"] is not None and number["high"] < 0 else "")
        )
        smallest = _points(found.curve(method, "diameter", found.diameters))[0]
        if smallest["mean"] is not None:
            said.append(f"{method}: of lesions of {smallest['x']:g} mm it keeps {_percent(smallest['mean'])}.")
        if own["mean"] is not None and abs(number["mean"]) < own["mean"]:
            said.append(
                f"{method}: what is left of a full lesion does not stand out from what it shows by itself."
            )
    return [*said, *found.notes]


def lesions_page(found: Survival, pictures: Mapping[str, Picture]) -> str:
    """The page as HTML."""
    images = "".join(_pictures(case, picture) for case, picture in pictures.items())
    parts = {
        ("summary", "What is left of a lesion"): [
            sections.grid(*_table(found)),
            sections.bullets(sentences(found)),
            sections.paragraph(f"{_mode(found)} {_HOW}", "note"),
        ],
        ("curves", "Against size and intensity"): [_curves(found)],
        ("images", "Largest lesions, full intensity"): [images],
    }
    there = {place: body for place, body in parts.items() if any(body)}
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title in there)
    facts = lesions_facts(found)
    words = f"{facts['lesions']} lesions in {facts['cases']} cases · {found.mode} · {', '.join(found.methods)}"
    header = (
        f"<header><h1>{escape(f'Lesions in synthetic {found.target}')}</h1>{sections.paragraph(words, 'facts')}"
        f"{sections.paragraph(PURPOSE, 'purpose')}<nav>{links}</nav></header>"
    )
    return document("Lesions", header, [sections.section(*place, *body) for place, body in there.items()])


def _table(found: Survival) -> Grid:
    heads = ["method", "cases", "kept", *(f"{d:g} mm" for d in found.diameters),
             *(f"intensity {i:g}" for i in found.intensities), "echo", "false"]  # fmt: skip
    rows = []
    for method in found.methods:
        own = found.over_cases(method, kept)
        curves = [
            found.curve(method, "diameter", found.diameters),
            found.curve(method, "intensity", found.intensities),
        ]
        cells = [_number(point["mean"]) for curve in curves for point in _points(curve)]
        aside = [_number(_mean(found.over_cases(method, number))["mean"]) for number in (echo, false)]
        name = f"{method} (floor)" if method in FLOORS else method
        rows.append([name, str(len(own)), _with_ends(_mean(own)), *cells, *aside])
    return heads, rows


def _curves(found: Survival) -> str:
    parts = []
    for attribute, doses, label in (
        ("diameter", found.diameters, "diameter of the lesion (mm)"),
        ("intensity", found.intensities, "intensity of the lesion"),
    ):
        if len(doses) > 1:
            curves = {method: found.curve(method, attribute, doses) for method in found.methods}
            png = bands({f"contrast kept, by {attribute}": curves}, label)
            parts.append(sections.image(png, f"Contrast kept by {attribute}", shrink=2))
    return "".join(parts)


def _pictures(case: str, picture: Picture) -> str:
    name, before, after = picture.source
    low, high = (float(v) for v in np.percentile(before[before != 0] if before.any() else before, (1, 99)))
    first = panel([(name, before), (f"{name} with lesions", after)], (low, high if high > low else low + 1))
    target = [] if picture.target is None else [("true target with lesions", picture.target)]
    made = panel([*target, *picture.made.items()], picture.window)
    changes = [(f"{ERROR} due", picture.due)]
    changes += [(f"{ERROR} {method}", change) for method, change in picture.change.items()]
    changed = panel(changes, picture.window)
    return (
        f"<h3>{escape(case)}</h3>"
        + sections.image(first, "Source without and with lesions", kind="wide")
        + sections.image(made, "What the methods make of the source with lesions", kind="wide")
        + sections.image(changed, "Change that is due, and that the methods make", _CHANGE, kind="wide")
    )


def _mode(found: Survival) -> str:
    return " ".join(words for mode, words in _MODES.items() if mode in found.mode)


def _mean(values: Mapping[str, float]) -> dict[str, Any]:
    usable = [value for value in values.values() if math.isfinite(value)]
    span = interval_of_mean(usable) if usable else None
    return {
        "mean": float(np.mean(usable)) if usable else None,
        "low": span.low if span else None,
        "high": span.high if span else None,
        "n": len(usable),
        "interval": span.how if span else "",
    }


def _points(curve: Curve) -> list[dict[str, Any]]:
    return [{"x": x, **_mean(dict(zip(curve.cases, row.tolist(), strict=True)))}
            for x, row in zip(curve.x, curve.values, strict=True)]  # fmt: skip


def _with_ends(number: Mapping[str, Any]) -> str:
    ends = "" if number["low"] is None else f" [{number['low']:.2f}, {number['high']:.2f}]"
    return _number(number["mean"]) + ends


def _number(value: float | None) -> str:
    # Adding 0 turns a rounded -0 into 0.
    return "–" if value is None else f"{round(value, 2) + 0.0:.2f}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"
