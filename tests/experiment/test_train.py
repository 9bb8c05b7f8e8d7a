"""A run from recipe to table, for every method and every way to look at a head."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import transmodal
from transmodal import progress, registry
from transmodal.data.phantom.cohort import PhantomSettings
from transmodal.data.prepared import PreparedDataset
from transmodal.errors import InputError, RecipeError, Refused
from transmodal.evaluation.table import read_rows
from transmodal.experiment.compare import compare
from transmodal.experiment.demo import demo
from transmodal.experiment.judge import judge, score_judged
from transmodal.experiment.replay import replay
from transmodal.experiment.run import open_run, start
from transmodal.experiment.train import train
from transmodal.inference.files import synthesize_paths
from transmodal.inference.model import load_model
from transmodal.nn.encoder import PretrainedEncoder
from transmodal.recipe import make_recipe
from transmodal.reporting.html import report
from transmodal.training.monitor import read_log

SMALL: dict[str, dict[str, Any]] = {
    "regression": {"width": 4, "depth": 2},
    "pix2pix": {"width": 4, "depth": 2, "critic_width": 4, "critic_layers": 1, "norm": "instance"},
    "cyclegan": {"width": 4, "blocks": 1, "critic_width": 4, "critic_layers": 1, "pool": 2},
    "aginet": {"width": 4, "depth": 2, "critic_width": 4, "critic_layers": 1},
    "macro2micro": {
        "width": 4, "critic_width": 4, "patch_width": 2, "patch_hidden": 8,
        "patch_size": 16, "patches": 2, "vgg_taps": ["relu1_1"], "allow_random": True,
    },
    "segmentation": {"width": 4, "depth": 2},
    "colorization": {
        "width": 8, "blocks": 1, "reduction": 8, "critic_width": 4, "critic_layers": 1, "segmenter_width": 4,
        "allow_random": True,
    },
    "mrnet": {
        "width": 4, "stages": 3, "fuse_stages": [1, 2], "mask_stages": [0, 1, 2], "encoder": "sam_tiny",
        "encoder_size": 32, "allow_random": True, "critic_width": 4, "critic_layers": 1,
    },
}  # fmt: skip

NAMES = ("sub-001", "sub-002", "sub-003", "sub-004")

WAYS: dict[str, dict[str, Any]] = {
    "coronal": {"sampling": {"view": "coronal", "size": [24, 24]}},
    "sagittal, off size": {"sampling": {"view": "sagittal", "size": [20, 28]}},
    "2.5D": {"sampling": {"size": [24, 24], "neighbours": 3}},
    "patches": {"sampling": {"view": "patch", "size": [16, 16, 16]}},
    "three planes": {
        "sampling": {"view": "planes", "size": [24, 24]},
        "inference": {"planes": ["axial", "coronal", "sagittal"]},
    },
    "two sources": {"data": {"sources": ["T1w", "FA"], "targets": ["T2w"], "folds": 4}},
    "two targets": {"data": {"sources": ["T1w"], "targets": ["T2w", "FA"], "folds": 4}},
    "accumulated, bf16, clipped": {
        "training": {"steps": 2, "accumulate": 2, "precision": "bf16", "optimizer": {"clip": 1.0}}
    },
    "augmented": {"sampling": {"size": [24, 24], "flip": 0.5, "rotate": 10.0, "gamma": 0.3, "jitter": 3}},
}


def small(table: dict[str, Any], method: str = "regression", **changes: dict[str, Any]) -> dict[str, Any]:
    training = {"steps": 2, "batch_size": 2, "precision": "fp32", "validate_every": 0}
    path = table["data"]["path"]
    base = {**table, "training": training, "method": {"name": method, **SMALL.get(method, {})}, **changes}
    return {**base, "data": {**base["data"], "path": path}}


@pytest.mark.parametrize("name", registry.names())
def test_every_method_runs_and_is_judged_beside_the_floors(
    name: str, table: dict[str, Any], tmp_path: Path
) -> None:
    text = train(make_recipe(small(table, name)), tmp_path, device="cpu")
    rows = read_rows(tmp_path / "evaluation.csv")
    assert {row.method for row in rows} == {"identity", "mean", name}
    assert "floor" in text
    assert all(np.isfinite(row.value) for row in rows)
    assert load_model(tmp_path).name == name
    assert read_log(tmp_path / "log.jsonl")[-1]["validation"]["MAE"] > 0


def test_random_weights_are_told_to_everybody(table: dict[str, Any], cohort: Path, tmp_path: Path) -> None:
    """And a checkpoint without VGG-19's weights is enough to go on, in a Model without them."""
    recipe = make_recipe(small(table, "macro2micro"))
    printed = train(recipe, tmp_path / "run", device="cpu")
    out = tmp_path / "sub-001_FA.nii.gz"
    synthesize_paths(tmp_path / "run", [str(cohort / "sub-001" / "T1w.nii.gz")], out, device="cpu")
    with safe_open(tmp_path / "run" / "last" / "checkpoint.safetensors", framework="pt") as checkpoint:
        told = {"checkpoint": checkpoint.metadata()["pretrained"]}
        assert not [key for key in checkpoint.keys() if "vgg" in key]  # noqa: SIM118
    for file in ("run/evaluation.json", "run/model/model.json", "run/model/README.md", "sub-001_FA.json"):
        told[file] = (tmp_path / file).read_text()
    report(tmp_path / "run")
    compared = compare([f"mine={tmp_path / 'run'}"], tmp_path / "compared")
    told |= {"table": printed, "report": (tmp_path / "run" / "report.html").read_text(), "compare": compared}
    for file in ("comparison.html", "comparison.json"):
        told[file] = (tmp_path / "compared" / file).read_text()
    assert {name for name, text in told.items() if "RANDOM weights" not in text} == set()
    assert "mine: VGG-19 has RANDOM weights" in compared
    with safe_open(tmp_path / "run" / "model" / "weights.safetensors", framework="pt") as weights:
        assert {key.split(".")[0] for key in weights.keys()} == {"encoder", "decoder"}  # noqa: SIM118


