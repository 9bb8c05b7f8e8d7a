"""A plan is a recipe that train takes, and every number in it follows from what was seen or measured."""

import tomllib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from transmodal import registry
from transmodal.data.batch import Batch
from transmodal.data.motion import Motion, misalign
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.data.task import Task
from transmodal.data.volume import read_volume, write_volume
from transmodal.errors import InputError, RecipeError, Refused
from transmodal.experiment.afford import Budget, afford, shallow
from transmodal.experiment.plan import plan
from transmodal.experiment.train import train
from transmodal.methods._method import Facts
from transmodal.recipe import load_recipe
from transmodal.training.cost import Cost, measure
from transmodal.training.settings import TrainingSettings


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("heads")
    write_cohort(root, PhantomSettings(subjects=4, size=(40, 44, 36), spacing=4.6, contrasts=("T1w", "FLAIR")))
    return root


def copied(heads: Path, to: Path) -> Path:
    for path in heads.rglob("*.nii.gz"):
        (to / path.parent.name).mkdir(parents=True, exist_ok=True)
        (to / path.parent.name / path.name).write_bytes(path.read_bytes())
    (to / "cases.tsv").write_text((heads / "cases.tsv").read_text())
    return to


def test_the_recipe_is_complete_and_trains_as_it_is(heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan.toml"
    text = plan(heads, out, minutes=0.05)
    assert out.read_text() == text
    recipe = load_recipe(out)
    assert (recipe.data.sources, recipe.data.targets) == (("T1w",), ("FLAIR",))
    assert recipe.data.prepare.register == "none"
    assert recipe.data.prepare.spacing == 0
    assert recipe.data.folds == 4
    keys = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    reasons = [line for line in text.splitlines() if line.startswith("# ")]
    assert len(reasons) == len(keys) + 1
    with pytest.raises(Refused, match="--force"):
        plan(heads, out)
    words = ["training.steps=2", "training.validate_every=0", "method.width=8"]
    assert "| regression | 1 |" in train(load_recipe(out, words), tmp_path / "run")


def test_a_plan_for_ct_tells_tissues_apart(tmp_path: Path) -> None:
    settings = PhantomSettings(subjects=3, size=(24, 24, 24), spacing=8.0, contrasts=("T1w", "CT"))
    write_cohort(tmp_path / "heads", settings)
    plan(tmp_path / "heads", tmp_path / "plan.toml", minutes=0.05)
    assert "MAE-bone" in load_recipe(tmp_path / "plan.toml").evaluation.metrics


def test_thick_slices_and_shifted_pairs_are_seen(heads: Path, tmp_path: Path) -> None:
    data = copied(heads, tmp_path / "data")
    for number, path in enumerate(sorted(data.glob("*/T1w.nii.gz"))):
        image = nib.load(path)
        affine = image.affine @ np.diag([1.1 if number == 3 else 1, 3, 1, 1])
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:, ::3], affine), path)
        if number == 0:
            other = path.with_name("FLAIR.nii.gz")
            moved = misalign(read_volume(other), Motion(translation_mm=(9.0, 0.0, 6.0)))
            write_volume(moved, other)
    recipe = tomllib.loads(plan(data, tmp_path / "plan.toml", minutes=0.05))
    prepare = recipe["data"]["prepare"]
    assert prepare["spacing"] == [4.6, 13.8, 4.6]
    assert recipe["sampling"]["view"] == "coronal"
    assert prepare["register"] == "rigid"
    text = (tmp_path / "plan.toml").read_text()
    assert "slices are 3.0 times as thick as fine" in text
    assert "of 4 pairs looked at are off" in text


