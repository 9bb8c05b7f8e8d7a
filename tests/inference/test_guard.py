"""The guard: lets the training's kind of scan through, and names what is different about any other."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import transmodal
from transmodal.data.bring import PrepareSettings, bring
from transmodal.data.intensity import IntensityFit, fit, spec_for
from transmodal.data.phantom.cohort import PhantomSettings, subject
from transmodal.data.traits import GROUPS
from transmodal.data.volume import Volume
from transmodal.errors import PartialFailure, Refused
from transmodal.inference.files import synthesize_paths
from transmodal.inference.guard import differences
from transmodal.inference.model import load_model, save_model
from transmodal.inference.profile import ASPECTS, USUAL, Profile, learn, turns

CONTRASTS = ("T1w", "T2w", "CT")
Heads = list[dict[str, Volume]]


@pytest.fixture(scope="module")
def heads() -> Heads:
    """Five heads of 32³ voxels; the last is not trained on."""
    settings = PhantomSettings(size=(32, 32, 32), spacing=6.5, contrasts=CONTRASTS)
    return [subject(number, settings) for number in (0, 1, 2, 3, 5)]


@pytest.fixture(scope="module")
def profiles(heads: Heads) -> dict[str, Profile]:
    """Of four of them."""
    return {name: learn([looked(head[name], name) for head in heads[:4]]) for name in CONTRASTS}


def looked(image: Volume, name: str) -> dict[str, Any]:
    found = bring({name: image}, PrepareSettings()).facts[name]["traits"]
    assert json.loads(json.dumps(found)) == found
    return dict(found)


def judged(image: Volume, name: str, profiles: Mapping[str, Profile], **more: Any) -> str:
    norm = fit(spec_for(name), image.data.ravel(), name)
    return "; ".join(differences(name, looked(image, name), norm, profiles, **more))


def changed(image: Volume, *, data: np.ndarray | None = None, affine: np.ndarray | None = None) -> Volume:
    data = image.data if data is None else data.astype(np.float32)
    return Volume(data, replace(image.grid, affine=image.affine if affine is None else affine, header=None))


def synthetic_traits(rng: np.random.Generator, sizes: Mapping[str, int], shift: float = 0.0) -> dict[str, Any]:
    found = {g: (rng.normal(0, USUAL[g], n) + shift * USUAL[g]).tolist() for g, n in sizes.items()}
    return {"spacing": [1.0, 1.0, 2.0], "litres": 3.0, "window": False, **found}


def test_a_distance_is_in_standard_deviations_of_a_further_case() -> None:
    sizes = dict.fromkeys(GROUPS, 6)
    rng = np.random.default_rng(0)
    for cases in (1, 4, 20):
        found = []
        for _ in range(25):
            profile = learn([synthetic_traits(rng, sizes) for _ in range(cases)])
            found.append([profile.distance(synthetic_traits(rng, sizes), aspect) ** 2 for aspect in ASPECTS])
        # The spread expects a little too much of one or two cases, whose median is their mean.
        expected = 1.0 if cases > 1 else 2 / (1 + np.pi / 2)
        np.testing.assert_allclose(np.mean(found, axis=0), expected, atol=0.3, err_msg=str(cases))
    profile = learn([synthetic_traits(rng, sizes) for _ in range(20)])
    assert profile.distance(synthetic_traits(rng, sizes, shift=4.0), "pattern") == pytest.approx(4.1, abs=0.5)


def test_a_profile_survives_json_and_holds_no_case(profiles: dict[str, Profile]) -> None:
    for profile in profiles.values():
        assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile
        assert profile.cases == 4
        assert sum(np.size(v) for v in profile.to_dict()["centre"].values()) < 100


def test_there_are_23_ways_to_lie_wrong() -> None:
    assert len(set(turns())) == 23


@pytest.mark.parametrize("name", CONTRASTS)
def test_a_new_head_of_the_same_kind_passes(heads: Heads, profiles: dict[str, Profile], name: str) -> None:
    assert judged(heads[4][name], name, profiles) == ""
    turned = nib.Nifti1Image(heads[4][name].data[0], heads[4][name].affine).as_reoriented(
        [[2, -1], [0, 1], [1, -1]]
    )
    stored = Volume(
        np.asarray(turned.dataobj)[None], replace(heads[4][name].grid, affine=turned.affine, header=None)
    )
    assert stored.grid.orientation != heads[4][name].grid.orientation
    assert judged(stored, name, profiles) == ""


def test_scale_of_arbitrary_units_is_no_difference(heads: Heads, profiles: dict[str, Profile]) -> None:
    image = heads[4]["T1w"]
    for data in (image.data * 0.01, image.data * 40, image.data * 3 + 100):
        assert judged(changed(image, data=data), "T1w", profiles) == ""


def test_another_contrast_is_named(heads: Heads, profiles: dict[str, Profile]) -> None:
    assert judged(heads[4]["T2w"], "T1w", profiles) == "it looks like T2w, not like T1w"
    assert judged(heads[4]["T1w"], "T2w", profiles) == "it looks like T1w, not like T2w"
    alone = {"T1w": profiles["T1w"]}
    assert "its contrast is not that of the T1w of training" in judged(heads[4]["T2w"], "T1w", alone)
    inverted = changed(heads[4]["T1w"], data=np.where(heads[4]["T1w"].data > 0, 200 - heads[4]["T1w"].data, 0))
    assert judged(inverted, "T1w", alone) != ""


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 1024.0), (0.001, 0.0), (0.1, 0.0)])
def test_wrong_units_are_told_in_numbers(
    heads: Heads, profiles: dict[str, Profile], scale: float, offset: float
) -> None:
    words = judged(changed(heads[4]["CT"], data=heads[4]["CT"].data * scale + offset), "CT", profiles)
    assert "HU, where those of training go from" in words
    assert "wrong units, or no CT?" in words


def test_voxels_count_after_the_models_grid(heads: Heads, profiles: dict[str, Profile]) -> None:
    image = heads[4]["T1w"]
    wide = image.affine.copy()
    wide[:3, :3] *= 2
    assert "voxels of 13×13×13 mm, where training had 6.5×6.5×6.5 to" in judged(
        changed(image, affine=wide), "T1w", profiles
    )
    words = judged(changed(image, affine=wide), "T1w", profiles, spacings=(14.0, 14.0, 14.0))
    assert "voxels of 13×13×13" not in words.split(";")[0]
    assert "voxels of a wrong size?" in words


def test_a_brain_alone_is_no_head(heads: Heads, profiles: dict[str, Profile]) -> None:
    image = heads[4]["T1w"]
    brain = changed(image, data=np.where(heads[4]["mask"].data > 0, image.data, 0))
    assert "skull-stripped" in judged(brain, "T1w", profiles)


@pytest.mark.parametrize("axes", [(1, 2, 3), (2, 3, 1), (1, 3, 2)])
def test_a_head_upside_down_or_on_its_side_is_seen(
    heads: Heads, profiles: dict[str, Profile], axes: tuple[int, ...]
) -> None:
    image = heads[4]["T1w"]
    data = np.ascontiguousarray(np.flip(image.data, 3).transpose(0, *axes))
    words = judged(changed(image, data=data), "T1w", profiles)
    assert "it does not lie as its header says" in words


def test_synthesis_refuses_and_force_goes_on(run: Path, cohort: Path, tmp_path: Path) -> None:
    model = load_model(run)
    assert set(model.profiles) == {"T1w", "T2w", "FA"}
    scan, wrong = (cohort / "sub-001" / f"{name}.nii.gz" for name in ("T1w", "T2w"))
    with pytest.raises(Refused, match=r"T2w\.nii\.gz: it looks like T2w, not like T1w.*--force"):
        synthesize_paths(run / "model", [str(wrong)], tmp_path / "wrong.nii.gz")
    assert not list(tmp_path.iterdir())
    with pytest.raises(Refused):
        transmodal.synthesize(model, nib.load(wrong))
    synthesize_paths(run / "model", [str(wrong)], tmp_path / "wrong.nii.gz", force=True)
    told = json.loads((tmp_path / "wrong.json").read_text())["Guard"]
    assert told["Compared"] == ["T1w"]
    assert told["Differences"]["T1w"][0] == "it looks like T2w, not like T1w"
    table = tmp_path / "cases.tsv"
    table.write_text(f"case\tT1w\ngood\t{scan}\nbad\t{wrong}\n")
    with pytest.raises(PartialFailure, match=r"1 of 2 cases failed \(bad\)"):
        synthesize_paths(run / "model", [str(table)], tmp_path / "batch")
    assert json.loads((tmp_path / "batch" / "good_synth-FA.json").read_text())["Guard"]["Differences"] == {}
    table.write_text(f"case\tT1w\nbad\t{wrong}\n")
    with pytest.raises(Refused, match="none of 1 cases"):
        synthesize_paths(run / "model", [str(table)], tmp_path / "none")


def test_a_model_without_profiles_says_so_and_goes_on(
    run: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(replace(load_model(run), profiles={}), tmp_path / "old")
    facts = json.loads((tmp_path / "old" / "model.json").read_text())
    del facts["profiles"]
    (tmp_path / "old" / "model.json").write_text(json.dumps(facts))
    said: list[str] = []
    monkeypatch.setattr("transmodal.progress.say", said.append)
    synthesize_paths(tmp_path / "old", [str(cohort / "sub-001" / "T2w.nii.gz")], tmp_path / "fa.nii.gz")
    assert any("the model has no profile of its training images" in words for words in said)
    assert json.loads((tmp_path / "fa.json").read_text())["Guard"] == {"Compared": [], "Differences": {}}


def test_a_window_is_compared_with_a_window_only(profiles: dict[str, Profile], heads: Heads) -> None:
    norm = IntensityFit("window", 0.0, 100.0, -1.0, 1.0)
    assert differences("T1w", looked(heads[4]["T1w"], "T1w"), norm, profiles) == []