def test_cases_with_one_half_train_a_method_that_needs_no_pairs(
    table: dict[str, Any], cohort: Path, tmp_path: Path
) -> None:
    """A scan of somebody whose other scan was never taken; nobody who is held out is among them."""
    lines = [f"{name}\t{cohort}/{name}/T1w.nii.gz\t{cohort}/{name}/FA.nii.gz" for name in NAMES]
    lines += [f"only-source\t{cohort}/sub-001/T1w.nii.gz\tn/a", f"only-target\tn/a\t{cohort}/sub-002/FA.nii.gz"]
    data = tmp_path / "cases.tsv"
    data.write_text("\n".join(["case\tT1w\tFA", *lines]))
    for name, halves in (("cyclegan", ["only-source", "only-target"]), ("regression", [])):
        base = small(table, name)
        train(make_recipe({**base, "data": {**base["data"], "path": str(data)}}), tmp_path / name, device="cpu")
        record = json.loads((tmp_path / name / "run.json").read_text())
        assert record["halves"] == halves
        assert {row.case for row in read_rows(tmp_path / name / "evaluation.csv")} <= set(NAMES)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_every_way_of_looking(way: str, table: dict[str, Any], cohort: Path, tmp_path: Path) -> None:
    recipe = make_recipe(small(table, **WAYS[way]))
    train(recipe, tmp_path, device="cpu")
    model = load_model(tmp_path)
    images = [nib.load(cohort / "sub-001" / f"{name}.nii.gz") for name in recipe.data.sources]
    made = transmodal.synthesize(model, images)
    for image in made.values() if isinstance(made, dict) else [made]:
        assert image.shape == images[0].shape
        assert np.array_equal(image.affine, images[0].affine)
        assert np.isfinite(np.asarray(image.dataobj)).all()


