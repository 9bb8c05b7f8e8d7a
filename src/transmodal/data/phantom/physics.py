"""Physics: from an anatomy to a scan.

Magnitudes of the MR signal, relative to fully relaxed water (times in ms)::

    T1w    spoiled gradient echo   PD sin α (1 - E1) / (1 - E1 cos α),          E1 = exp(-TR / T1)
    T2w    spin echo               PD (1 - exp(-TR / T1)) exp(-TE / T2)
    PDw    the same with a short TE
    FLAIR  inversion recovery      PD |1 - 2 exp(-TI / T1) + exp(-TR / T1)| exp(-TE / T2), TI nulls fluid

(Bernstein, King, Zhou: Handbook of MRI Pulse Sequences, 2004.) A voxel's signal is the sum of its tissues' signals
by their share, times a smooth bias field, with Rician noise (Gudbjartsson and Patz, 1995).
"""

import math

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from transmodal.data.modality import modality
from transmodal.data.phantom.anatomy import Anatomy
from transmodal.data.phantom.fields import Field, few_waves
from transmodal.data.phantom.tissues import TISSUES
from transmodal.data.volume import Volume
from transmodal.errors import RecipeError, nearest

MR = ("T1w", "T2w", "PDw", "FLAIR")
CONTRASTS = (*MR, "FA", "CT", "cryo")
_PEAK = 1000.0
"""What fully relaxed water would read in an MR image, in its arbitrary units."""


def spoiled_gradient_echo(t1: float, pd: float, *, tr: float, degrees: float) -> float:
    """Signal of a spoiled gradient echo; T2* is left out."""
    e1, angle = math.exp(-tr / t1), math.radians(degrees)
    return pd * math.sin(angle) * (1 - e1) / (1 - e1 * math.cos(angle))


def spin_echo(t1: float, t2: float, pd: float, *, tr: float, te: float) -> float:
    """Signal of a spin echo."""
    return pd * (1 - math.exp(-tr / t1)) * math.exp(-te / t2)


def inversion_recovery(t1: float, t2: float, pd: float, *, tr: float, te: float, ti: float) -> float:
    """Magnitude of the signal of an inversion recovery spin echo."""
    return pd * abs(1 - 2 * math.exp(-ti / t1) + math.exp(-tr / t1)) * math.exp(-te / t2)


def nulling_time(t1: float, tr: float) -> float:
    """The inversion time at which a tissue gives no signal."""
    return t1 * (math.log(2) - math.log(1 + math.exp(-tr / t1)))


def signal(contrast: str, tissue: str, vary: float = 1.0) -> float:
    """Signal of a pure tissue, relative to water; ``vary`` multiplies its relaxation times."""
    t = TISSUES[tissue]
    t1, t2 = t.t1 * vary, t.t2 * vary
    if contrast == "T1w":
        return 4 * spoiled_gradient_echo(t1, t.pd, tr=18.0, degrees=30.0)
    if contrast == "T2w":
        return spin_echo(t1, t2, t.pd, tr=3300.0, te=100.0)
    if contrast == "PDw":
        return spin_echo(t1, t2, t.pd, tr=3300.0, te=20.0)
    return 1.6 * inversion_recovery(t1, t2, t.pd, tr=9000.0, te=90.0, ti=nulling_time(TISSUES["csf"].t1, 9000.0))


def lesion_sign(contrast: str) -> float:
    """1 where a white-matter lesion is brighter than white matter, or nothing is known; -1 where it is darker."""
    if contrast in MR:
        return math.copysign(1.0, signal(contrast, "lesion") - signal(contrast, "white"))
    return -1.0 if contrast in ("FA", "CT") else 1.0