def test_roles_that_cannot_be_chosen(heads: Path, tmp_path: Path) -> None:
    data = copied(heads, tmp_path / "data")
    for path in data.glob("*/T1w.nii.gz"):
        path.with_name("T2w.nii.gz").write_bytes(path.read_bytes())
    rows = (data / "cases.tsv").read_text().splitlines()
    cells = [row.split("\t") for row in rows]
    names = [c[0] for c in cells]
    (data / "cases.tsv").write_text(
        "case\tT1w\tT2w\tFLAIR\n"
        + "".join(f"{n}\t{n}/T1w.nii.gz\t{n}/T2w.nii.gz\t{n}/FLAIR.nii.gz\n" for n in names[1:])
    )
    with pytest.raises(RecipeError, match=r"T1w, T2w, FLAIR; say which to make with --targets"):
        plan(data, tmp_path / "x.toml")
    with pytest.raises(RecipeError, match="no case has 'FLIAR'; did you mean 'FLAIR'"):
        plan(data, tmp_path / "x.toml", targets=["FLIAR"])
    with pytest.raises(RecipeError, match="--minutes 0"):
        plan(data, tmp_path / "x.toml", minutes=0.0)
    with pytest.raises(RecipeError, match="no method 'pix2pux'"):
        plan(data, tmp_path / "x.toml", method="pix2pux")
    with pytest.raises(InputError, match="gone"):
        plan(tmp_path / "gone", tmp_path / "x.toml")
    recipe = tomllib.loads(plan(data, tmp_path / "x.toml", targets=["FLAIR"], minutes=0.05))
    assert recipe["data"]["sources"] == ["T1w", "T2w"]


def test_cases_that_lack_something_are_left_out_and_odd_names_are_quoted(heads: Path, tmp_path: Path) -> None:
    data = copied(heads, tmp_path / "data")
    names = [path.name for path in sorted(data.glob("sub-*"))]
    table = "case\tT1w\tT2.w\n" + "".join(f"{n}\t{n}/T1w.nii.gz\t{n}/FLAIR.nii.gz\n" for n in names[1:])
    (data / "cases.tsv").write_text(table + f"{names[0]}\t{names[0]}/T1w.nii.gz\tn/a\n")
    text = plan(data, tmp_path / "x.toml", targets=["T2.w"], minutes=0.05)
    recipe = tomllib.loads(text)
    assert recipe["data"]["prepare"]["exclude"] == [names[0]]
    assert recipe["data"]["prepare"]["intensity"]["T2.w"] == "percentile"
    assert recipe["data"]["folds"] == 3
    (data / "cases.tsv").write_text("".join(line + "\n" for line in table.splitlines()[:3]))
    with pytest.raises(InputError, match=r"2 of its people have all of .*add people"):
        plan(data, tmp_path / "y.toml", targets=["T2.w"])


class OneLayer(nn.Module):
    """A convolution to 5 channels, a ReLU and a mean: what is kept for its gradient can be counted by hand."""

    facts = Facts("one layer", "baseline")
    training_only = ()
    multiple = 1

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(1, 5, 3, padding=1, bias=False)

    def players(self):
        return {"generator": {"net": self.net}}

    def objectives(self, batch: Batch):
        yield "generator", {"mean": self.translate(batch).relu().mean()}

    def translate(self, batch: Batch):
        return self.net(batch.source)


def test_bytes_are_those_that_are_kept() -> None:
    task = Task(("T1w",), ("T2w",), size=(32, 32))
    cost = measure(OneLayer(), task, TrainingSettings(batch_size=4), "cpu")
    # The input, the output of the ReLU and of nothing else, which autocast may keep in bf16 too.
    pixels = 32 * 32
    assert pixels * (2 * 1 + 2 * 5) <= cost.per_sample <= pixels * (4 + 2 + 4 * 5)
    assert cost.fixed == 4 * 4 * 45
    assert cost.seconds > 0


def test_a_larger_batch_costs_more_and_halves_until_it_fits() -> None:
    cost = Cost(fixed=1000, per_sample=300, seconds=0.1)
    assert cost.memory(4) == 2200
    assert [cost.largest_batch(memory, 8) for memory in (100.0, 1700.0, 2200.0, 3399.0, 3400.0, 1e9)] == [
        1,
        2,
        4,
        4,
        8,
        8,
    ]


def test_widths_are_halved_until_time_and_memory_do() -> None:
    task = Task(("T1w",), ("T2w",), size=(32, 32))
    cpu = torch.device("cpu")
    rich = afford("regression", task, {}, Budget(1e6, 64e9, cpu))
    assert rich.arguments == {}
    assert rich.steps(100) == 300 * 100 // rich.batch
    poor = afford("regression", task, {}, Budget(1e-4, 64e9, cpu))
    assert poor.arguments == {"width": 8}
    with pytest.raises(RecipeError, match="even at its narrowest"):
        afford("regression", task, {}, Budget(1.0, 1e4, cpu))


def test_networks_that_halve_too_often_are_made_shallower() -> None:
    assert shallow("pix2pix", Task()) == ({"depth": 5}, 32)
    assert shallow("identity", Task()) == ({}, registry.outline("identity", Task(), {}).multiple)
