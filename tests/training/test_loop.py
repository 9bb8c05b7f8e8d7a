"""The loop: resuming is exact, accumulation equals a larger batch, and a broken game stops with a sentence."""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from transmodal import registry
from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.errors import InputError, RecipeError, TransmodalError
from transmodal.experiment.train import train
from transmodal.methods._method import Facts, Objectives, Players
from transmodal.recipe import make_recipe
from transmodal.schema import override
from transmodal.training.loop import CHECKPOINT, fit, make_fabric
from transmodal.training.monitor import read_log
from transmodal.training.settings import TrainingSettings
from transmodal.training.turns import play, trained_parameters

SMALL: dict[str, dict[str, Any]] = {
    "regression": {"width": 4, "depth": 2},
    "pix2pix": {"width": 4, "depth": 3, "critic_width": 4, "critic_layers": 1},
    "cyclegan": {"width": 4, "blocks": 1, "critic_width": 4, "critic_layers": 1, "pool": 3},
    "aginet": {"width": 4, "depth": 1, "critic_width": 4, "critic_layers": 1},
    "macro2micro": {
        "width": 8,
        "critic_size": (16, 16),
        "critic_width": 4,
        "patch_width": 2,
        "patch_hidden": 8,
        "patch_size": 16,
        "patches": 2,
        "perceptual_weight": 0.0,
        "r1_every": 2,
    },
    "segmentation": {"width": 4, "depth": 2},
    "colorization": {
        "width": 8,
        "blocks": 1,
        "reduction": 8,
        "critic_width": 4,
        "critic_layers": 1,
        "segmenter_width": 4,
        "allow_random": True,
        "pool": 2,
    },
    "mrnet": {
        "width": 4,
        "stages": 3,
        "fuse_stages": (1, 2),
        "mask_stages": (0, 1, 2),
        "encoder": "sam_tiny",
        "encoder_size": 32,
        "allow_random": True,
        "critic_width": 4,
        "critic_layers": 1,
    },
}


def random_batch(step: int) -> Batch:
    torch_rng = torch.Generator().manual_seed(step)
    source = torch.rand(2, 1, 16, 16, generator=torch_rng) * 2 - 1
    return Batch(
        source=source,
        target=-source.flip(-1),
        present=torch.ones(2, 1, dtype=torch.bool),
        mask=torch.ones(2, 1, 16, 16, dtype=torch.bool),
        extent=torch.tensor([[[0.0, 1.0]] * 3] * 2),
        axis=2,
        labels=torch.randint(0, 47, (2, 1, 16, 16), generator=torch_rng),
    )


class Stop(Exception):
    pass


