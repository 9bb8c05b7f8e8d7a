"""Anatomy: which tissue is where, and where fibres run. Random, from a label map, or from an average brain.

Lengths are in millimetres, x to the right, y to the front, z up, zero in the middle of the brain.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float32, UInt8
from scipy import ndimage

from transmodal.data.box import bounds, slices
from transmodal.data.grid import Grid
from transmodal.data.phantom.fields import Field, Noise
from transmodal.data.phantom.tissues import BRAIN, CODE, FREESURFER, TISSUES
from transmodal.data.volume import Volume
from transmodal.errors import InputError, RecipeError
from transmodal.shapes import Mask

Point = tuple[float | int, float | int, float | int]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A head.

    Attributes:
        labels: code of the tissue at every voxel (:mod:`.tissues`).
        grid: where the voxels lie.
        coherence: how strongly one bundle of fibres dominates, 0 to 1; meaningful in white matter.
        implant: share of every voxel that was made lesion afterwards; None for nowhere.
    """

    labels: UInt8[np.ndarray, "X Y Z"]
    grid: Grid
    coherence: Field
    implant: Field | None = None

    @cached_property
    def fractions(self) -> dict[str, Field]:
        """Share of every tissue that occurs in every voxel; they sum to 1. Borders are about a voxel wide."""
        present = [name for name, tissue in TISSUES.items() if (self.labels == tissue.code).any()]
        shares = {name: self._soft(name) for name in present}
        if self.implant is None:
            return shares
        left = {name: share * (1 - self.implant) for name, share in shares.items()}
        return left | {"lesion": left.get("lesion", np.float32(0)) + self.implant}

    def with_implant(self, share: Field) -> "Anatomy":
        """The same head, of which a share (0 to 1) of every voxel has become lesion; labels stay as they are."""
        return replace(self, implant=share)

    def brain(self) -> Mask:
        """Everything inside the skull."""
        return np.isin(self.labels, [CODE[name] for name in BRAIN])

    def head(self) -> Mask:
        """Everything but air, holes filled."""
        return ndimage.binary_fill_holes(self.labels != CODE["air"])

    def _soft(self, name: str) -> Field:
        # One kernel for all tissues, so that the shares keep their sum.
        own = (self.labels == CODE[name]).astype(np.float32)
        return ndimage.gaussian_filter(own, 0.45, mode="nearest", truncate=3)


