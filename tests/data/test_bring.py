import nibabel as nib
import numpy as np
import pytest

from transmodal.data.box import bounds
from transmodal.data.bring import PrepareSettings, bring
from transmodal.data.geometry import resample
from transmodal.data.grid import Grid
from transmodal.data.volume import Volume
from transmodal.errors import InputError, RecipeError

SHAPE = (24, 28, 20)
LAS = np.array([[-2.0, 0, 0, 23], [0, 2.0, 0, -27], [0, 0, 2.0, -19], [0, 0, 0, 1]])
TURNED = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.2, 0.1, -0.1) @ np.diag([-2.2, 2.2, 3.0]), [25, -30, -28]
)


def truth(place: np.ndarray, sharp: float = 0.0) -> np.ndarray:
    """A head in scanner space: bright outside, darker core; 0 in air."""
    radius = np.sqrt(((place / np.array([18.0, 21, 15])) ** 2).sum(axis=-1))
    return np.where(radius < 1, 300 - 200 * np.exp(-4 * radius**2) + sharp, 0)


def scan(grid: Grid, name: str, scale: float = 1.0) -> Volume:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    values = scale * truth(nib.affines.apply_affine(grid.affine, index))
    return Volume(values[None].astype(np.float32), grid, f"{name}.nii.gz")


@pytest.fixture
def images():
    return {"T1w": scan(Grid(SHAPE, LAS), "T1w"), "T2w": scan(Grid((24, 28, 18), TURNED), "T2w", 3.0)}


def test_images_meet_on_the_reference_turned_to_ras(images):
    brought = bring(images, PrepareSettings())
    assert brought.grid.orientation == "RAS"
    np.testing.assert_array_equal(brought.images["T1w"].data, images["T1w"].canonical().data)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    inner = truth(nib.affines.apply_affine(brought.grid.affine, index) / 0.8) > 0
    ratio = brought.images["T2w"].data[0][inner] / brought.images["T1w"].data[0][inner]
    assert np.abs(ratio / 3 - 1).mean() < 0.01


def test_the_reference_is_the_one_that_is_asked_for(images):
    brought = bring(images, PrepareSettings(reference="T2w"))
    np.testing.assert_array_equal(brought.images["T2w"].data, images["T2w"].canonical().data)
    only = bring({"T1w": images["T1w"]}, PrepareSettings(reference="T2w"))
    assert only.grid.same_as(images["T1w"].grid.canonical())


def test_spacing_is_isotropic_and_covers_the_same_box(images):
    grid = bring(images, PrepareSettings(spacing=3.0)).grid
    np.testing.assert_allclose(grid.spacing, 3)
    assert grid.shape == (16, 19, 13)
    np.testing.assert_allclose(grid.centre, images["T1w"].grid.centre, atol=1e-9)


def test_spacing_can_differ_by_axis_and_keep_one(images):
    grid = bring(images, PrepareSettings(spacing=(4.0, 0.0, 5.0))).grid
    np.testing.assert_allclose(grid.spacing, (4, 2, 5))
    np.testing.assert_allclose(grid.centre, images["T1w"].grid.centre, atol=1e-9)
    again = PrepareSettings.from_dict(PrepareSettings(spacing=(4.0, 0.0, 5.0)).to_dict())
    assert again.spacing == (4.0, 0.0, 5.0)


@pytest.mark.parametrize("shape", [(12, 40, 20), (30, 30, 30)])
def test_every_case_gets_the_shape_asked_for_without_stretching(images, shape):
    whole = bring(images, PrepareSettings())
    brought = bring(images, PrepareSettings(shape=shape))
    assert brought.grid.shape == brought.mask.shape == shape
    np.testing.assert_allclose(brought.grid.affine[:3, :3], whole.grid.affine[:3, :3])
    # The same voxels at the same millimetres, where both have them.
    start = np.round(np.linalg.solve(whole.grid.affine, brought.grid.affine)[:3, 3]).astype(int)
    low = np.maximum(start, 0)
    high = np.minimum(start + shape, whole.grid.shape)
    ours = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    theirs = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    for name in images:
        np.testing.assert_allclose(
            brought.images[name].data[0][ours], whole.images[name].data[0][theirs], atol=1e-3
        )
    np.testing.assert_array_equal(brought.mask[ours], whole.mask[theirs])
    if shape == (30, 30, 30):
        assert brought.mask.sum() == whole.mask.sum()


