"""A tiny phantom dataset that is made once, and a tiny run on it."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from transmodal.data.bring import PrepareSettings
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.data.prepare import prepare
from transmodal.experiment.train import train
from transmodal.inference.export import export
from transmodal.recipe import Recipe, make_recipe

# One thread: the tests are small, and two threads wait for each other on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four heads of 24³ voxels with T1w, T2w and FA, as a user's folder."""
    settings = PhantomSettings(subjects=4, size=(24, 24, 24), spacing=8.5, contrasts=("T1w", "T2w", "FA"))
    return write_cohort(tmp_path_factory.mktemp("cohort"), settings, workers=1)


@pytest.fixture(scope="session")
def prepared(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, prepared."""
    out = tmp_path_factory.mktemp("data") / "prepared"
    prepare(cohort, out, PrepareSettings())
    return out


@pytest.fixture(scope="session")
def table(prepared: Path) -> dict[str, Any]:
    """A recipe as nested dicts: the smallest training that does everything."""
    return {
        "data": {"path": str(prepared), "sources": ["T1w"], "targets": ["FA"], "folds": 4},
        "sampling": {"size": [24, 24], "flip": 0.5, "jitter": 2},
        "method": {"name": "regression", "width": 4, "depth": 2},
        "training": {
            "steps": 6,
            "batch_size": 2,
            "precision": "fp32",
            "ema": 0.5,
            "log_every": 2,
            "validate_every": 3,
            "optimizer": {"lr": 1e-3, "schedule": "linear"},
        },
        "evaluation": {"metrics": ["MAE", "PSNR", "SSIM"]},
    }


@pytest.fixture(scope="session")
def recipe(table: dict[str, Any]) -> Recipe:
    """That recipe, resolved."""
    return make_recipe(table, "tiny")


@pytest.fixture(scope="session")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of it."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    train(recipe, out, device="cpu")
    return out


@pytest.fixture(scope="session")
def light(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its model, exported without the weights."""
    out = tmp_path_factory.mktemp("light") / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about itself
        export(run / "model", out)
    return out


@pytest.fixture(scope="session")
def challenge() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prediction, truth (HU) and mask in (z, y, x) order, for which the SynthRAD challenges' code was run."""
    z, y, x = np.indices((20, 24, 28)).astype(float)
    truth = np.round(600 * np.sin(x / 5) * np.cos(y / 7) + 300 * np.cos(z / 3) - 100)
    truth[5:8, 10:12, 12:16] = 3500
    truth[12:14, 6:9, 5:8] = -2000
    made = truth + np.round(80 * np.sin((x + 2 * y + 3 * z) / 5)) + 8 * (((x * y + z) % 11) - 5)
    mask = ((z - 9.5) / 9) ** 2 + ((y - 11.5) / 10) ** 2 + ((x - 13.5) / 12) ** 2 <= 1
    return torch.from_numpy(made)[None], torch.from_numpy(truth)[None], torch.from_numpy(mask)


@pytest.fixture(scope="session")
def large_challenge(
    challenge: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same, every voxel five times along each axis: 100 × 113 × 131, so five scales fit without padding."""
    grown = [np.kron(v.squeeze().numpy(), np.ones((5, 5, 5)))[:, :113, :131] for v in challenge]
    return torch.from_numpy(grown[0])[None], torch.from_numpy(grown[1])[None], torch.from_numpy(grown[2] > 0)


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    """Images by formula, 256 × 256 in float64 and [0, 1], of which metrics are known: A, B, RGB1, RGB2."""
    i, j = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    one = 0.5 + 0.25 * np.sin(2 * np.pi * i / 17) + 0.2 * np.cos(2 * np.pi * (2 * i + 3 * j) / 41)
    two = 0.9 * one + 0.05 + 0.05 * np.sin(2 * np.pi * i * j / 997)
    first = np.stack([one, 0.6 * one, 0.5 * (1 - one)])
    second = np.stack([two, 0.55 * two, 0.45 * (1 - two)])
    return {"A": one[None], "B": two[None], "RGB1": first, "RGB2": second}