def test_training_beats_both_floors(table: dict[str, Any], tmp_path: Path) -> None:
    training = {
        "steps": 150,
        "batch_size": 8,
        "validate_every": 0,
        "optimizer": {"lr": 2e-3, "schedule": "cosine", "hold": 0.0},
    }
    base = small(table, training=training)
    base["method"] = {"name": "regression", "width": 8, "depth": 2}
    train(make_recipe(base), tmp_path, device="cpu")
    mae = {row.method: row.value for row in read_rows(tmp_path / "evaluation.csv") if row.metric == "MAE"}
    assert mae["regression"] < 0.9 * min(mae["identity"], mae["mean"])


def test_two_runs_with_one_seed_are_equal_and_the_record_says_how(run: Path, recipe: Any, tmp_path: Path) -> None:
    train(recipe, tmp_path, device="cpu")
    assert load_model(tmp_path).sha256 == load_model(run).sha256
    record = json.loads((run / "run.json").read_text())
    assert record["hash"] == recipe.hash
    assert make_recipe(record["recipe"]).hash == recipe.hash
    assert set(record["split"]) == {"train", "val", "test"}
    assert {"torch", "transmodal"} <= set(record["environment"]["versions"])


def test_an_earlier_run_is_kept_unless_forced(run: Path, recipe: Any) -> None:
    before = (run / "evaluation.csv").read_bytes()
    with pytest.raises(Refused, match="not empty"):
        train(recipe, run, device="cpu")
    assert (run / "evaluation.csv").read_bytes() == before
    train(recipe, run, resume=True, device="cpu")
    assert (run / "evaluation.csv").read_bytes() == before


def test_tanh_cannot_reach_z_scores(table: dict[str, Any], cohort: Path, tmp_path: Path) -> None:
    base = small(table, "pix2pix")
    base["data"] |= {"path": str(cohort), "targets": ["T2w"], "prepare": {"intensity": {"T2w": "zscore"}}}
    with pytest.raises(RecipeError, match=r"method\.output = 'linear'"):
        train(make_recipe(base), tmp_path / "a", device="cpu")
    base["method"]["output"] = "linear"
    train(make_recipe(base), tmp_path / "b", device="cpu")
    assert {row.unit for row in read_rows(tmp_path / "b" / "evaluation.csv")} >= {"z"}


def test_a_start_that_was_refused_does_not_block_the_next(
    table: dict[str, Any], cohort: Path, tmp_path: Path
) -> None:
    """What is met before the first step leaves a record and prepared data, which the next try uses again."""
    base = small(table, "pix2pix")
    base["data"] |= {"path": str(cohort), "targets": ["T2w"], "prepare": {"intensity": {"T2w": "zscore"}}}
    with pytest.raises(RecipeError, match=r"method\.output = 'linear'"):
        train(make_recipe(base), tmp_path / "run", device="cpu")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"run.json", "prepared"}
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "run" / "prepared" / "cases").rglob("*.*")}
    assert kept
    base["method"]["output"] = "linear"
    train(make_recipe(base), tmp_path / "run", device="cpu")
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    with pytest.raises(Refused, match="not empty"):
        train(make_recipe(base), tmp_path / "run", device="cpu")
    # What only has the name of a record is somebody's.
    (tmp_path / "mine").mkdir()
    for text in ('{"km": 5}', "not JSON"):
        (tmp_path / "mine" / "run.json").write_text(text)
        with pytest.raises(Refused, match="not empty"):
            train(make_recipe(base), tmp_path / "mine", device="cpu")
        assert (tmp_path / "mine" / "run.json").read_text() == text


def test_a_modality_that_nobody_has(table: dict[str, Any], tmp_path: Path) -> None:
    base = small(table)
    base["data"]["targets"] = ["CT"]
    with pytest.raises(InputError, match="no case has all of CT and a source; it holds FA, T1w, T2w"):
        train(make_recipe(base), tmp_path, device="cpu")


def test_the_demo_is_shown_again_at_no_cost_and_spares_other_folders(
    tmp_path: Path, table: dict[str, Any]
) -> None:
    out = tmp_path / "demo"
    settings = PhantomSettings(subjects=4, size=(24, 24, 24), spacing=9.2, contrasts=("T1w", "FA"))
    base = small(table)
    base["data"]["path"] = str(out / "phantom")
    lines = demo(out, settings=settings, recipe=make_recipe(base))
    assert (out / "report.html").is_file()
    assert len(list((out / "synthesis").glob("*_synth-FA.nii.gz"))) == 1
    stamp = (out / "evaluation.csv").stat().st_mtime_ns
    assert demo(out, settings=settings, recipe=make_recipe(base)) == lines
    assert (out / "evaluation.csv").stat().st_mtime_ns == stamp
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(Refused, match="not a demo"):
        demo(tmp_path / "mine", settings=settings, recipe=make_recipe(base))


