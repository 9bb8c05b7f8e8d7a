"""Two processes are one with the double batch: same weights, same log, same data; and none of them hangs or lies.

The processes are told their numbers as torchrun tells them, and run the command as it is run by hand.
"""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from transmodal.errors import RecipeError
from transmodal.reporting.toml import to_toml
from transmodal.training.loop import CHECKPOINT
from transmodal.training.monitor import read_log
from transmodal.training.ranks import Rank, own_rank

GAMES: dict[str, dict[str, Any]] = {
    # Batch statistics and dropout are each process's own; a gradient that is nothing but rounding, of
    # a bias before a norm or a vanilla critic's last bias, is blown up by Adam. Without these nothing may differ.
    "pix2pix": {
        "width": 4, "depth": 2, "critic_width": 4, "critic_layers": 1, "norm": "none", "dropout": 0.0,
        "gan": "lsgan",
    },
    "cyclegan": {"width": 4, "blocks": 1, "critic_width": 4, "critic_layers": 1, "norm": "none"},
}  # fmt: skip
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")


def _work(words: list[str], told: dict[str, str], folder: str, death: int) -> None:
    """Run a command as one process of several; note what it writes, and die before step ``death``."""
    from transmodal import cli
    from transmodal.data.loader import Loader

    os.environ.update(told)
    torch.set_num_threads(1)
    changed: list[str] = []

    def watch(event: str, args: tuple[Any, ...]) -> None:
        opened = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if (opened or event in _CHANGES) and f"{args[0]}/".startswith(f"{folder}/"):
            changed.append(str(args[0]))

    own = Loader.batch

    def batch(self: Loader, step: int) -> Any:
        if step == death:
            os.kill(os.getpid(), signal.SIGKILL)
        return own(self, step)

    Loader.batch = batch  # type: ignore[method-assign]
    sys.addaudithook(watch)
    said = f"{folder}.{told.get('RANK', 0)}"
    with open(f"{said}.out", "w") as sys.stdout, open(f"{said}.err", "w") as sys.stderr:
        code = cli.run(words)
    Path(f"{said}.changed").write_text("\n".join(changed))
    os._exit(code)


class Crew:
    """Trains a recipe with some processes."""

    def __init__(self, place: Path, table: dict[str, Any]):
        self.place, self.table = place, table
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["transmodal.experiment.train", "transmodal.cli"])

    def __call__(
        self, name: str, method: str, count: int, *words: str, death: int = -1, **training: Any
    ) -> list[int]:
        settings = {
            **self.table["training"],
            "ema": 0.0,
            "steps": 5,
            "log_every": 5,
            "validate_every": 0,
            **training,
        }
        recipe = self.place / f"{method}{training.get('batch_size', 2)}.toml"
        changes = {"method": {"name": method, **GAMES[method]}, "training": settings}
        recipe.write_text(to_toml(self.table | changes | {"evaluation": {"metrics": ["MAE"], "floors": ["mean"]}}))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        processes = []
        for rank in range(count):
            told = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": port} if count > 1 else {}  # fmt: skip
            command = ["train", str(recipe), "--out", str(self.place / name), "--device", "cpu", *words]
            own = (
                command,
                {k: str(v) for k, v in told.items()},
                str(self.place / name),
                death if rank == 1 else -1,
            )
            processes.append(self.context.Process(target=_work, args=own))
            processes[-1].start()
        for process in processes:
            process.join(60)
            assert process.exitcode is not None, "a process hangs"
        return [int(process.exitcode or 0) for process in processes]

    def said(self, name: str, rank: int, what: str = "err") -> str:
        return (self.place / f"{name}.{rank}.{what}").read_text()

    def state(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.place / name / CHECKPOINT)

    def header(self, name: str) -> dict[str, str]:
        with safe_open(self.place / name / CHECKPOINT, framework="pt") as file:
            return dict(file.metadata())


@pytest.fixture
def crew(tmp_path: Path, table: dict[str, Any]) -> Crew:
    return Crew(tmp_path, table)


