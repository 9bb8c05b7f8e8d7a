"""Numbers stay numbers: a loss or gradient that is not finite stops the training and leaves what reproduces it.

``RUN/diverged/`` then holds the method's weights and buffers as they were at that moment, the micro-batch, and
what was being done, as safetensors and JSON. :func:`again` does it again; ``transmodal replay RUN`` calls it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.data.files import new_folder, read_json, write_bytes, write_json
from transmodal.errors import Diverged, InputError
from transmodal.methods._method import Method
from transmodal.training.seed import seed_step

FOLDER = "diverged"
_ADVICE = "lower training.optimizer.lr, set training.optimizer.clip = 1.0, or use training.precision = fp32"


@dataclass(frozen=True)
class Turn:
    """Where in a training something happened.

    Attributes:
        player: whose turn it was.
        number: of the turn within the step, from 0.
        micro: number of the micro-batch within the step, from 0.
    """

    player: str
    number: int
    micro: int


def check_terms(turn: Turn, batch: Batch, terms: Mapping[str, Tensor]) -> None:
    """Stop at a term that is NaN or infinite.

    Raises:
        Diverged: names player, term, step and cases.
    """
    bad = [name for name, value in terms.items() if not torch.isfinite(value)]
    if not bad:
        return
    values = ", ".join(f"{name} = {value.item():.4g}" for name, value in terms.items())
    raise Diverged(
        f"the loss of player {turn.player!r} became NaN or infinite at step {batch.step} in its term {bad[0]!r} "
        f"({values}), on {_spelt(batch.cases)}; {_ADVICE}",
        turn,
    )


def check_gradients(turn: Turn, batch: Batch, own: Mapping[str, nn.Parameter]) -> Tensor:
    """The norm of a player's gradients, which must be finite.

    Raises:
        Diverged: names player, parameter, step and cases.
    """
    norm = gradient_norm(own)
    if torch.isfinite(norm):
        return norm
    given = {name: p.grad for name, p in own.items() if p.grad is not None}
    bad = next((name for name, gradient in given.items() if not torch.isfinite(gradient).all()), "their sum")
    raise Diverged(
        f"the loss of player {turn.player!r} is finite at step {batch.step}, but its gradient is not, first in "
        f"{bad}, on {_spelt(batch.cases)}; {_ADVICE}",
        turn,
    )


def gradient_norm(own: Mapping[str, nn.Parameter]) -> Tensor:
    """The norm of all gradients of a player together."""
    return torch.nn.utils.get_total_norm([p.grad for p in own.values() if p.grad is not None])


def _spelt(cases: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(cases)) or "samples without a name"


def dump(
    folder: Path, error: Diverged, method: Method, batch: Batch, *, seed: int, rank: int, precision: str
) -> Path:
    """Write what reproduces ``error`` into ``folder/diverged``, whole or not at all.

    Args:
        folder: of the run.
        error: what stopped it.
        method: with the weights and buffers of that moment.
        batch: the micro-batch.
        seed: of the training.
        rank: of this process.
        precision: that the loop computed in, as Fabric calls it.
    """
    assert isinstance(method, nn.Module)
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    tensors = {f"batch.{name}": value for name, value in values.items() if isinstance(value, Tensor)}
    tensors |= {f"method.{name}": value for name, value in method.state_dict().items()}
    turn: Turn = error.turn
    with new_folder(folder / FOLDER) as fresh:
        stored = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        write_bytes(fresh / "state.safetensors", save(stored))
        write_json(fresh / "turn.json", {
            "message": str(error), "player": turn.player, "turn": turn.number, "micro_batch": turn.micro,
            "seed": seed, "rank": rank, "precision": precision,
            "batch": {name: value for name, value in values.items() if not isinstance(value, Tensor)},
        })  # fmt: skip
    return folder / FOLDER


def again(folder: Path, method: Method, fabric: Fabric) -> dict[str, float]:
    """The terms, and the norm of the gradient, of the turn that was dumped; not all of them are finite.

    Args:
        folder: ``RUN/diverged``.
        method: built as the run's; its weights are replaced.
        fabric: device and precision.

    Returns:
        Term → value, and ``gradient``.

    Raises:
        InputError: no dump there, or one of another method.
    """
    assert isinstance(method, nn.Module)
    facts = read_json(folder / "turn.json")
    try:
        stored = load_file(folder / "state.safetensors")
    except (OSError, SafetensorError) as problem:
        raise InputError(
            f"{folder}/state.safetensors: cannot be read ({problem}); the dump is damaged"
        ) from problem
    state = {name.removeprefix("method."): value for name, value in stored.items() if name.startswith("method.")}
    try:
        method.load_state_dict(state)
    except RuntimeError as problem:
        raise InputError(f"{folder}: does not fit the method of this run ({problem})") from problem
    method.to(fabric.device).train()
    batch = _batch(facts["batch"], stored).to(fabric.device)
    seed_step(facts["seed"], batch.step, facts["rank"])
    game = method.objectives(batch)
    for _ in range(facts["turn"] + 1):
        with fabric.autocast():
            player, terms = next(game)
    parameters = [p for network in method.players()[player].values() for p in network.parameters()]
    total = torch.stack(list(terms.values())).sum()
    gradients = torch.autograd.grad(total, [p for p in parameters if p.requires_grad], allow_unused=True)
    norm = torch.nn.utils.get_total_norm([g for g in gradients if g is not None])
    return {**{name: value.item() for name, value in terms.items()}, "gradient": norm.item()}


def _batch(facts: Mapping[str, Any], stored: Mapping[str, Tensor]) -> Batch:
    tensors: dict[str, Any] = {
        name.removeprefix("batch."): value for name, value in stored.items() if name.startswith("batch.")
    }
    known = {f.name for f in fields(Batch)}
    given = {name: value for name, value in facts.items() if name in known and name not in tensors}
    return Batch(**tensors, **{**given, "cases": tuple(facts["cases"])})