def test_every_part_of_the_sources_is_judged(table: dict[str, Any], tmp_path: Path) -> None:
    """Its rows are what the model makes when only that part is given; a target the floors also see."""
    base = small(table, "aginet")
    base["data"] |= {"sources": ["T1w", "FA"], "targets": ["T2w"]}
    base["sampling"] = {**base["sampling"], "drop": 0.5}
    base["evaluation"] = {**base["evaluation"], "subsets": True}
    train(make_recipe(base), tmp_path, device="cpu")
    values = {(r.method, r.metric): r.value for r in read_rows(tmp_path / "evaluation.csv")}
    assert {method for method, _ in values} == {"identity", "mean", "aginet", "aginet from T1w", "aginet from FA"}
    assert len({values[m, "MAE"] for m in ("aginet", "aginet from T1w", "aginet from FA")}) == 3
    run, method = open_run(tmp_path), load_model(tmp_path).method
    case = run.dataset.case(run.split.test[0])
    (judged,) = judge(method, run, case, {"FA": case.values("FA")})
    (row,) = score_judged(judged, "x", ["MAE"])
    assert row.value == values["aginet from FA", "MAE"]


def test_what_cases_lack_is_said(
    table: dict[str, Any], cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cohort
    rows = [f"sub-00{i}\t{path / f'sub-00{i}'}/T1w.nii.gz\t" for i in range(1, 5)]
    cells = [f"{path / f'sub-00{i}'}/FA.nii.gz\t{path / f'sub-00{i}'}/T2w.nii.gz" for i in range(1, 5)]
    cells[1] = "n/a\t" + cells[1].split("\t")[1]
    cells[2] = cells[2].split("\t")[0] + "\tn/a"
    both = [row + cell for row, cell in zip(rows, cells, strict=True)]
    (tmp_path / "cases.tsv").write_text("\n".join(["case\tT1w\tFA\tT2w", *both]) + "\n")
    said: list[str] = []
    monkeypatch.setattr("transmodal.experiment.run.progress.say", said.append)
    base = small(table, "aginet")
    base["data"] |= {"path": str(tmp_path), "sources": ["T1w", "FA"], "targets": ["T2w"], "folds": 3}
    start(make_recipe(base), tmp_path / "run")
    assert said == [
        "1 of 4 cases are left out: sub-003 lacks T2w",
        "1 of 4 cases are used without a source: sub-002 lacks FA",
    ]


@pytest.mark.parametrize(
    ("table_", "key", "says"),
    [
        ("sampling", {"drop": 0.5}, "sampling.drop = 0.5: pix2pix needs all its sources"),
        ("evaluation", {"subsets": True}, "evaluation.subsets = True: pix2pix needs all its sources"),
        ("sampling", {"misalign": {"size": 1.0}}, "misalignment of T1w: it is the only source"),
        (
            "sampling",
            {"misalign": {"knd": "warp"}},
            "sampling.misalign.knd: there is no such key",
        ),
        ("sampling", {"misalign": {"kind": "wrap"}}, "did you mean 'warp'"),
    ],
)
def test_wrong_words_about_sources(table: dict[str, Any], table_: str, key: dict[str, Any], says: str) -> None:
    base = small(table, "pix2pix")
    base[table_] = {**base[table_], **key}
    with pytest.raises(RecipeError, match=re.escape(says)):
        make_recipe(base)


@pytest.mark.parametrize("monitor", ["PSNRR", "Sharpness"])
def test_a_monitor_that_cannot_choose_is_refused(table: dict[str, Any], tmp_path: Path, monitor: str) -> None:
    wrong = {**table, "training": {**table["training"], "monitor": monitor}}
    with pytest.raises(RecipeError, match=f"training.monitor = '{monitor}': choose a metric"):
        train(make_recipe(wrong), tmp_path / "run", device="cpu")


def test_features_that_are_kept_change_nothing_and_are_computed_once(
    table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs give the same weights and scores; the second one that keeps features looks at nothing."""
    monkeypatch.setenv("TRANSMODAL_CACHE", str(tmp_path / "cache"))
    training = {"steps": 6, "batch_size": 2, "precision": "fp32", "validate_every": 3}
    looked: list[int] = []
    said: list[tuple[str, int]] = []
    monkeypatch.setattr("transmodal.progress.say", lambda message: said.append((message, len(looked))))
    look = PretrainedEncoder._look

    def counted(self: PretrainedEncoder, image: Any) -> Any:
        # Multiplications are counted on an image without numbers, which is no look.
        if image.device.type != "meta":
            looked.append(0)
        return look(self, image)

    monkeypatch.setattr(PretrainedEncoder, "_look", counted)

    def run(name: str, keep: str, **sampling: float) -> Any:
        changed = small(table, "mrnet", training=training, sampling={"size": [24, 24], "flip": 0.5, **sampling})
        changed["method"]["encoder_cache"] = keep
        looked.clear()
        train(make_recipe(changed), tmp_path / name, device="cpu")
        return load_file(tmp_path / name / "model" / "weights.safetensors"), len(looked)

    changing, _ = run("none", "none")
    kept, first = run("kept", "float32")
    again, second = run("again", "float32")
    for weights in (kept, again):
        assert all(torch.equal(weights[key], value) for key, value in changing.items())
    assert len(list((tmp_path / "cache" / "features").glob("*/*/*.npy"))) == first - second
    # What is left is the final evaluation, by the Model, which keeps nothing: every slice that has some mask.
    held_out = PreparedDataset.open(table["data"]["path"]).case("sub-001")
    assert second == held_out.mask().any(axis=(0, 1)).sum()
    assert [seen for message, seen in said if "images need" in message] == [0, 0], "told before it starts"
    with pytest.raises(RecipeError, match=r"sampling\.jitter = 1 makes a new image"):
        run("refused", "float32", jitter=1)


def test_force_replaces_a_run_and_nothing_else(table: dict[str, Any], tmp_path: Path) -> None:
    thesis = tmp_path / "mine" / "model" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years")
    (tmp_path / "mine" / "prepared").mkdir()
    with pytest.raises(Refused, match="holds no run for --force to replace"):
        train(make_recipe(small(table)), tmp_path / "mine", device="cpu", force=True)
    assert thesis.read_text() == "years"


def test_force_unlinks_what_lies_elsewhere(table: dict[str, Any], tmp_path: Path) -> None:
    out, scratch = tmp_path / "run", tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "kept.txt").write_text("here")
    out.mkdir()
    (out / "run.json").write_text("{}")
    (out / "predictions").symlink_to(scratch)
    train(make_recipe(small(table)), out, device="cpu", force=True)
    assert (scratch / "kept.txt").read_text() == "here"
    assert (out / "predictions").is_dir()
    assert not (out / "predictions").is_symlink()


def test_a_resumed_run_without_a_checkpoint_says_so(
    table: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_recipe(small(table))
    train(recipe, tmp_path, device="cpu")
    shutil.rmtree(tmp_path / "last")
    capsys.readouterr()
    progress.use("human")
    train(recipe, tmp_path, device="cpu", resume=True)
    assert "no checkpoint was left: training starts at its first step" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["{}", "[1]", "no JSON", None])
def test_a_damaged_dump_is_named(run: Path, tmp_path: Path, damage: str | None) -> None:
    shutil.copytree(run, tmp_path / "run")
    dumped = tmp_path / "run" / "diverged"
    dumped.mkdir()
    proper = {"precision": "32-true", "batch": {}, "seed": 0, "rank": 0, "turn": 0}
    (dumped / "turn.json").write_text(json.dumps(proper) if damage is None else damage)
    (dumped / "state.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"turn.json|state.safetensors"):
        replay(tmp_path / "run")