@pytest.mark.parametrize("method", GAMES)
def test_two_processes_are_one_with_the_double_batch(crew: Crew, method: str) -> None:
    assert crew("two", method, 2, batch_size=2) == [0, 0], crew.said("two", 1)
    assert crew("one", method, 1, batch_size=4) == [0]
    one, two = crew.state("one"), crew.state("two")
    networks = [name for name in one if name.startswith("method.") and "pool" not in name]
    moved = max(float((one[name] - one[name].mean()).abs().max()) for name in networks)
    for name in networks:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-5 * moved, msg=name)
    terms = [read_log(crew.place / name / "log.jsonl")[0]["terms"] for name in ("one", "two")]
    assert terms[0] == pytest.approx(terms[1], rel=1e-4, abs=1e-5)
    # Each process has a pool of its own; until one is full they hold together what the one pool holds.
    for pool in [name for name in one if "pool" in name]:
        shared = two[pool], two[pool.replace("method.", "process.1.")]
        together = torch.stack([half.unflatten(0, (-1, 2)) for half in shared], dim=1).flatten(0, 2)
        torch.testing.assert_close(together, one[pool], rtol=0, atol=1e-4)
    # Number 0 alone writes and speaks.
    assert [crew.said("two", 1, what) for what in ("changed", "out", "err")] == ["", "", ""]
    assert "2 processes, each with 2 samples of every batch" in crew.said("two", 0)
    assert method in crew.said("two", 0, "out")


def test_a_process_that_dies_ends_the_others_and_loses_nothing(crew: Crew) -> None:
    assert crew("whole", "cyclegan", 2, save_every=1) == [0, 0], crew.said("whole", 1)
    assert crew("cut", "cyclegan", 2, save_every=1, death=4) == [1, -signal.SIGKILL]
    assert "another process of this training ended" in crew.said("cut", 0)
    assert "Traceback" not in crew.said("cut", 0)
    assert 0 < json.loads(crew.header("cut")["progress"])["step"] < 5
    shutil.copytree(crew.place / "cut", crew.place / "alone")
    assert crew("cut", "cyclegan", 2, "--resume", save_every=1) == [0, 0], crew.said("cut", 1)
    whole, cut = crew.state("whole"), crew.state("cut")
    assert whole.keys() == cut.keys()
    assert any(name.startswith("process.1.") for name in whole)
    for name, value in whole.items():
        assert torch.equal(value, cut[name]), name
    assert crew("alone", "cyclegan", 1, "--resume", save_every=1) == [0], crew.said("alone", 0)
    assert "going on with 1 process(es) after 2: an update is made from 2 samples" in crew.said("alone", 0)
    assert not any(name.startswith("process.") for name in crew.state("alone"))


def test_divergence_is_told_once_and_every_process_ends(crew: Crew) -> None:
    optimizer = {"lr": 1e30, "schedule": "constant"}
    assert crew("run", "pix2pix", 2, optimizer=optimizer) == [1, 1]
    assert "does it again" in crew.said("run", 0)
    assert "the training diverged in process 0, whose message says where" in crew.said("run", 1)
    assert crew.said("run", 1, "changed") == ""


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_STEP_NUM_TASKS": "6", "SLURM_PROCID": "4", "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "gpu[07-09]",
    "SLURM_JOB_ID": "1234567",
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "rank"),
    [
        ({}, Rank()),
        (TORCHRUN, Rank(3, 4, 1, "a", 29500)),
        (TORCHRUN | SRUN, Rank(3, 4, 1, "a", 29500)),
        (TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}, Rank()),
        (SRUN, Rank(4, 6, 0, "gpu07", 19567)),
        (SRUN | {"MASTER_ADDR": "b", "MASTER_PORT": "5"}, Rank(4, 6, 0, "b", 5)),
        # A batch script of a job with many tasks, that does not call srun.
        ({"SLURM_NTASKS": "6", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}, Rank()),
    ],
)
def test_who_we_are_is_told_by_torchrun_or_srun(told: dict[str, str], rank: Rank) -> None:
    assert own_rank(told) == rank


def test_half_told_is_refused() -> None:
    with pytest.raises(RecipeError, match="'LOCAL_RANK' is missing"):
        own_rank({"RANK": "0", "WORLD_SIZE": "2"})
