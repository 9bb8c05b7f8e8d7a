"""Guard: is a new scan of the kind that the model was trained on? Each thing that differs is one sentence.

Judged are contrast, units, voxel size, sharpness, how the head lies, and whether it still has its skull. How a
file stores its axes is not: images are turned by their header.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transmodal import progress
from transmodal.data.intensity import IntensityFit
from transmodal.data.modality import modality
from transmodal.errors import Refused
from transmodal.inference.profile import Profile, turns

LIMITS = {"pattern": 2.0, "levels": 2.0, "detail": 2.6, "layout": 2.6}
"""Aspect → distance from the profile (:meth:`.profile.Profile.distance`) that is still proper."""
_SLACK = 1.15
"""An image may lie this much further from the profile than the oddest training image lies from the others'."""
_SPACING, _LITRES = 1.4, 1.6
"""Voxel edges and sizes of the foreground may leave what was seen in training by this factor."""
_SAME_VOXELS = 1.1
"""Sharpness is compared where voxels are of the training's size to within this factor."""
_UPRIGHT = 0.4
"""A head lies wrong where another way up brings it this much nearer to the profile, in mean squares."""
_RIVAL = 1.0
"""How much less another modality's profile must be surprised by an image to claim it."""
UNCHECKED = "the model has no profile of its training images, so nothing says whether this scan is of their kind"


def watch(
    profiles: Mapping[str, Profile],
    facts: Mapping[str, Mapping[str, Any]],
    fits: Mapping[str, IntensityFit],
    spacings: Sequence[float],
    names: Mapping[str, str],
    *,
    force: bool = False,
) -> dict[str, list[str]]:
    """Refuse scans that the model was not trained for.

    Args:
        profiles: modality → profile, of sources and of whatever else the training cases had; may be empty.
        facts: source → what :func:`transmodal.data.bring.bring` found, with ``traits``.
        fits: source → its normalisation.
        spacings: voxel edges in mm that every image is resampled to, 0 for none.
        names: source → what to call its image.
        force: warn instead.

    Returns:
        Source → sentences, for sources with a profile; empty lists where nothing differs.

    Raises:
        Refused: naming each image and what differs.
    """
    found: dict[str, list[str]] = {}
    for source in facts:
        if source not in profiles:
            progress.say(f"{names[source]}: {UNCHECKED}")
            continue
        found[source] = differences(source, facts[source]["traits"], fits[source], profiles, spacings)
    wrong = [f"{names[source]}: {'; '.join(words)}" for source, words in found.items() if words]
    if wrong and not force:
        raise Refused(
            f"{'; '.join(wrong)} (the model was not trained for this; add --force to go on all the same)"
        )
    for sentence in wrong:
        progress.warn(f"{sentence} (the model was not trained for this; expect wrong images)")
    return found


def differences(
    name: str,
    traits: Mapping[str, Any],
    fit: IntensityFit,
    profiles: Mapping[str, Profile],
    spacings: Sequence[float] = (0.0, 0.0, 0.0),
) -> list[str]:
    """What sets an image apart from the training images of the modality ``name``; empty if nothing does."""
    profile = profiles[name]
    found = [
        _units(name, traits, fit, profile) or _contrast(name, traits, profiles),
        _voxels(traits, profile, spacings),
        _head(traits, profile),
        _lying(traits, profile),
    ]
    if not any(found):
        found.append(_sharpness(traits, profile))
    return [sentence for sentence in found if sentence]


def limit(profile: Profile, aspect: str) -> float:
    """The distance up to which an image is proper; wider where few were seen."""
    return max(LIMITS[aspect] * (1 + 1 / profile.cases), _SLACK * profile.furthest.get(aspect, 0.0))


def _units(name: str, traits: Mapping[str, Any], fit: IntensityFit, profile: Profile) -> str:
    """For a physical quantity: its quantiles against those of training, in its unit."""
    if not profile.window or not traits["window"]:
        return ""
    if profile.distance(traits, "levels") <= limit(profile, "levels"):
        return ""
    unit = modality(name).unit
    ends = [
        fit.invert(np.asarray([levels[0], levels[-1]])) for levels in (traits["levels"], profile.centre["levels"])
    ]
    (low, high), (least, most) = ([float(v) for v in pair] for pair in ends)
    return (
        f"its values go from {low:.4g} to {high:.4g} {unit}, where those of training go from {least:.4g} to "
        f"{most:.4g} {unit} (5 to 95 % of the foreground): wrong units, or no {name}?"
    )


def _voxels(traits: Mapping[str, Any], profile: Profile, spacings: Sequence[float]) -> str:
    low, high = profile.spacing
    for own, least, most, grid in zip(traits["spacing"], low, high, spacings, strict=True):
        # What is finer than the model's grid is averaged away, before and now.
        if max(own, grid) > _SPACING * max(most, grid) or max(own, grid) < max(least, grid) / _SPACING:
            return f"voxels of {_mm(traits['spacing'])} mm, where training had {_mm(low)} to {_mm(high)} mm"
    return ""


def _head(traits: Mapping[str, Any], profile: Profile) -> str:
    own, (low, high) = traits["litres"], profile.litres
    if low / _LITRES <= own <= high * _LITRES:
        return ""
    guess = "skull-stripped, or voxels of a wrong size?" if own < low else (
        "not skull-stripped as those were, or voxels of a wrong size?"
    )  # fmt: skip
    return f"its foreground is {own:.2g} l, where training had {low:.2g} to {high:.2g} l: {guess}"


def _lying(traits: Mapping[str, Any], profile: Profile) -> str:
    own = profile.distance(traits, "layout")
    otherwise = min(profile.distance(traits, "layout", turn) for turn in turns())
    if otherwise**2 < own**2 - _UPRIGHT:
        return "it does not lie as its header says (front or top seem to be elsewhere): repair the orientation"
    if own <= limit(profile, "layout"):
        return ""
    return (
        f"its outline is unlike those of training ({_times(own, profile, 'layout')}): another part of the body, "
        "or another field of view?"
    )


def _contrast(name: str, traits: Mapping[str, Any], profiles: Mapping[str, Profile]) -> str:
    profile = profiles[name]
    own = profile.distance(traits, "pattern")
    channels = modality(name).channels
    rivals = {
        other: rival.surprise(traits)
        for other, rival in profiles.items()
        if other != name and rival.window == profile.window and modality(other).channels == channels
    }
    nearest = min(rivals, key=lambda other: rivals[other], default="")
    if nearest and rivals[nearest] < profile.surprise(traits) - _RIVAL:
        return f"it looks like {nearest}, not like {name}"
    if own <= limit(profile, "pattern"):
        return ""
    return (
        f"its contrast is not that of the {name} of training ({_times(own, profile, 'pattern')}): another "
        "sequence, or a contrast agent?"
    )


def _sharpness(traits: Mapping[str, Any], profile: Profile) -> str:
    edges = zip(traits["spacing"], *profile.spacing, strict=True)
    if not all(low / _SAME_VOXELS <= own <= high * _SAME_VOXELS for own, low, high in edges):
        return ""
    own = profile.distance(traits, "detail")
    if own <= limit(profile, "detail"):
        return ""
    return (
        "it is much sharper or smoother than the images of training: interpolated, filtered, or slices of another "
        "thickness?"
    )


def _times(distance: float, profile: Profile, aspect: str) -> str:
    return (
        f"{distance:.1f} times the usual difference between people, up to {limit(profile, aspect):.1f} are proper"
    )


def _mm(spacing: Sequence[float]) -> str:
    return "×".join(f"{s:.3g}" for s in spacing)
