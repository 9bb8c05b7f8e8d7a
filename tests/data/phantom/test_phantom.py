"""The phantom: physics against hand-made values, anatomy against heads, the cohort against its truth."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transmodal.data.grid import Grid
from transmodal.data.motion import Motion, misalign
from transmodal.data.phantom import physics
from transmodal.data.phantom.anatomy import Anatomy, anatomy_from_labels, random_anatomy
from transmodal.data.phantom.cohort import PhantomSettings, subject, write_cohort
from transmodal.data.phantom.physics import simulate
from transmodal.data.phantom.tissues import CODE
from transmodal.data.volume import Volume, read_volume
from transmodal.errors import InputError, RecipeError

SIZE = (48, 48, 48)


@pytest.fixture(scope="module")
def head() -> Anatomy:
    return random_anatomy(SIZE, 4.6, seed=1, lesions=6)


def test_signal_equations_by_hand() -> None:
    # PD 1, T1 = TR / ln 2 (E1 = 1/2), 90 degrees: sin 90 (1 - 1/2) / (1 - 0) = 1/2
    assert physics.spoiled_gradient_echo(1000 / math.log(2), 1.0, tr=1000.0, degrees=90.0) == pytest.approx(0.5)
    # 60 degrees: 0.8660 * 0.5 / (1 - 0.25) = 0.57735
    assert physics.spoiled_gradient_echo(1000 / math.log(2), 1.0, tr=1000.0, degrees=60.0) == pytest.approx(
        0.57735, 1e-4
    )
    assert physics.spin_echo(1e-9, 100.0, 0.8, tr=1000.0, te=100.0) == pytest.approx(0.8 / math.e)
    assert physics.inversion_recovery(1000.0, 1e12, 1.0, tr=1e9, te=0.0, ti=1000 * math.log(2)) == pytest.approx(
        0, abs=1e-9
    )
    assert physics.inversion_recovery(1000.0, 1e12, 1.0, tr=1e9, te=0.0, ti=0.0) == pytest.approx(1.0)


def test_nulling_time_gives_no_signal() -> None:
    ti = physics.nulling_time(2569.0, 9000.0)
    assert physics.inversion_recovery(2569.0, 329.0, 1.0, tr=9000.0, te=90.0, ti=ti) == pytest.approx(0, abs=1e-9)
    assert physics.signal("FLAIR", "csf") == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("contrast", "order"),
    [
        ("T1w", ["csf", "grey", "white"]),
        ("T2w", ["white", "grey", "lesion", "csf"]),
        ("FLAIR", ["csf", "white", "grey", "lesion"]),
    ],
)
def test_tissues_are_as_bright_as_a_radiologist_expects(contrast: str, order: list[str]) -> None:
    values = [physics.signal(contrast, tissue) for tissue in order]
    assert values == sorted(values)


def test_shares_sum_to_one(head: Anatomy) -> None:
    np.testing.assert_allclose(np.sum(list(head.fractions.values()), axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_brain_is_a_brain(seed: int) -> None:
    anatomy = random_anatomy(SIZE, 4.6, seed=seed)
    litres = anatomy.brain().sum() * 4.6**3 / 1e6
    assert 1.0 < litres < 1.6
    counts = {name: int((anatomy.labels == code).sum()) for name, code in CODE.items()}
    assert 0.5 < counts["grey"] / counts["white"] < 2
    ring = anatomy.head()
    ring[1:-1, 1:-1] = False
    assert not ring[:, :, -10:].any()  # the vault is inside the field of view


def test_fa_is_a_ratio_with_structure_that_tissue_does_not_tell(head: Anatomy) -> None:
    fa = simulate(head, "FA", seed=1, noise=0.01).data[0]
    assert fa.min() >= 0
    assert fa.max() <= 1
    pure = {name: head.fractions[name] > 0.9 for name in ("white", "grey")}
    csf = head.fractions["csf"] > 0.7
    means = [fa[csf].mean(), fa[pure["grey"]].mean(), fa[pure["white"]].mean()]
    assert means[0] < means[1] < 0.3 < means[2]
    assert fa[pure["white"]].std() > 0.08


def test_ct_is_in_hounsfield_units(head: Anatomy) -> None:
    ct = simulate(head, "CT", seed=1, noise=0.0).data[0]
    assert (ct == np.round(ct)).all()
    assert ct[head.fractions["air"] > 0.999].mean() == pytest.approx(-1000, abs=2)
    assert ct[head.fractions["white"] > 0.999].mean() == pytest.approx(29, abs=1)
    assert ct.max() > 900


def test_cryosection_is_colour_on_black(head: Anatomy) -> None:
    section = simulate(head, "cryo", seed=1).data
    assert section.shape == (3, *SIZE)
    assert section.min() >= 0
    assert section.max() <= 255
    assert section[:, head.fractions["air"] > 0.999].max() < 30
    red, green, blue = section[:, head.fractions["muscle"] > 0.95].mean(axis=1)
    assert red > 1.8 * green > blue


def test_noise_in_air_is_rayleigh(head: Anatomy) -> None:
    # The mean of a Rayleigh distribution is sigma sqrt(pi/2), its root mean square sigma sqrt(2).
    air = simulate(head, "T1w", seed=1, noise=0.2, bias=0.0).data[0][head.fractions["air"] > 0.9999]
    assert air.mean() / np.sqrt((air**2).mean()) == pytest.approx(math.sqrt(math.pi) / 2, rel=0.01)


def test_lesions_shine_in_flair(head: Anatomy) -> None:
    flair = simulate(head, "FLAIR", seed=1, noise=0.0, bias=0.0).data[0]
    lesion, white = head.fractions["lesion"] > 0.6, head.fractions["white"] > 0.95
    assert lesion.any()
    assert flair[lesion].mean() > 1.15 * flair[white].mean()


def test_a_subject_is_the_same_in_any_cohort() -> None:
    small = PhantomSettings(subjects=2, size=(24, 20, 26), spacing=8.0, contrasts=("T1w", "FA"))
    large = PhantomSettings(subjects=9, size=(24, 20, 26), spacing=8.0, contrasts=("T1w", "FA"))
    one, two, other = subject(1, small), subject(1, large), subject(0, small)
    assert one["T1w"].data.shape == (1, 24, 20, 26)
    for name in one:
        assert np.array_equal(one[name].data, two[name].data)
    assert not np.array_equal(one["T1w"].data, other["T1w"].data)


def test_missing_contrasts_are_left_out_but_never_the_first(tmp_path: Path) -> None:
    settings = PhantomSettings(subjects=6, size=(16, 16, 16), spacing=13.0, contrasts=("T1w", "T2w"), missing=0.5)
    write_cohort(tmp_path, settings, workers=1)
    rows = [line.split("\t") for line in (tmp_path / "cases.tsv").read_text().splitlines()[1:]]
    assert all(row[1] != "n/a" for row in rows)
    assert 0 < sum(row[2] == "n/a" for row in rows) < 6
    assert read_volume(tmp_path / "sub-001" / "T1w.nii.gz").grid.shape == (16, 16, 16)


def test_the_truth_about_misalignment_is_written(tmp_path: Path) -> None:
    settings = PhantomSettings(
        subjects=1, size=(16, 16, 16), spacing=13.0, contrasts=("T1w", "T2w"), noise=0.0, bias=0.0, jitter_mm=3.0,
        motion={"T2w": Motion(translation_mm=(5.0, 0.0, 0.0))},
    )  # fmt: skip
    write_cohort(tmp_path, settings, workers=1)
    moved = json.loads((tmp_path / "truth.json").read_text())["sub-001"]["motion"]["T2w"]["translation_mm"]
    assert moved != [5.0, 0.0, 0.0]
    still = subject(0, replace(settings, motion={}))["T2w"]
    again = misalign(still, Motion(translation_mm=tuple(moved)))
    written = read_volume(tmp_path / "sub-001" / "T2w.nii.gz").data
    assert np.abs(again.data - written).max() <= 1  # stored as whole numbers


def test_anatomy_from_freesurfer_codes() -> None:
    codes = np.zeros((20, 20, 20), dtype=np.int32)
    codes[4:16, 4:16, 4:16] = 3
    codes[6:14, 6:14, 6:14] = 2
    codes[9:11, 9:11, 9:11] = 43
    codes[5, 5, 5] = 1005
    volume = Volume(codes[None], Grid((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0])))
    anatomy = anatomy_from_labels(volume)
    assert (anatomy.labels == CODE["white"]).sum() == 8**3 - 8
    assert (anatomy.labels == CODE["ventricle"]).sum() == 8
    assert anatomy.labels[5, 5, 5] == CODE["grey"]
    assert (
        simulate(anatomy, "T2w", seed=0, noise=0.0).data[0, 9, 9, 9]
        > simulate(anatomy, "T2w", seed=0).data[0, 5, 5, 7]
    )
    with pytest.raises(InputError, match="white matter"):
        anatomy_from_labels(Volume(np.ones((1, 8, 8, 8), dtype=np.int32), Grid((8, 8, 8), np.eye(4))))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"subjects": 0}, "subjects"),
        ({"contrasts": ("T1",)}, "'T1'; did you mean 'T1w'"),
        ({"contrasts": ()}, "contrasts"),
        ({"missing": 1.0}, "missing"),
        ({"mask": "skull"}, "mask"),
        ({"size": (96, 96, 8)}, "size"),
        ({"spacing": 0.0}, "spacing"),
        ({"noise": -1.0}, "noise"),
        ({"bias": 2.0}, "bias"),
        ({"lesions": -1}, "lesions"),
        ({"jitter_mm": float("nan")}, "jitter_mm"),
        ({"motion": {"T3w": Motion()}}, "T3w"),
    ],
)
def test_wrong_settings_name_the_key(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        PhantomSettings(**wrong)  # type: ignore[arg-type]


def test_more_wrong_settings(head: Anatomy) -> None:
    with pytest.raises(RecipeError, match="at least 16"):
        random_anatomy((96, 96, 1), seed=0)
    with pytest.raises(RecipeError, match="noise"):
        simulate(head, "T1w", seed=0, noise=-1.0)
