"""Conventions: the named ways in which this field computes one and the same score.

A convention says which voxels count, what happens to values first, what the data range is, and what is averaged.
The metrics are those of :mod:`transmodal.metrics`; here is only what is done around them. Numbers of two
conventions must never stand in one column.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from transmodal.evaluation.comparison import Comparison, DataRange, Score, measure
from transmodal.evaluation.slicewise import as_in_papers, by_slice
from transmodal.evaluation.tissues import by_tissue
from transmodal.metrics import METRICS
from transmodal.metrics.region import box
from transmodal.metrics.shifted import best_shift, moved
from transmodal.metrics.synthrad import HU_2023, HU_2025, ms_ssim_2025, ssim_2023

BASIC = ("MAE", "NMSE", "PSNR", "SSIM", "MS-SSIM")
STRICT = (*BASIC, "NMI", "PCC", "Sharpness", "SliceConsistency", "ArtefactEnergy")
COLOUR = (
    *("MAE", "PSNR", "SSIM", "MS-SSIM", "SSIM-windows", "STSIM-1", "STSIM-2"),
    *("delta-CF", "CF-bias", "CIEDE2000"),
)
"""Of volumes with three channels. A metric that needs colour goes here."""

LUMINANCE = ("SSIM", "MS-SSIM")
"""What others take of the luminance alone; other metrics of structure have a grey of their own definition."""
_REC_601 = (0.299, 0.587, 0.114)

Measure = Callable[[Comparison], Iterator[Score]]


@dataclass(frozen=True)
class Convention:
    """One way to compute scores.

    Attributes:
        name: as in the first word of the tidy table's convention (``strict`` and ``volume`` go without).
        summary: what it is for, one sentence.
        mask: which voxels count.
        window: what happens to the values first.
        data_range: R.
        average: what a value is the mean of.
        missing: why it does not apply to a comparison; empty where it does.
        measure: the scores.
    """

    name: str
    summary: str
    mask: str
    window: str
    data_range: str
    average: str
    missing: Callable[[Comparison], str]
    measure: Measure


def _always(c: Comparison) -> str:
    return ""


def _needs_mask(c: Comparison) -> str:
    if c.mask is None:
        return "there is no mask; give --mask"
    return "" if bool(c.mask.any()) else "the mask has no voxel"


def _needs_ct(c: Comparison) -> str:
    return "it is defined for CT in HU; give --target CT if this is CT" if c.kind.unit != "HU" else _needs_mask(c)


def _needs_window(c: Comparison) -> str:
    return "" if c.kind.window is not None else f"{c.kind.name} is in arbitrary units, which have no window"


def _needs_challenge(c: Comparison) -> str:
    if c.kind.unit == "HU" and min(c.reference.shape[1:]) < 7:
        return "its window needs 7 voxels along each axis"
    return _needs_ct(c)


def _needs_fa(c: Comparison) -> str:
    return "" if c.kind.name == "FA" else "it is defined for FA; give --target FA if this is FA"


def _needs_colour(c: Comparison) -> str:
    return "" if len(c.reference) == 3 else f"it needs three channels, the volumes have {len(c.reference)}"


def _needs_lesion(c: Comparison) -> str:
    if c.labels is None:
        return "there is no label map; give --labels"
    lesion, rest = _regions(c)
    if not bool(lesion.any()):
        return "the label map marks no voxel that counts"
    return "" if bool(rest.any()) else "the label map leaves no healthy voxel"


def _needs_positive(c: Comparison) -> str:
    if float(c.reference.min()) < 0:
        return "the reference has values below 0, so a slice's maximum is no scale"
    return "" if float(c.reference.max()) > 0 else "the reference has no value above 0"


def _needs_network(c: Comparison) -> str:
    return "no network is named; give --features with the file of VGG-19's weights (see `transmodal download`)"


def _regions(c: Comparison) -> tuple[Tensor, Tensor]:
    """Lesion and the rest, both in the mask where there is one."""
    assert c.labels is not None
    lesion = c.labels != 0
    inside = torch.ones_like(lesion) if c.mask is None else c.mask
    return lesion & inside, ~lesion & inside


def _strict(c: Comparison) -> Iterator[Score]:
    size = c.range_in(c.mask)
    plain = list(measure(c.prediction, c.reference, c.mask, STRICT, size, region="mask", unit=c.kind.unit))
    yield from plain
    # ShiftPSNR and ShiftSSIM are the plain ones at the best shift, which is looked for once.
    shift = best_shift(c.prediction, c.reference, c.mask)
    found = [score for score in plain if score.metric in ("PSNR", "SSIM")]
    if any(shift):
        x = moved(c.prediction, shift)
        found = list(measure(x, c.reference, c.mask, ("PSNR", "SSIM"), size, region="mask", unit=c.kind.unit))
    for score in found:
        name = f"Shift{score.metric}"
        words = f"{score.convention} {METRICS[name].detail(c.reference, c.mask)}"
        yield replace(score, metric=name, convention=words)


def _volume(c: Comparison) -> Iterator[Score]:
    yield from measure(c.prediction, c.reference, None, BASIC, c.range_in(None), region="volume", unit=c.kind.unit)


def _box(c: Comparison) -> Iterator[Score]:
    assert c.mask is not None
    around = box(c.mask, 0)
    cut = replace(
        c, prediction=c.prediction[:, *around], reference=c.reference[:, *around], mask=None, labels=None
    )
    size = cut.range_in(None)
    yield from measure(
        cut.prediction, cut.reference, None, BASIC, size, region="box", unit=c.kind.unit, lead="box"
    )


def _synthrad(c: Comparison, *, year: int, window: tuple[float, float]) -> Iterator[Score]:
    assert c.mask is not None
    inside, low, high = c.mask, window[0], window[1]
    size = DataRange(high - low, f"range={high - low:.10g}")
    lead, clip = f"synthrad{year}", f"clip={low:.10g}..{high:.10g}"
    say = partial(measure, inside=inside, region="mask", unit="HU", data_range=size)
    yield from say(c.prediction, c.reference, metrics=("MAE",), lead=lead)
    yield from say(*c.clipped(window), metrics=("PSNR",), lead=f"{lead} {clip}")
    # The challenges' arrays run to left, posterior, superior; halving depends on the direction.
    x, y, turned = c.prediction.flip(1, 2), c.reference.flip(1, 2), inside.flip(0, 1)
    name, value = ("SSIM", ssim_2023(x, y, turned)) if year == 2023 else ("MS-SSIM", ms_ssim_2025(x, y, turned))
    words = f"{lead} {clip} 3d masked {size.words} window=uniform7"
    yield Score("mask", name, words, value, "1", int(inside.sum()), size.words.removeprefix("range="))


def _brasyn(c: Comparison) -> Iterator[Score]:
    lesion, rest = _regions(c)
    size = c.range_in(lesion | rest)
    for region, inside in (("lesion", lesion), ("healthy", rest)):
        yield from measure(
            c.prediction, c.reference, inside, ("MAE", "PSNR", "SSIM"), size,
            region=region, unit=c.kind.unit, lead="regions",
        )  # fmt: skip


def _fa(c: Comparison) -> Iterator[Score]:
    region, lead = "mask" if c.mask is not None else "volume", "fa clip=0..1"
    size = DataRange(1.0, "range=1")
    yield from measure(
        *c.clipped((0.0, 1.0)), c.mask, ("MAE", "PSNR", "SSIM"), size, region=region, unit="1", lead=lead
    )
    for who, volume in (("prediction", c.prediction), ("reference", c.reference)):
        values = volume.flatten() if c.mask is None else volume[:, c.mask].flatten()
        for name, out in (("below 0", values < 0), ("above 1", values > 1)):
            words = f"fa {'whole' if c.mask is None else 'masked'}"
            yield Score(region, f"voxels {name} ({who})", words, float(out.sum()), "voxels", len(values))


def _colour(c: Comparison) -> Iterator[Score]:
    region = "mask" if c.mask is not None else "volume"
    size = c.range_in(c.mask)
    yield from measure(
        c.prediction, c.reference, c.mask, COLOUR, size, region=region, unit=c.kind.unit, lead="colour"
    )
    x, y = _luminance(c.prediction), _luminance(c.reference)
    yield from measure(x, y, c.mask, LUMINANCE, size, region=region, unit=c.kind.unit, lead="colour luminance")


def _luminance(volume: Float[Tensor, "3 X Y Z"]) -> Float[Tensor, "1 X Y Z"]:
    """Y of Rec. 601: 0.299 R + 0.587 G + 0.114 B."""
    return torch.tensordot(torch.tensor([_REC_601], dtype=torch.float64), volume.double(), dims=1)


_PHYSICAL = "given, else the physical window's width, else max - min of the reference in the voxels that count"
_ALL = (
    Convention(
        "strict", "What we recommend: the volume as a whole, in the mask, nothing changed.", "the mask", "none",
        _PHYSICAL, "voxels of a volume", _needs_mask, _strict,
    ),
    Convention(
        "volume", "Every voxel of the file; background flatters.", "none", "none", _PHYSICAL, "voxels of a volume",
        _always, _volume,
    ),
    Convention(
        "box", "Every voxel of the smallest box around the mask.", "bounding box of the mask", "none", _PHYSICAL,
        "voxels of the box", _needs_mask, _box,
    ),
    Convention(
        "slice-mean", "Mean over whole axial slices, each scored by itself (2D SSIM).", "none", "none", _PHYSICAL,
        "axial slices", _always, partial(by_slice, name="slice-mean", metrics=BASIC),
    ),
    Convention(
        "slice-mask", "Mean over axial slices, each scored in the mask (2D SSIM).", "the mask, slice by slice",
        "none", _PHYSICAL, "axial slices with a voxel in the mask", _needs_mask,
        partial(by_slice, name="slice-mask", metrics=("MAE", "PSNR", "SSIM"), masked=True),
    ),
    Convention(
        "slice-max", "As in much published code: each slice of both volumes is divided by its own maximum first.",
        "none", "each slice / its own maximum", "1", "axial slices with a value above 0", _needs_positive,
        partial(by_slice, name="slice-max", metrics=("MAE", "PSNR", "SSIM"), own_maximum=True),
    ),
    Convention(
        "paper-like", "Our reading of papers that say no more than PSNR and SSIM: slices as networks see them.",
        "none", "clipped to the physical window (CT: -1024..3000 HU) and brought to -1..1", "2", "axial slices",
        _needs_window, partial(as_in_papers, name="paper-like", limits=(-1.0, 1.0), whole=False),
    ),
    Convention(
        "paper-8bit", "The same where slices were stored as pictures first.", "none",
        "clipped to the physical window (CT: -1024..3000 HU), brought to 0..255 and rounded", "255",
        "axial slices", _needs_window, partial(as_in_papers, name="paper-8bit", limits=(0.0, 255.0), whole=True),
    ),
    Convention(
        "synthrad2023", "The SynthRAD2023 challenge, exactly: its SSIM has a uniform window of 7 voxels.",
        "the mask",
        "PSNR, SSIM: clipped to -1024..3000 HU; SSIM: -1024 outside the mask; MAE: none", "4024",
        "voxels of a volume (SSIM: 3 voxels or more from every face)", _needs_challenge,
        partial(_synthrad, year=2023, window=HU_2023),
    ),
    Convention(
        "synthrad2025", "The SynthRAD2025 challenge, exactly: luminance at every scale, padding to 97 voxels.",
        "the mask", "PSNR, MS-SSIM: clipped to -1024..3071 HU; MS-SSIM: -1024 outside the mask; MAE: none", "4095",
        "voxels of a volume", _needs_challenge, partial(_synthrad, year=2025, window=HU_2025),
    ),
    Convention(
        "tissues", "CT apart for air, soft tissue and bone of the reference; Dice of what is above 250 HU.",
        "the mask, cut at -200 and 250 HU of the reference", "none", "none is needed", "voxels of a tissue",
        _needs_ct, by_tissue,
    ),
    Convention(
        "regions", "As in BraSyn: the lesion and the healthy rest apart.",
        "labels that are not 0, and the rest of the mask", "none",
        f"{_PHYSICAL} (of both regions together)", "voxels of a region", _needs_lesion, _brasyn,
    ),
    Convention(
        "fa", "FA in its physical range; values outside are counted.", "the mask, else all", "clipped to 0..1",
        "1", "voxels of a volume", _needs_fa, _fa,
    ),
    Convention(
        "colour", "Colour pooled over its channels; SSIM and MS-SSIM of its luminance (Rec. 601), too.",
        "the mask, else all", "none", _PHYSICAL, "voxels of a volume", _needs_colour, _colour,
    ),
    Convention(
        "features", "What VGG-19 sees: LPIPS with weights of 1, and FID and KID over all cases.",
        "the mask, else all; black outside", "clipped to the range", _PHYSICAL, "axial slices", _needs_network,
        lambda c: iter(()),  # transmodal.evaluation.features measures it, where there is a network
    ),
)  # fmt: skip

CONVENTIONS: dict[str, Convention] = {convention.name: convention for convention in _ALL}
"""Name → convention, in the order of the passport."""
