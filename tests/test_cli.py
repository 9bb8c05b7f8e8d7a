"""The command line: exit codes, sentences, stable options. Run in-process: a new interpreter costs seconds."""

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from transmodal import cli, commands
from transmodal.__main__ import main
from transmodal.evaluation.table import read_rows

Run = Callable[..., tuple[int, str, str]]

GENERATOR, CRITIC, GMAC = 54_407_809, 2_764_609, 5.948
"""pix2pix for one channel in and out: U-Net-256 and the 70 x 70 PatchGAN at 256 voxels."""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; exit code, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = cli.run([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def toml(table: dict[str, Any]) -> str:
    lines = []
    for name, values in table.items():
        lines.append(f"[{name}]")
        for key, value in values.items():
            if isinstance(value, dict):
                value = "{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) + "}"
                lines.append(f"{key} = {value}")
            else:
                lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines)


@pytest.fixture
def recipe_file(table: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(toml(table))
    return path


def test_the_whole_job_in_commands(call: Run, cohort: Path, recipe_file: Path, tmp_path: Path) -> None:
    code, out, _ = call("prepare", cohort, "--out", tmp_path / "p", "spacing=9", "-q")
    assert (code, out) == (0, f"4 cases prepared in {tmp_path / 'p'}\n")
    assert json.loads((tmp_path / "p" / "fingerprint.json").read_text())
    code, out, err = call("train", recipe_file, f"data.path={tmp_path / 'p'}", "--out", tmp_path / "run", "-q")
    assert code == 0, err
    assert err == ""
    assert "identity (floor)" in out
    assert {row.method for row in read_rows(tmp_path / "run" / "evaluation.csv")} == {
        "identity",
        "mean",
        "regression",
    }
    image = cohort / "sub-001" / "T1w.nii.gz"
    code, out, _ = call(
        "synthesize", tmp_path / "run" / "model", image, "--out", tmp_path / "s" / "sub-001.nii.gz", "-q"
    )
    assert (code, out.strip()) == (0, str(tmp_path / "s" / "sub-001.nii.gz"))
    code, out, _ = call("synthesize", tmp_path / "run", cohort, "--out", tmp_path / "batch", "--log-json")
    assert code == 0
    assert len(out.splitlines()) == 4
    code, out, err = call("evaluate", tmp_path / "batch", cohort, "--target", "FA", "--out", tmp_path / "e", "-q")
    assert code == 0, err
    rows = read_rows(tmp_path / "e" / "evaluation.csv")
    assert len({row.case for row in rows}) == 4
    for folder in ("run", "e"):
        code, out, err = call("report", tmp_path / folder, "-q")
        assert code == 0, err
        assert Path(out.strip()).read_text().startswith("<!DOCTYPE html>")
    code, _, err = call("train", recipe_file, "--out", tmp_path / "run", "-q")
    assert code == 5
    assert "--resume" in err


def test_a_training_that_diverges_is_done_again(
    call: Run, run: Path, cohort: Path, recipe_file: Path, tmp_path: Path
) -> None:
    code, _, err = call("prepare", cohort, "--out", tmp_path / "p", "spacing=9", "-q")
    assert code == 0, err
    words = (f"data.path={tmp_path / 'p'}", "training.optimizer.lr=1e30", "--out", tmp_path / "run", "-q")
    code, _, err = call("train", recipe_file, *words)
    assert code == 1
    assert f"`transmodal replay {tmp_path / 'run'}` does it again" in err
    code, out, _ = call("replay", tmp_path / "run")
    assert code == 0
    assert "nan" in out or "inf" in out
    code, _, err = call("replay", run)
    assert code == 3
    assert "turn.json" in err


def test_ctrl_c_before_anything_was_begun_ends_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "transmodal: interrupted before anything was begun\n"


def test_a_passport(call: Run, cohort: Path, tmp_path: Path) -> None:
    one, other = (cohort / case / "FA.nii.gz" for case in ("sub-001", "sub-002"))
    words = ("evaluate", one, other, "--target", "FA", "--passport", "--out", tmp_path / "e", "-q")
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert out.startswith("| convention | metric | value |")
    assert "- strict: there is no mask; give --mask." in out
    names = {row.convention.split()[0] for row in read_rows(tmp_path / "e" / "evaluation.csv")}
    assert {"3d", "slice-mean", "slice-max", "fa"} <= names
    assert json.loads((tmp_path / "e" / "passport.json").read_text())["scores"]
    code, _, err = call(*words, "--features", tmp_path / "gone.pth")
    assert code == 3
    assert "gone.pth: the weights 'vgg19' are not there" in err


def test_list_and_show(call: Run) -> None:
    code, out, _ = call("list", "--json")
    methods = json.loads(out)
    assert code == 0
    assert {"identity", "mean", "regression", "pix2pix", "cyclegan"} <= {m["name"] for m in methods}
    keys = {"name", "summary", "paper", "paired", "min_sources", "max_targets", "handles_missing", "needs_labels"}
    assert all(set(m) == keys for m in methods)
    code, out, _ = call("show", "pix2pix", "size=256", "--json")
    facts = json.loads(out)
    assert set(facts) == {"players", "frozen", "arguments", "gmac"}
    assert facts["players"] == {"generator": {"generator": GENERATOR}, "critic": {"critic": CRITIC}}
    assert facts["gmac"] == pytest.approx(GMAC, rel=1e-3)
    assert call("show", "pix2pix")[0] == 0
    code, _, err = call("show", "pix2pics")
    assert code == 2
    assert "did you mean 'pix2pix'" in err


def test_doctor(call: Run) -> None:
    code, out, _ = call("doctor", "--json")
    assert code == 0
    assert json.loads(out)["versions"]["torch"]
    assert json.loads(out)["threads"] >= 1
    assert "PyTorch is not installed" not in out
    assert call("doctor")[0] == 0


def test_weights_that_are_not_there_are_missed_before_any_scan_is_read(
    call: Run, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSMODAL_CACHE", str(tmp_path / "cache"))
    recipe_file.write_text(recipe_file.read_text().replace('name = "regression"', 'name = "macro2micro"'))
    text = "\n".join(
        line for line in recipe_file.read_text().splitlines() if not line.startswith(("width", "depth"))
    )
    recipe_file.write_text(text)
    code, _, err = call("train", recipe_file, f"data.path={tmp_path}/gone", "--out", tmp_path / "run")
    assert code == 3
    assert "vgg19-dcbb9e9d.pth: the weights 'vgg19' are not there; run `transmodal download vgg19`" in err
    assert not (tmp_path / "run").exists()
    code, _, err = call("download", "vgg91")
    assert code == 2
    assert "did you mean 'vgg19'" in err


def test_an_input_is_never_overwritten(call: Run, run: Path, cohort: Path, tmp_path: Path) -> None:
    scan = shutil.copy(cohort / "sub-001" / "T1w.nii.gz", tmp_path / "T1w.nii.gz")
    before = Path(scan).read_bytes()
    code, _, err = call("synthesize", run / "model", scan, "--out", scan, "--force")
    assert code == 3
    assert "is one of the images given" in err
    assert Path(scan).read_bytes() == before


@pytest.mark.parametrize("inside", ["file", "file/run"])
def test_a_run_needs_a_folder(call: Run, recipe_file: Path, tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("mine")
    code, _, err = call("train", recipe_file, "--out", tmp_path / inside)
    assert code == 3
    assert f"{tmp_path / 'file'}: is a file where a folder is needed" in err
    assert call("demo", "--out", tmp_path / inside)[0] == 3
    assert (tmp_path / "file").read_text() == "mine"


def test_a_size_that_cannot_be_halved_is_refused_before_data_are_read(
    call: Run, recipe_file: Path, tmp_path: Path
) -> None:
    words = ("data.path=nowhere", "sampling.size=[30,24]")
    code, _, err = call("train", recipe_file, *words, "--out", tmp_path / "run")
    assert code == 2
    assert "sampling.size = [30, 24]: regression takes multiples of 4 here; [32, 24] would do" in err


def test_options_are_frozen() -> None:
    found = {c.__name__.lower(): sorted(c.__dataclass_fields__) for c in commands.COMMANDS}
    assert found == {
        "demo": ["force", "out", "seed", "voice"],
        "audit": ["dataset", "entities", "fast", "out", "voice", "workers"],
        "plan": [
            "dataset",
            "device",
            "entities",
            "force",
            "memory",
            "method",
            "minutes",
            "out",
            "sources",
            "targets",
            "voice",
        ],
        "import": ["force", "out", "settings", "source", "tree", "voice"],
        "prepare": ["dataset", "mask_tool", "out", "scheduler", "settings", "voice", "workers"],
        "train": ["device", "dry_run", "force", "out", "recipe", "resume", "settings", "voice"],
        "replay": ["run_folder", "voice"],
        "calibrate": ["data", "device", "part", "run_folder", "voice"],
        "synthesize": [
            *("device", "dry_run", "engine", "force", "images", "interval", "mask", "model", "out", "scheduler"),
            *("settings", "stacks", "voice"),
        ],
        "evaluate": [
            *("data_range", "features", "labels", "mask", "method", "out", "passport"),
            *("prediction", "reference", "scheduler", "target", "voice", "workers"),
        ],
        "card": ["passport", "runs", "voice"],
        "compare": ["folders", "margin", "metric", "out", "voice"],
        "benchmark": ["device", "out", "settings", "suite", "voice"],
        "robustness": ["device", "draws", "kind", "moved", "out", "runs", "sizes", "voice"],
        "agreement": ["group", "labels", "lesion", "mask", "names", "out", "table", "target", "voice", "volumes"],
        "lesions": ["count", "device", "diameters", "intensities", "out", "paint", "runs", "voice", "within"],
        "overlap": ["names", "out", "real", "synthetic", "truth", "voice"],
        "probe": ["device", "out", "runs", "slices", "voice"],
        "report": ["folder", "out", "voice"],
        "export": ["bundle", "force", "images", "model", "onnx", "out", "voice"],
        "download": ["name", "to", "voice"],
        "list": ["json"],
        "show": ["json", "method", "settings"],
        "doctor": ["json"],
    }


@pytest.mark.parametrize("command", ["", *[c.__name__.lower() for c in commands.COMMANDS]])
def test_help_fits_a_screen(call: Run, command: str) -> None:
    code, out, _ = call(*[command] if command else [], "--help")
    assert code == 0
    assert len(out.splitlines()) <= (40 if command else 12 + 2 * len(commands.COMMANDS))


def scan(data: np.ndarray) -> Callable[[Path], None]:
    return lambda path: nib.save(nib.Nifti1Image(data, np.diag([8.5, 8.5, 8.5, 1])), path)


def truncated(path: Path) -> None:
    scan(np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32))(path)
    path.write_bytes(path.read_bytes()[:2000])


def with_nan() -> np.ndarray:
    data = np.ones((24, 24, 24), dtype=np.float32)
    data[3, 4, 5] = np.nan
    return data


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("missing.nii.gz", lambda path: None, "no such file"),
        ("short.nii.gz", truncated, "truncated"),
        ("text.nii", lambda path: path.write_text("I am a text"), "cannot be read as NIfTI"),
        ("text.nii.gz", lambda path: path.write_bytes(gzip.compress(b"text")), "cannot be read as NIfTI"),
        ("flat.nii.gz", scan(np.ones((24, 24), np.float32)), "3D volume is needed"),
        ("series.nii.gz", scan(np.ones((24, 24, 24, 3), np.float32)), "3D volume is needed"),
        ("nothing.nii.gz", scan(np.zeros((24, 0, 24), np.float32)), "no voxels"),
        ("nan.nii.gz", scan(with_nan()), "1 of 13824 voxels are NaN"),
        ("zero.nii.gz", scan(np.zeros((24, 24, 24), np.float32)), "every voxel is zero"),
    ],
)
def test_a_bad_scan_ends_in_a_sentence_and_3(
    call: Run, run: Path, tmp_path: Path, name: str, make: Callable[[Path], Any], words: str
) -> None:
    path, out = tmp_path / name, tmp_path / "out" / "fa.nii.gz"
    make(path)
    code, printed, err = call("synthesize", run / "model", path, "--out", out)
    assert code == 3
    assert printed == ""
    assert name in err
    assert words in err
    assert "Traceback" not in err
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_other_bad_input(call: Run, run: Path, cohort: Path, recipe_file: Path, tmp_path: Path) -> None:
    image, model, out = cohort / "sub-001" / "T1w.nii.gz", run / "model", tmp_path / "o"
    empty = tmp_path / "empty"
    empty.mkdir()
    pickle = tmp_path / "model.pt"
    pickle.write_bytes(b"\x80")
    two = tmp_path / "two.tsv"
    two.write_text(f"case\tsubject\tT1w\tFA\tsplit\na\tx\t{image}\t{image}\ttrain\nb\tx\t{image}\t{image}\ttest\n")
    for words, expected, sentence in [
        (("train", tmp_path / "no.toml", "--out", out), 3, "no such recipe"),
        (("train", recipe_file, "data.path=", "--out", out), 2, "data.path is not set"),
        (("train", recipe_file, f"data.path={tmp_path}/gone", "--out", out), 3, "gone"),
        (("train", recipe_file, f"data.path={empty}", "--out", out), 3, "empty"),
        (("train", recipe_file, f"data.path={two}", "--out", out), 3, "x"),
        (("train", recipe_file, "training.step=3", "--out", out), 2, "did you mean 'steps'"),
        (("train", recipe_file, "training.steps=many", "--out", out), 2, "not a whole number"),
        (("train", recipe_file, "trainin.steps=3", "--out", out), 2, "did you mean 'training'"),
        (("train", recipe_file, "method.name=pix3pix", "--out", out), 2, "did you mean 'pix2pix'"),
        (("train", recipe_file, "method.widht=3", "--out", out), 2, "did you mean 'width'"),
        (("train", recipe_file, 'data.targets=["CT"]', "--out", out), 3, "CT"),
        (("prepare", tmp_path / "gone", "--out", out), 3, "gone"),
        (("prepare", cohort, "--out", out, "spacin=2"), 2, "did you mean 'spacing'"),
        (("synthesize", pickle, image, "--out", out), 3, "pickle"),
        (("synthesize", model, "T2w=" + str(image), "--out", out), 2, "no source 'T2w'"),
        (("synthesize", model, image, image, "--out", out), 2, "more images than sources"),
        (("synthesize", model, empty, "--out", out), 3, "empty"),
        (("synthesize", model, image, "--out", tmp_path / "x.nii", "--device", "tpu"), 2, "tpu"),
        (("synthesize", model, image, "--out", tmp_path / "x.nii", "--set", "overlap=2"), 2, "overlap"),
        (("evaluate", image, cohort / "nothing.nii", "--out", out), 3, "nothing.nii"),
        (("report", empty), 3, "evaluation.csv"),
        (("nonsense",), 2, ""),
        (("train", recipe_file), 2, ""),
    ]:
        code, _, err = call(*words)
        assert code == expected, (words, err)
        assert sentence in err, (words, err)
        assert "Traceback" not in err
        shutil.rmtree(out, ignore_errors=True)