def run_fit(
    folder: Path, name: str, settings: TrainingSettings, *, stop_at: int = 10**9, resume: bool = False
) -> Any:
    torch.manual_seed(0)
    method = registry.build(name, Task(), SMALL[name])

    def batch(step: int) -> Batch:
        if step >= stop_at:
            raise Stop
        return random_batch(step)

    def validate(step: int, monitor: object) -> Mapping[str, float]:
        return {"MAE": 1 / (1 + step)}

    fit(
        method, batch, settings, make_fabric(settings, "cpu"), folder, recipe_hash="h", higher_is_better=False,
        validate=validate, keep=lambda step: None, resume=resume,
    )  # fmt: skip
    return method


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(
    tmp_path: Path, name: str, precision: str
) -> None:
    settings = TrainingSettings(steps=8, precision=precision, ema=0.9, log_every=3, validate_every=4, save_every=2)
    whole = run_fit(tmp_path / "whole", name, settings)
    with pytest.raises(Stop):
        run_fit(tmp_path / "cut", name, settings, stop_at=7)
    resumed = run_fit(tmp_path / "cut", name, settings, resume=True)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    one, two = (load_file(tmp_path / d / CHECKPOINT) for d in ("whole", "cut"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    logs = []
    for folder in ("whole", "cut"):
        lines = [json.loads(line) for line in (tmp_path / folder / "log.jsonl").read_text().splitlines()]
        logs.append([{k: v for k, v in line.items() if k != "seconds"} for line in lines])
    assert logs[0] == logs[1]


def test_resume_refuses_a_damaged_file(tmp_path: Path) -> None:
    settings = TrainingSettings(steps=2, precision="fp32", validate_every=0)
    run_fit(tmp_path, "regression", settings, resume=True)  # nothing there yet: it begins
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        run_fit(tmp_path, "regression", settings, resume=True)


@pytest.mark.parametrize("name", ["regression", "pix2pix"])
def test_accumulating_two_batches_equals_one_of_both(name: str) -> None:
    arguments = dict(SMALL[name], norm="none", dropout=0.0) if name == "pix2pix" else SMALL[name]
    settings = TrainingSettings(precision="fp32")
    fabric = make_fabric(settings, "cpu")
    one, two = random_batch(1), random_batch(2)
    both = replace(
        one,
        **{
            key: torch.cat([getattr(one, key), getattr(two, key)])
            for key in ("source", "target", "present", "mask", "extent", "labels")
        },
    )
    states = []
    for batches in ([one, two], [both]):
        torch.manual_seed(0)
        method = registry.build(name, Task(), arguments)
        parameters = trained_parameters(method.players())
        optimizers = {p: torch.optim.SGD(named.values(), lr=0.1, momentum=0.9) for p, named in parameters.items()}
        limits = dict.fromkeys(parameters, 0.0)
        for _ in range(3):
            play(method, batches, optimizers, parameters, limits, fabric)
        states.append(method.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=1e-4, atol=1e-6)


def test_an_interrupt_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainingSettings(steps=8, precision="fp32", log_every=3, validate_every=0)
    whole = run_fit(tmp_path / "whole", "pix2pix", settings)
    own = random_batch
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it

    def press_ctrl_c(step: int) -> Batch:
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return own(step)

    monkeypatch.setitem(globals(), "random_batch", press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        run_fit(tmp_path / "cut", "pix2pix", settings)
    monkeypatch.setitem(globals(), "random_batch", own)
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    resumed = run_fit(tmp_path / "cut", "pix2pix", settings, resume=True)
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())
    logs = [read_log(tmp_path / folder / "log.jsonl") for folder in ("whole", "cut")]
    assert [line.get("terms") for line in logs[0]] == [line.get("terms") for line in logs[1]]


class Broken(nn.Module):
    facts: ClassVar[Facts] = Facts("broken", "baseline")
    training_only: ClassVar[tuple[str, ...]] = ()
    multiple = 1

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.used, self.idle = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def players(self) -> Players:
        networks = {"used": self.used, "idle": self.idle} if self.how == "idle" else {"used": self.used}
        return {"one": networks, "two": {"used": self.used}} if self.how == "shared" else {"one": networks}

    def objectives(self, batch: Batch) -> Objectives:
        loss = self.used(batch.source).mean()
        yield "one", {"good": loss, "bad": loss * float("nan") if self.how == "nan" else loss}

    def translate(self, batch: Batch) -> torch.Tensor:
        return batch.source


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("nan", "player 'one' became NaN or infinite at step 0 .*bad = nan"),
        ("idle", "2 of 4 parameters got no gradient"),
    ],
)
def test_a_broken_game_stops_and_names_the_player(how: str, words: str) -> None:
    method = Broken(how)
    parameters = trained_parameters(method.players())
    optimizers = {p: torch.optim.Adam(named.values()) for p, named in parameters.items()}
    with pytest.raises(TransmodalError, match=words):
        play(
            method, [random_batch(0)], optimizers, parameters, {"one": 0.0}, make_fabric(TrainingSettings(), "cpu")
        )


def test_a_parameter_of_two_players_is_refused() -> None:
    with pytest.raises(RecipeError, match="trained by two players"):
        trained_parameters(Broken("shared").players())


def test_a_whole_run_resumes_exactly(table: dict[str, Any], run: Path, tmp_path: Path) -> None:
    short = override(table, ["training.minutes=0.0000001"])
    recipe, cut = make_recipe(table, "tiny"), tmp_path / "cut"
    with pytest.raises(InputError, match="no run to resume"):
        train(recipe, cut, resume=True, device="cpu")
    train(make_recipe(short, "tiny"), cut, device="cpu")
    with pytest.raises(RecipeError, match="another recipe"):
        train(recipe, cut, resume=True, device="cpu")


def test_settings_of_one_player_are_laid_over_the_common_ones() -> None:
    settings = TrainingSettings(players={"critic": {"lr": 1.0}})
    assert settings.optimizer_of("critic").lr == 1.0
    assert settings.optimizer_of("generator") == settings.optimizer
    with pytest.raises(RecipeError, match=r"training\.players\.critic\.rate"):
        TrainingSettings(players={"critic": {"rate": 1.0}}).optimizer_of("critic")
