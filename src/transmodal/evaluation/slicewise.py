"""Slice by slice: scores of axial slices, each by itself, and their mean. Conventions of much published code."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite, isinf, isnan

from transmodal.data.modality import Modality
from transmodal.evaluation.comparison import Comparison, DataRange, Score, measure
from transmodal.metrics.synthrad import HU_2023


def by_slice(
    c: Comparison,
    *,
    name: str,
    metrics: Sequence[str],
    masked: bool = False,
    own_maximum: bool = False,
) -> Iterator[Score]:
    """Every axial slice by itself, then the mean over the slices with a finite value.

    Args:
        c: what is compared.
        name: words that the convention begins with.
        metrics: which.
        masked: whether only the mask counts; slices without any of it are left out then.
        own_maximum: divide each slice of both volumes by its own maximum first; those without one are undefined.
    """
    mask = c.mask if masked else None
    size = DataRange(1.0, "range=1") if own_maximum else c.range_in(mask)
    unit = "1" if own_maximum else c.kind.unit
    found: dict[str, list[Score]] = {metric: [] for metric in metrics}
    undefined = 0
    # Slice after slice in memory: cheaper to read than every 182nd voxel.
    made, truth = (volume.movedim(3, 0).contiguous()[..., None] for volume in (c.prediction, c.reference))
    for z, (x, y) in enumerate(zip(made, truth, strict=True)):
        inside = None if mask is None else mask[..., z : z + 1]
        if inside is not None and not bool(inside.any()):
            continue
        if own_maximum:
            tops = float(x.max()), float(y.max())
            if not min(tops) > 0:
                undefined += 1
                continue
            x, y = x.double() / tops[0], y.double() / tops[1]
        region = "mask" if masked else "volume"
        for score in measure(x, y, inside, metrics, size, region=region, unit=unit, lead=name):
            found[score.metric].append(score)
    for metric in metrics:
        scores = found[metric]
        values = [score.value for score in scores if isfinite(score.value)]
        if scores:
            yield replace(
                scores[0],
                value=sum(values) / len(values) if values else float("nan"),
                n=len(values),
                infinite=sum(isinf(score.value) for score in scores),
                undefined=undefined + sum(isnan(score.value) for score in scores),
            )


def as_in_papers(c: Comparison, *, name: str, limits: tuple[float, float], whole: bool) -> Iterator[Score]:
    """Whole slices as a network sees them, or a picture holds them.

    Args:
        c: what is compared; of a kind with a physical window.
        name: word that the convention begins with.
        limits: what the ends of the window become; their distance is R.
        whole: whether values are then rounded to whole numbers.
    """
    low, high = _window(c)
    width, size = high - low, limits[1] - limits[0]
    x, y = (limits[0] + size * ((v.double() - low) / width) for v in c.clipped((low, high)))
    if whole:
        x, y = x.round(), y.round()
    scaled = Modality(c.kind.name, unit="1", window=limits, channels=c.kind.channels)
    lead = f"{name} clip={low:.10g}..{high:.10g} to={limits[0]:.10g}..{limits[1]:.10g}"
    changed = replace(c, prediction=x, reference=y, mask=None, labels=None, kind=scaled, data_range=None)
    yield from by_slice(changed, name=lead, metrics=("MAE", "PSNR", "SSIM"))


def _window(c: Comparison) -> tuple[float, float]:
    """What papers clip to: the physical window, for CT that of the SynthRAD2023 challenge."""
    assert c.kind.window is not None
    return HU_2023 if c.kind.unit == "HU" else c.kind.window