def test_a_place_that_cannot_be_written_is_named(call: Run, run: Path, cohort: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder is needed")
    code, _, err = call(
        "synthesize", run / "model", cohort / "sub-001" / "T1w.nii.gz", "--out", blocked / "fa.nii.gz"
    )
    assert code == 3
    assert "file" in err
    assert "--out" in err


def test_an_interrupt_ends_with_130(call: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.List, "run", interrupted)
    code, _, err = call("list")
    assert code == 130
    assert "interrupted" in err


def test_an_internal_error_ends_with_1(call: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(commands.List, "run", broken)
    code, _, err = call("list")
    assert code == 1
    assert "please report" in err


def test_log_json_is_json_on_stderr(call: Run, run: Path, cohort: Path, tmp_path: Path) -> None:
    code, _, err = call("synthesize", run, cohort, "--out", tmp_path / "o", "--log-json")
    assert code == 0
    events = [json.loads(line) for line in err.splitlines()]
    assert {"start", "progress"} <= {event["event"] for event in events}
    code, _, err = call("synthesize", run, cohort / "gone.nii", "--out", tmp_path / "o", "--log-json")
    last = json.loads(err.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("error", code) == ("error", 3)


def test_the_installed_command_answers() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "transmodal", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout.startswith("transmodal ")