def test_a_source_is_normalised_by_itself_alone(images):
    """With the target (even as the reference, on another grid) or without it, the fit of a source is the same."""
    alone = bring({"T1w": images["T1w"]}, PrepareSettings()).fits["T1w"]
    for settings in (PrepareSettings(), PrepareSettings(reference="T2w"), PrepareSettings(spacing=4.0)):
        assert bring(images, settings).fits["T1w"] == alone
    shifted = Volume(images["T2w"].data * 0.1 + 5, images["T2w"].grid, "other")
    assert bring({"T1w": images["T1w"], "T2w": shifted}, PrepareSettings()).fits["T1w"] == alone


def test_fit_in_the_mask(images):
    drawn = np.zeros((1, *SHAPE), dtype=np.int32)
    drawn[0, 8:16, 8:20, 8:12] = 1
    mask = Volume(drawn, images["T1w"].grid, "mask")
    brought = bring(images, PrepareSettings(fit_in="mask"), mask=mask)
    inside = images["T1w"].data[0, 8:16, 8:20, 8:12]
    np.testing.assert_allclose(brought.fits["T1w"].range, np.percentile(inside, (0.5, 99.5)), rtol=1e-5)
    own = bring(images, PrepareSettings(), mask=mask).fits["T1w"]
    assert own.range[1] > brought.fits["T1w"].range[1]


def test_kinds_of_mask(images):
    labels = np.zeros((1, *SHAPE), dtype=np.int32)
    labels[0, 10:14, 10:14, 10:14] = 40
    labels[0, 0, 0, 0] = -1
    drawn = Volume(labels, images["T1w"].grid, "labels")
    head = images["T1w"].canonical().data[0] > 0
    auto = bring(images, PrepareSettings(), labels=drawn)
    assert (auto.mask & head).sum() / head.sum() > 0.99
    assert auto.mask.sum() < 1.1 * head.sum()
    np.testing.assert_array_equal(bring(images, PrepareSettings(mask="nonzero")).mask, head)
    by_labels = bring(images, PrepareSettings(mask="labels"), labels=drawn)
    assert by_labels.mask.sum() == 64
    np.testing.assert_array_equal(by_labels.labels[0] == 40, by_labels.mask)
    given = bring(images, PrepareSettings(mask="given"), mask=drawn, labels=None)
    np.testing.assert_array_equal(given.mask, by_labels.mask)
    assert given.labels is None
    np.testing.assert_array_equal(bring(images, PrepareSettings(), mask=drawn).mask, given.mask)
    np.testing.assert_array_equal(bring(images, PrepareSettings(mask="foreground"), mask=drawn).mask, auto.mask)


@pytest.mark.parametrize("kind", ["given", "labels"])
def test_a_mask_that_did_not_come(images, kind):
    settings = PrepareSettings(mask=kind)
    with pytest.raises(InputError, match=rf"mask = '{kind}' needs a .* none came"):
        bring(images, settings)
    fallen_back = bring(images, settings, allow_missing=True)
    np.testing.assert_array_equal(fallen_back.mask, bring(images, PrepareSettings()).mask)
    with pytest.raises(InputError, match="none came"):
        bring(images, PrepareSettings(mask=kind, fit_in="mask"), allow_missing=True)


def test_an_empty_mask(images):
    empty = Volume(np.zeros((1, *SHAPE), np.int32), images["T1w"].grid, "m.nii.gz")
    with pytest.raises(InputError, match=r"m\.nii\.gz: gives an empty mask on the grid of T1w\.nii\.gz"):
        bring(images, PrepareSettings(), mask=empty)
    away = Volume(
        np.ones((1, 4, 4, 4), np.int32), Grid((4, 4, 4), nib.affines.from_matvec(np.eye(3), [500, 0, 0])), "m"
    )
    with pytest.raises(InputError, match="m: gives an empty mask"):
        bring(images, PrepareSettings(), mask=away)


def test_images_that_do_not_overlap_are_both_named(images):
    away = Volume(
        images["T2w"].data, Grid((24, 28, 18), nib.affines.from_matvec(np.eye(3), [70, 0, 0]) @ TURNED), "far"
    )
    with pytest.raises(InputError, match=r"far: shares only 0% of its field of view with T1w\.nii\.gz"):
        bring({"T1w": images["T1w"], "T2w": away}, PrepareSettings())


