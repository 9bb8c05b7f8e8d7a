"""The verb ``lesions``: a copy keeps all of a lesion, a mean keeps nothing, on phantoms and painted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transmodal.data.prepared import PreparedDataset
from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.contrast import Probe, kept
from transmodal.experiment.train import train
from transmodal.questions.implants import plan_implants
from transmodal.questions.lesions import lesions
from transmodal.recipe import make_recipe
from transmodal.reporting.lesions import Survival

SMALL: dict[str, Any] = {"diameters": (16, 25), "intensities": (0.25, 1), "count": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def painted(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """T1w → FA: both are darker in a lesion, so a copy is right when lesions are painted."""
    out = tmp_path_factory.mktemp("painted")
    lesions([f"mine={run}"], out, paint=True, **SMALL)
    return out


def test_a_copy_keeps_all_and_the_mean_nothing(painted: Path) -> None:
    found = json.loads((painted / "lesions.json").read_text())
    assert (found["format"], found["mode"], found["method"]) == ("transmodal.lesions/1", "painted", "mine")
    methods = found["methods"]
    assert set(methods) == {"identity", "mean", "mine"}
    assert methods["identity"]["kept"]["mean"] == pytest.approx(1, abs=1e-3)
    assert methods["identity"]["echo"]["mean"] == pytest.approx(0, abs=1e-6)
    assert [one["mean"] for one in methods["identity"]["by_diameter"]] == pytest.approx([1, 1], abs=1e-3)
    assert methods["mean"]["kept"]["mean"] == pytest.approx(0, abs=1e-6)
    assert methods["mean"]["false"]["mean"] > 0
    assert [one["x"] for one in methods["mine"]["by_intensity"]] == [0.25, 1]


def test_the_page_the_table_and_the_rows(painted: Path) -> None:
    html = (painted / "lesions.html").read_text()
    assert html.count("data:image/png;base64,") == 5, "two curves, three rows of pictures"
    assert "painted into the sources" in html
    rows = (painted / "lesions.csv").read_text().splitlines()
    # One case, three methods, two sizes, a lesion and a sham: plain, and twice the intensities.
    assert len(rows) == 1 + 3 * 2 * 2 * (1 + 2)
    assert "| identity (floor) | 1 | 1.00 |" in (painted / "lesions.md").read_text()


def test_two_scans_of_one_person_count_once() -> None:
    """The person's lesions are taken together: all of one and nothing of the other is a half."""
    probes = [
        Probe(case, "mine", "lesion", (0, 0, 0), 8.0, 1.0, 1.0, made)
        for case, made in (("a1", 1.0), ("a2", 0.0), ("b", 1.0))
    ]
    people = {"a1": "a1", "a2": "a1", "b": "b"}
    found = Survival("mine", "FA", "1", "painted", (8.0,), (1.0,), probes, people=people)
    assert found.over_cases("mine", kept) == pytest.approx({"a1": 0.5, "b": 1.0})


def test_in_a_phantom_the_target_is_known(run: Path, table: dict[str, Any], tmp_path: Path) -> None:
    """T1w → T2w: a lesion is dark in one and bright in the other, so a copy shows it the wrong way round."""
    data = {**table["data"], "targets": ["T2w"]}
    folder = tmp_path / "run"
    train(
        make_recipe({**table, "data": data, "training": {**table["training"], "steps": 2}}), folder, device="cpu"
    )
    lesions([str(folder)], **SMALL)
    found = json.loads((folder / "lesions.json").read_text())
    assert found["mode"] == "simulated"
    assert found["methods"]["identity"]["kept"]["mean"] < -0.1
    assert found["methods"]["mean"]["kept"]["mean"] == pytest.approx(0, abs=1e-6)


def test_the_true_change_is_the_lesions_tissue(prepared: Path) -> None:
    """FA of white matter falls towards that of a lesion, and nothing changes far from it."""
    case = PreparedDataset.open(prepared).case("sub-003")
    implants = plan_implants(case, ("T1w",), "FA", diameters=(25.0,), count=1)
    assert implants.twin is not None
    images, due = implants.put(25.0, 1.0)
    here, there = implants.spots(25.0)[0], implants.spots(25.0, sham=True)[0]
    assert here.contrast(due) < -0.04
    assert there.contrast(due) == 0
    weaker = here.contrast(implants.put(25.0, 0.5)[1])
    assert weaker == pytest.approx(here.contrast(due) / 2, rel=0.2)
    assert here.contrast(images["T1w"][0] - np.asarray(case.values("T1w"))[0]) < 0


def test_what_cannot_be_probed(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="give --out"):
        lesions([str(run), str(run)])
    with pytest.raises(RecipeError, match="diameters above 0"):
        lesions([str(run)], tmp_path, diameters=(0,))
    with pytest.raises(RecipeError, match="intensities above 0 and up to 1"):
        lesions([str(run)], tmp_path, intensities=(2,))
    with pytest.raises(InputError, match="no room for a lesion of 400 mm"):
        lesions([str(run)], tmp_path, diameters=(400,))
    with pytest.raises(InputError, match="no room"):
        lesions([str(run)], tmp_path, within=(99,), diameters=(16,))