def centred_grid(size: tuple[int, int, int], spacing: float) -> Grid:
    """A grid whose middle voxel lies at the scanner's origin."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.asarray(size) - 1) / 2
    return Grid(size, affine)


def random_anatomy(
    size: tuple[int, int, int] = (96, 96, 96), spacing: float = 2.3, *, seed: int, lesions: int = 0
) -> Anatomy:
    """A head that nobody has.

    Args:
        size: voxels along X, Y, Z; at least 16 each.
        spacing: edge of a voxel in mm; 96 voxels of 2.3 mm hold a whole head.
        seed: of everything that is random.
        lesions: how many white-matter lesions.

    Raises:
        RecipeError: a size or spacing that cannot hold a head.
    """
    if min(size) < 16:
        raise RecipeError(f"phantom size = {list(size)}: give at least 16 voxels along every axis")
    if not spacing > 0 or lesions < 0 or seed < 0:
        raise RecipeError(f"phantom spacing = {spacing}, lesions = {lesions}, seed = {seed}: must be positive")
    rng = np.random.default_rng([seed, 1])
    grid = centred_grid(size, spacing)
    place = _placed(grid, rng)
    noise = Noise(grid, rng)
    labels = np.zeros(size, dtype=np.uint8)
    depth = _brain_depth(place, noise, rng)
    _shell(labels, place, depth, noise, rng)
    _brain(labels, place, depth, noise, rng)
    _inner(labels, place, depth, noise, rng)
    _lesions(labels, grid, lesions, rng)
    return Anatomy(labels, grid, _coherence(place, depth, noise))


def anatomy_from_labels(volume: Volume) -> Anatomy:
    """The anatomy of a label map with FreeSurfer codes.

    Raises:
        InputError: no white matter in it.
    """
    codes = volume.data[0]
    labels = np.full(codes.shape, CODE["muscle"], dtype=np.uint8)
    labels[codes == 0] = CODE["air"]
    for tissue, known in FREESURFER.items():
        labels[np.isin(codes, known)] = CODE[tissue]
    labels[(codes >= 1000) & (codes < 3000)] = CODE["grey"]
    if not (labels == CODE["white"]).any():
        raise InputError(f"{volume.name}: no white matter (2, 41) in the label map; FreeSurfer codes are needed")
    inside = np.isin(labels, [CODE[name] for name in BRAIN])
    depth = ndimage.distance_transform_edt(inside, sampling=volume.grid.spacing).astype(np.float32)
    middle = volume.affine[:3, :3] @ np.argwhere(inside).mean(axis=0) + volume.affine[:3, 3]
    place = _coordinates(volume.grid) - middle[:, None, None, None].astype(np.float32)
    noise = Noise(volume.grid, np.random.default_rng(0))
    return Anatomy(labels, volume.grid, _coherence(place, depth, noise))


def anatomy_from_mni() -> Anatomy:
    """The average brain (MNI152 grey and white matter at 2 mm) that nilearn carries, without a skull.

    Raises:
        InputError: nilearn is not installed.
    """
    try:
        from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template
    except ImportError as problem:
        raise InputError("the MNI152 maps come with nilearn: pip install 'transmodal[phantom]'") from problem
    grey, white = load_mni152_gm_template(resolution=2), load_mni152_wm_template(resolution=2)
    grey_share, white_share = np.asarray(grey.dataobj), np.asarray(white.dataobj)
    codes = np.where(white_share > np.maximum(grey_share, 0.3), 2, np.where(grey_share > 0.3, 3, 0))
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(codes > 0, iterations=2))
    codes[brain & (codes == 0)] = 24
    shape = (codes.shape[0], codes.shape[1], codes.shape[2])
    return anatomy_from_labels(Volume(codes[None], Grid(shape, np.asarray(grey.affine)), "MNI152"))


def _coordinates(grid: Grid) -> Float32[np.ndarray, "3 X Y Z"]:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"))
    place = np.tensordot(grid.affine[:3, :3], index, axes=1) + grid.affine[:3, 3].reshape(3, 1, 1, 1)
    return place.astype(np.float32)


def _placed(grid: Grid, rng: np.random.Generator) -> Float32[np.ndarray, "3 X Y Z"]:
    """Coordinates in the head: scanner coordinates after a small random turn, shift and change of size."""
    turn = np.eye(3)
    for axes, degrees in zip(((1, 2), (0, 2), (0, 1)), rng.uniform(-5, 5, 3), strict=True):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        one = np.eye(3)
        one[axes[0], axes[0]], one[axes[0], axes[1]], one[axes[1], axes[0]], one[axes[1], axes[1]] = c, -s, s, c
        turn = turn @ one
    extents = np.asarray(grid.shape) * np.asarray(grid.spacing)
    # A head is about 165 x 215 x 200 mm; in a smaller box it is made to fit.
    fit = min(1.0, float((extents / [172, 221, 206]).min()))
    stretch = fit * rng.uniform(0.95, 1.04, 3)
    middle = rng.uniform(-2, 2, 3) + np.array([0, 0, 14 * fit])
    place = _coordinates(grid) - middle.reshape(3, 1, 1, 1).astype(np.float32)
    return (np.tensordot(turn, place, axes=1) / stretch.reshape(3, 1, 1, 1)).astype(np.float32)


def _ellipsoid(place: Float32[np.ndarray, "3 X Y Z"], centre: Point, axes: Point) -> Field:
    """Roughly the distance in mm to the surface of an ellipsoid, positive inside."""
    scaled = (place - np.reshape(centre, (3, 1, 1, 1))) / np.reshape(axes, (3, 1, 1, 1))
    radius = np.sqrt((scaled**2).sum(axis=0))
    return ((1 - radius) * np.mean(axes)).astype(np.float32)


def _brain_depth(place: np.ndarray, noise: Noise, rng: np.random.Generator) -> Field:
    """Depth below the surface of brain and its fluid: cerebrum, cerebellum and stem, positive inside."""
    grow = rng.uniform(0.97, 1.05)
    cerebrum = _ellipsoid(place, (0, 2, 6), (64 * grow, 80 * grow, 58 * grow)) + 1.6 * noise(28.0)
    # The base is flatter than an ellipsoid, higher in front, and hangs down at the temporal lobes.
    temporal = 14 * np.exp(-(((np.abs(place[0]) - 38) / 15) ** 2) - ((place[1] - 8) / 30) ** 2)
    base = place[2] + 24 + temporal - 0.1 * np.maximum(place[1], -20) + 1.5 * noise(14.0)
    cerebrum = -5 * np.logaddexp(-cerebrum / 5, -base / 5)
    cerebellum = _ellipsoid(place, (0, -48, -38), (48, 32, 24)) + 0.8 * noise(20.0)
    stem = np.minimum(13 - np.hypot(place[0], place[1] + 22 + 0.12 * place[2]), 88 - np.abs(place[2] + 88) - 0.0)
    return np.maximum(np.maximum(cerebrum, cerebellum), stem).astype(np.float32)


def _shell(labels: np.ndarray, place: np.ndarray, depth: Field, noise: Noise, rng: np.random.Generator) -> None:
    """From the outside in: skin, fat, muscle, bone with marrow, fluid; a face in front and a neck below."""
    thick = rng.uniform(0.9, 1.15)
    skull = 7.5 * thick + 0.8 * noise(25.0)
    scalp = 6.0 * thick + 0.9 * noise(30.0)
    outer = _ellipsoid(place, (0, 2, 2), (80, 97, 78))
    vault = np.maximum(depth + skull + scalp, np.minimum(outer, depth + 24))
    face = _ellipsoid(place, (0, 52, -62), (58, 48, 62)) + 1.5 * noise(18.0)
    nose = _ellipsoid(place, (0, 100, -58), (13, 18, 20))
    neck = 58 - np.hypot(place[0], (place[1] + 8) * 0.95) + 1.2 * noise(30.0)
    neck = np.minimum(neck, -20 - place[2])
    surface = np.maximum.reduce([vault, face, nose, neck]).astype(np.float32)
    labels[surface > 0] = CODE["skin"]
    labels[surface > 2.6] = CODE["fat"]
    deep = surface > 6.0
    below = place[2] < -28
    labels[deep & below] = CODE["muscle"]
    patches = noise(9.0) > 0.9
    labels[deep & below & patches] = CODE["fat"]
    jaw = np.abs(_ellipsoid(place, (0, 48, -88), (40, 42, 22))) < 4.5
    spine = np.abs(_ellipsoid(place, (0, -30, -95), (17, 15, 60))) < 4.0
    labels[(jaw | spine) & deep & below] = CODE["bone"]
    wall = (depth > -skull) & (depth <= 0) & (surface > 2)
    labels[wall] = CODE["bone"]
    middle = np.abs(depth + skull / 2) < 0.17 * skull + 0.35 * noise(14.0)
    labels[wall & middle] = CODE["marrow"]
    sinus = np.maximum(
        _ellipsoid(place, (16, 68, -52), (13, 16, 15)), _ellipsoid(place, (-16, 68, -52), (13, 16, 15))
    )
    airway = np.maximum(sinus, np.minimum(9 - np.hypot(place[0], place[1] - 24), -45 - place[2]))
    labels[(airway > 0) & deep & (depth < -3)] = CODE["air"]
    for side in (-1, 1):
        eye = _ellipsoid(place, (side * 31, 72, -30), (12.5, 12.5, 12.5))
        labels[(eye > -3) & (surface > 1) & (depth < -2)] = CODE["fat"]
        labels[(eye > 0) & (surface > 0.5) & (depth < -2)] = CODE["eye"]


def _brain(labels: np.ndarray, place: np.ndarray, depth: Field, noise: Noise, rng: np.random.Generator) -> None:
    """Fluid on the outside, then a folded ribbon of grey matter about 3 mm thick, white matter within."""
    inside = depth > 0
    labels[inside] = CODE["csf"]
    radius = np.sqrt((place**2).sum(axis=0)) + 1e-3
    # Folds run inwards: the noise that makes them is read off a sphere, and bends a little on the way down.
    folds = _on_sphere(noise(5.0), noise.grid, place, radius) + 0.25 * noise(6.0)
    reach = rng.uniform(17, 22) * (0.8 + 0.2 * np.clip(noise(18.0), -1, 1))
    gap = 0.4 * np.clip(1 - depth / reach, 0, 1) ** 0.6
    cerebellum = (place[1] < -14) & (place[2] < -16 - 0.1 * (place[1] + 48))
    leaves = np.sin(2 * np.pi * (place[2] + 0.35 * place[1] + 1.2 * noise(12.0)) / 9.5)
    sulcus = np.where(cerebellum, (leaves > 0.86) & (depth < 11), np.abs(folds) < gap)
    fissure = (np.abs(place[0] + 0.8 * noise(30.0)) < 1.6) & (depth < 30) & (place[2] > 4)
    tentorium = (np.abs(place[2] + 17 + 0.1 * (place[1] + 48)) < 1.6) & (place[1] < -18) & (np.abs(place[0]) > 8)
    surface = 1.8 + 0.5 * noise(20.0)
    matter = inside & (depth > surface) & ~sulcus & ~fissure & ~tentorium
    below = ndimage.distance_transform_edt(matter, sampling=noise.grid.spacing)
    ribbon = np.where(cerebellum, 2.6, 4.3) + 0.5 * noise(12.0)
    # However coarse the grid, the ribbon is a voxel wide.
    ribbon = np.maximum(ribbon, 1.05 * max(noise.grid.spacing))
    stem = (np.hypot(place[0], place[1] + 22) < 15) & (place[2] < -24)
    labels[matter] = CODE["white"]
    labels[matter & (below < ribbon) & ~stem] = CODE["grey"]


def _on_sphere(field: Field, grid: Grid, place: np.ndarray, radius: np.ndarray) -> Field:
    """The field at the point of a sphere of 62 mm in the same direction."""
    pull = (0.15 + 0.85 * 62 / np.maximum(radius, 8)).astype(np.float32)
    middle = (np.asarray(grid.shape) - 1) / 2
    spacing = np.asarray(grid.spacing)
    index = [place[a] * pull / spacing[a] + middle[a] for a in range(3)]
    return ndimage.map_coordinates(field, index, order=1, mode="mirror")


def _inner(labels: np.ndarray, place: np.ndarray, depth: Field, noise: Noise, rng: np.random.Generator) -> None:
    """Deep nuclei and ventricles."""
    wobble = noise(12.0)
    for side in (-1, 1):
        own = [
            _ellipsoid(place, (side * 26, 6, 4), (6.5, 17, 12)),
            _ellipsoid(place, (side * 11, -14, 8), (9.5, 15, 10)),
            _ellipsoid(place, (side * 15, 22, 12), (5.5, 13, 11)),
        ]
        labels[(np.maximum.reduce(own) + 0.8 * wobble > 0) & (depth > 12)] = CODE["nuclei"]
    width = rng.uniform(0.75, 1.5)
    arc = np.linspace(-0.5, 1.35, 22) * np.pi / 2
    # Distances to the tube's points are only needed near it.
    near = (np.abs(place[0]) < 30) & (np.abs(place[1] + 2) < 52) & (np.abs(place[2]) < 36)
    box = slices(bounds(near))
    spot, wobble_there, deep = place[(slice(None), *box)], wobble[box], depth[box] > 8
    for side in (-1, 1):
        tube = np.full(wobble_there.shape, -np.inf, dtype=np.float32)
        for number, angle in enumerate(arc):
            # Frontal horn, body, atrium, and round into the temporal horn.
            y, z = 32 * np.cos(angle + np.pi / 2) - 4, 20 * np.sin(angle + np.pi / 2) + 2
            x = side * (8 + 10 * (number / (len(arc) - 1)) ** 2)
            size = width * (4.6 - 1.8 * number / (len(arc) - 1))
            distance = np.sqrt((spot[0] - x) ** 2 + (spot[1] - y) ** 2 + ((spot[2] - z) * 0.8) ** 2)
            np.maximum(tube, size - distance, out=tube)
        labels[box][(tube + 0.4 * wobble_there > 0) & deep] = CODE["ventricle"]
    third = (np.abs(place[0]) < 1.4 * width) & (np.abs(place[1] + 6) < 13) & (np.abs(place[2] - 3) < 9)
    labels[third & (depth > 8)] = CODE["ventricle"]
    fourth = _ellipsoid(place, (0, -38, -34), (6 * width, 5 * width, 9))
    labels[fourth > 0] = CODE["ventricle"]


def _lesions(labels: np.ndarray, grid: Grid, lesions: int, rng: np.random.Generator) -> None:
    """Blobs of 2 to 6 mm in deep white matter."""
    white = ndimage.binary_erosion(labels == CODE["white"], iterations=1)
    sites = np.argwhere(white)
    if not lesions or not len(sites):
        return
    index = np.stack(np.meshgrid(*[np.arange(n) for n in labels.shape], indexing="ij"), axis=-1)
    for _ in range(lesions):
        site = sites[rng.integers(len(sites))]
        axes = rng.uniform(2.5, 6, 3) / np.asarray(grid.spacing)
        blob = (((index - site) / np.maximum(axes, 1.0)) ** 2).sum(axis=-1) <= 1
        labels[blob & (labels == CODE["white"])] = CODE["lesion"]


def _coherence(place: np.ndarray, depth: Field, noise: Noise) -> Field:
    """Where one of five bundles dominates (1) or several cross (towards 0)."""
    x, y, z = np.abs(place[0]), place[1], place[2]
    arch = z - (22 - 0.012 * (y + 4) ** 2)
    bundles = [
        np.exp(-((x / 20) ** 2) - (arch / 7) ** 2),  # corpus callosum: across, above the ventricles
        np.exp(-(((x - 19 - 0.16 * np.clip(z, 0, 60)) / 6) ** 2) - ((y + 8) / 26) ** 2),  # corticospinal: up
        np.exp(-(((x - 36) / 6) ** 2) - ((z - 14) / 14) ** 2),  # superior longitudinal: along
        np.exp(-(((x - 32) / 6) ** 2) - ((z + 12) / 9) ** 2),  # inferior longitudinal: along
        np.exp(-((x / 7) ** 2) - (((z - 30 + 0.008 * (y + 4) ** 2) / 5) ** 2)),  # cingulum: along, on the callosum
    ]
    weights = np.stack(bundles) + 0.09
    shares = weights / weights.sum(axis=0)
    dominance = np.clip(((shares**2).sum(axis=0) - 0.2) / 0.8, 0, 1)
    deep = np.clip(depth / 22, 0.25, 1)
    return np.clip(dominance**0.5 * deep + 0.05 * noise(7.0), 0, 1).astype(np.float32)