def simulate(anatomy: Anatomy, contrast: str, *, seed: int, noise: float = 0.02, bias: float = 0.1) -> Volume:
    """A scan of an anatomy.

    Args:
        anatomy: the head.
        contrast: ``T1w``, ``T2w``, ``PDw``, ``FLAIR`` (arbitrary units), ``FA`` (0 to 1), ``CT`` (HU) or
            ``cryo`` (RGB, 0 to 255).
        seed: of noise, bias and the subject's own relaxation times.
        noise: standard deviation of the noise in each channel of the receiver, relative to the mean of white
            matter; for FA and CT scaled to their customary noise.
        bias: the field runs from 1 - bias to 1 + bias.

    Raises:
        RecipeError: an unknown contrast, negative noise, or a bias of 1 or more.
    """
    if contrast not in CONTRASTS:
        raise RecipeError(f"phantom contrast {contrast!r}{nearest(contrast, CONTRASTS)}")
    if noise < 0 or not 0 <= bias < 1:
        raise RecipeError(f"phantom noise = {noise}, bias = {bias}: noise is at least 0, bias from 0 to below 1")
    rng = np.random.default_rng([seed, 2, CONTRASTS.index(contrast)])
    shares = anatomy.fractions
    if contrast in MR:
        data = _magnetic(anatomy, contrast, seed, rng, noise, bias)[None]
    elif contrast == "FA":
        data = _anisotropy(anatomy, shares, rng, noise)[None]
    elif contrast == "CT":
        clean = np.sum([share * np.float32(TISSUES[name].hu) for name, share in shares.items()], axis=0)
        data = np.clip(np.round(clean + _grain(clean.shape, rng) * (500 * noise)), -1024, 3071)[None]
    else:
        data = _section(shares, rng, noise)
    return Volume(data.astype(np.float32), anatomy.grid, contrast)


def stored_as(contrast: str) -> str:
    """The dtype that a contrast is written in: integers where its values are."""
    return "int16" if contrast in MR else modality(contrast).dtype


def _magnetic(
    anatomy: Anatomy, contrast: str, seed: int, rng: np.random.Generator, noise: float, bias: float
) -> Field:
    shares = anatomy.fractions
    subject = np.random.default_rng([seed, 3])
    vary = {name: float(subject.normal(1, 0.04)) for name in TISSUES}
    # Relaxation also varies inside a tissue: iron and myelin are not spread evenly.
    uneven = 1 + np.float32(0.03) * few_waves(anatomy.grid, 14.0, np.random.default_rng([seed, 4]))
    clean = np.zeros(anatomy.labels.shape, dtype=np.float32)
    for name, share in shares.items():
        clean += share * np.float32(signal(contrast, name, vary[name]))
    field = few_waves(anatomy.grid, 55.0, rng)
    field = 1 + bias * field / max(float(np.abs(field).max()), 1e-6)
    spread = noise * signal(contrast, "white")
    gain = _PEAK * float(rng.uniform(0.8, 1.25))
    seen = clean * uneven * field
    real = seen + spread * _grain(seen.shape, rng)
    imaginary = spread * _grain(seen.shape, rng)
    return np.round(gain * np.hypot(real, imaginary))


def _anisotropy(anatomy: Anatomy, shares: dict[str, Field], rng: np.random.Generator, noise: float) -> Field:
    own = {name: np.float32(TISSUES[name].fa) for name in shares}
    bundles = np.float32(0.22) + np.float32(0.62) * anatomy.coherence
    fa = np.sum([share * (bundles if name == "white" else own[name]) for name, share in shares.items()], axis=0)
    # Diffusion is measured on coarser voxels than anatomy: more partial volume.
    blurred = ndimage.gaussian_filter(fa, 0.45)
    inside = 1 - shares["air"] if "air" in shares else 1.0
    return np.clip(np.abs(blurred + noise * _grain(blurred.shape, rng)) * inside, 0, 1)


def _section(shares: dict[str, Field], rng: np.random.Generator, noise: float) -> Float32[np.ndarray, "3 X Y Z"]:
    colour = np.zeros((3, *next(iter(shares.values())).shape), dtype=np.float32)
    for name, share in shares.items():
        colour += share * np.asarray(TISSUES[name].colour, dtype=np.float32).reshape(3, 1, 1, 1)
    inside = 1 - shares["air"] if "air" in shares else np.ones_like(colour[0])
    texture = ndimage.gaussian_filter(_grain(colour.shape[1:], rng), 0.8)
    shade = 1 + 3 * noise * texture + noise * _grain(colour.shape[1:], rng)
    return np.round(np.clip(colour * shade * inside**0.5, 0, 255))


def _grain(shape: tuple[int, ...], rng: np.random.Generator) -> Float32[np.ndarray, "..."]:
    return rng.standard_normal(shape, dtype=np.float32)