def test_a_slab_inside_the_head_overlaps_fully_and_only_what_is_seen_counts(images):
    thin = images["T2w"].canonical()
    slab = Grid((24, 28, 6), nib.affines.from_matvec(np.diag([2.0, 2, 2]), [-23, -27, -5]))
    part = Volume(resample(thin, slab).data, slab, "slab")
    brought = bring({"T1w": images["T1w"], "T2w": part}, PrepareSettings())
    assert np.flatnonzero(brought.seen.any(axis=(0, 1))).tolist() == [7, 8, 9, 10, 11, 12]
    assert not brought.images["T2w"].data[:, ~brought.seen].any()
    assert (brought.mask & ~brought.seen).any()


def test_outside_the_field_of_view_of_a_ct_is_the_lower_end_of_its_window(images):
    hu = Volume(images["T2w"].data - 1000, images["T2w"].grid, "CT")
    brought = bring({"T1w": images["T1w"], "CT": hu}, PrepareSettings())
    assert (~brought.seen).any()
    assert set(np.unique(brought.images["CT"].data[0][~brought.seen])) == {-1024.0}


def test_outside_the_mask_is_empty_if_that_is_asked_for(images):
    hu = Volume(images["T2w"].data - 500, images["T2w"].grid, "CT")
    given = {"T1w": images["T1w"], "CT": hu}
    full, empty = (bring(given, PrepareSettings(mask="nonzero", empty_outside=yes)) for yes in (False, True))
    outside = ~full.mask
    assert set(np.unique(empty.images["CT"].data[:, outside])) == {-1024.0}
    assert not empty.images["T1w"].data[:, outside].any()
    assert full.images["CT"].data[:, outside].max() > -1024
    for name in given:
        np.testing.assert_array_equal(empty.images[name].data[:, full.mask], full.images[name].data[:, full.mask])
        assert (empty.fits[name], empty.facts[name]) == (full.fits[name], full.facts[name])
    normalised = empty.fits["CT"].apply(empty.images["CT"].data)
    assert set(np.unique(normalised[:, outside])) == {-1.0}


def test_cropping_keeps_values_and_margin(images):
    full = bring(images, PrepareSettings(mask="nonzero"))
    cut = bring(images, PrepareSettings(mask="nonzero", crop_margin=4.0))
    box = bounds(full.mask)
    expected = tuple(slice(max(0, a - 2), min(n, b + 2)) for (a, b), n in zip(box, SHAPE, strict=True))
    np.testing.assert_array_equal(cut.images["T1w"].data[0], full.images["T1w"].data[0][expected])
    np.testing.assert_allclose(cut.images["T2w"].data[0], full.images["T2w"].data[0][expected], atol=1e-3)
    np.testing.assert_array_equal(cut.mask, full.mask[expected])
    assert cut.fits == full.fits
    assert cut.grid.shape == cut.mask.shape


def test_a_scan_in_the_wrong_column(images):
    with pytest.raises(InputError, match="has 1 channels where cryo has 3"):
        bring({"cryo": images["T1w"]}, PrepareSettings())


def test_bounds():
    mask = np.zeros((5, 6, 7), dtype=bool)
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert bounds(mask) == ((1, 4), (2, 3), (3, 7))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"mask": "forground"}, r"data\.prepare\.mask = 'forground'; did you mean 'foreground'"),
        ({"fit_in": "head"}, r"data\.prepare\.fit_in = 'head'"),
        ({"spacing": -1.0}, r"data\.prepare\.spacing = -1"),
        ({"min_overlap": 2.0}, r"data\.prepare\.min_overlap = 2"),
        ({"interpolation": 6}, r"data\.prepare\.interpolation = 6"),
        ({"modalities": ("T1w",), "reference": "T1"}, r"reference = 'T1' .*did you mean 'T1w'"),
        ({"intensity": {"T1w": "z"}}, r"data\.prepare\.intensity\.T1w"),
    ],
)
def test_bad_settings_name_their_key(table, words):
    with pytest.raises(RecipeError, match=words):
        PrepareSettings(**table)


def test_settings_go_round():
    settings = PrepareSettings(modalities=("T1w", "CT"), intensity={"CT": {"low": -200.0}}, exclude=("a",))
    assert PrepareSettings.from_dict(settings.to_dict()) == settings
