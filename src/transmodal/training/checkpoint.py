"""Checkpoint: everything that a training needs to go on as if it had never stopped, in one safetensors file.

One file, replaced by one rename, so that a kill at any instant leaves the old one or the new one. The header
holds a small JSON: format, step, recipe hash, best score so far, seconds. Never a pickle.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from transmodal.data.files import write_bytes
from transmodal.errors import InputError
from transmodal.nn.pretrained import origins
from transmodal.training.ema import Average

FORMAT = "transmodal-checkpoint-1"


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        step: updates made.
        seconds: wall-clock time spent training, over all sittings.
        best: best validation score so far, or None.
        best_step: the step it was reached at.
        logged: the step of the last line of loss terms in the log.
    """

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    logged: int = 0


def save_checkpoint(
    path: Path,
    method: nn.Module,
    optimizers: Mapping[str, Optimizer],
    average: Average | None,
    sums: Mapping[str, Tensor],
    progress: Progress,
    recipe_hash: str,
) -> None:
    """Write the checkpoint, whole or not at all; ``sums`` are the loss terms that wait for the next log line."""
    tensors = {f"method.{k}": v for k, v in method.state_dict().items()}
    for player, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{player}.{index}.{key}": torch.as_tensor(v) for key, v in state.items()}
    if average is not None:
        tensors |= {f"ema.{name}": value for name, value in average.values.items()}
    tensors |= {f"sum.{name}": value for name, value in sums.items()}
    about = {"format": FORMAT, "recipe": recipe_hash, "progress": json.dumps(asdict(progress))}
    about["pretrained"] = json.dumps(origins(method))
    # Networks may share or stride memory (channels_last); safetensors wants plain, separate tensors.
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    write_bytes(path, save(plain, metadata=about))


def load_checkpoint(
    path: Path,
    method: nn.Module,
    optimizers: Mapping[str, Optimizer],
    average: Average | None,
    recipe_hash: str,
) -> tuple[Progress, dict[str, Tensor]]:
    """Put a checkpoint back into networks, optimisers and average.

    Returns:
        How far the training was, and the sums given to :func:`save_checkpoint`.

    Raises:
        InputError: no checkpoint, a damaged or foreign file, or one of another recipe.
    """
    tensors, about = _read(path)
    if about.get("format") != FORMAT:
        raise InputError(f"{path}: is not a Transmodal checkpoint (format {about.get('format')!r})")
    if about["recipe"] != recipe_hash:
        raise InputError(
            f"{path}: was made by another recipe; resume with the recipe and the words the run was started with"
        )
    method.load_state_dict(_under(tensors, "method."))
    for player, optimizer in optimizers.items():
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, f"optimizer.{player}.").items():
            index, _, name = key.partition(".")
            states.setdefault(int(index), {})[name] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": states, "param_groups": groups})
    if average is not None:
        for name, value in _under(tensors, "ema.").items():
            average.values[name].copy_(value)
    return Progress(**json.loads(about["progress"])), _under(tensors, "sum.")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.exists():
        raise InputError(f"{path}: there is no checkpoint to resume from; start without --resume")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as problem:
        raise InputError(f"{path}: is damaged ({problem}); start anew, or restore the file") from problem


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
