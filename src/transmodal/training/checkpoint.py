"""Checkpoint: everything that a training needs to go on as if it had never stopped, in one safetensors file.

One file, replaced by a rename, so that a kill at any instant leaves the old one or the new one. The header holds
a small JSON: format, step, recipe hash, best score so far, seconds, and a digest of all that the file says. The
checkpoint before the last one is kept: where the last one is damaged, training goes on from that. Never a pickle.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from transmodal.data.files import write_bytes
from transmodal.data.limits import check_plain
from transmodal.errors import InputError
from transmodal.nn.pretrained import check_as_before, frozen_networks, origins
from transmodal.nn.tensor_file import state_digest
from transmodal.progress import warn
from transmodal.training.ema import Average

FORMAT = "transmodal-checkpoint-2"
_WITHOUT_DIGEST = "transmodal-checkpoint-1"
PREVIOUS, _NEXT = "previous.safetensors", "next.safetensors"
"""Beside the checkpoint: the one before it; and, for an instant, the one that takes its place."""


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        step: updates made.
        seconds: wall-clock time spent training, over all sittings.
        best: best validation score so far, or None.
        best_step: the step it was reached at.
        logged: the step of the last line of loss terms in the log.
        processes: that made the updates together.
    """

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    logged: int = 0
    processes: int = 1


def save_checkpoint(
    path: Path,
    method: nn.Module,
    optimizers: Mapping[str, Optimizer],
    average: Average | None,
    sums: Mapping[str, Tensor],
    progress: Progress,
    recipe_hash: str,
    others: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the checkpoint, whole or not at all, and keep the one before it.

    ``sums`` are the loss terms that wait for the next log line; ``others`` what further processes hold that this
    one does not (:func:`~.ranks.gather_buffers`).

    Raises:
        InputError: no permission, or the disk is full; both earlier checkpoints are as they were.
    """
    tensors = {f"method.{k}": v for k, v in method.state_dict().items()}
    for player, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{player}.{index}.{key}": torch.as_tensor(v) for key, v in state.items()}
    if average is not None:
        tensors |= {f"ema.{name}": value for name, value in average.values.items()}
    tensors |= {f"sum.{name}": value for name, value in sums.items()}
    tensors |= {f"process.{name}": value for name, value in (others or {}).items()}
    about = {"format": FORMAT, "recipe": recipe_hash, "progress": json.dumps(asdict(progress))}
    about["pretrained"] = json.dumps(origins(method))
    # Networks may share or stride memory (channels_last); safetensors wants plain, separate tensors.
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    about["sha256"] = _digest(plain, about)
    fresh = path.with_name(_NEXT)
    write_bytes(fresh, save(plain, metadata=about))
    if path.exists():
        os.replace(path, path.with_name(PREVIOUS))
    os.replace(fresh, path)


def has_checkpoint(path: Path) -> bool:
    """Whether there is something to resume from: a checkpoint, or the one before it."""
    return path.exists() or path.with_name(PREVIOUS).exists()


def load_checkpoint(
    path: Path,
    method: nn.Module,
    optimizers: Mapping[str, Optimizer],
    average: Average | None,
    recipe_hash: str,
    rank: int = 0,
) -> tuple[Progress, dict[str, Tensor]]:
    """Put a checkpoint back into networks, optimisers and average.

    Process ``rank`` gets what it held itself; where there were fewer, the first of them lend theirs once more.

    Returns:
        How far the training was, and the sums given to :func:`save_checkpoint`.

    Raises:
        InputError: no checkpoint, a damaged file and none before it, a foreign file, one of another recipe,
            or other weights in a frozen network than it was trained with.
    """
    tensors, about = _sound(path)
    if about.get("format") not in (FORMAT, _WITHOUT_DIGEST):
        raise InputError(f"{path}: is not a Transmodal checkpoint (format {about.get('format')!r})")
    if about.get("recipe") != recipe_hash:
        raise InputError(
            f"{path}: was made by another recipe; resume with the recipe and the words the run was started with"
        )
    try:
        check_as_before(frozen_networks(method), json.loads(about.get("pretrained", "[]")))
    except InputError as problem:
        raise InputError(f"{path}: {problem}") from problem
    try:
        return _restore(tensors, about, method, optimizers, average, rank)
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise InputError(
            f"{path}: does not fit the networks of this recipe ({reason}); resume with the version it was made by"
        ) from problem


def _restore(
    tensors: Mapping[str, Tensor],
    about: Mapping[str, str],
    method: nn.Module,
    optimizers: Mapping[str, Optimizer],
    average: Average | None,
    rank: int,
) -> tuple[Progress, dict[str, Tensor]]:
    done = Progress(**json.loads(about["progress"]))
    own = _under(tensors, f"process.{rank % done.processes}.")
    method.load_state_dict(_under(tensors, "method.") | own)
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
    return done, _under(tensors, "sum.")


def _sound(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What the checkpoint says; where it is missing or damaged, the one before it, with a warning."""
    before = path.with_name(PREVIOUS)
    if not path.exists() and not before.exists():
        raise InputError(f"{path}: there is no checkpoint to resume from; start without --resume")
    try:
        return _read(path)
    except InputError as problem:
        if not before.exists():
            raise
        found = _read(before)
        warn(f"{problem}: going on from the checkpoint before it")
        return found


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        check_plain(path)
        with safe_open(path, framework="pt") as file:
            about = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as problem:
        raise InputError(f"{path}: is damaged ({problem}); start anew, or restore the file") from problem
    stated = about.pop("sha256", None)
    # A file with a digest is held against it before anything that it says is believed, its format included.
    if (stated is not None or about.get("format") == FORMAT) and stated != _digest(tensors, about):
        raise InputError(f"{path}: is damaged (it is not what its sha256 says); start anew, or restore the file")
    return tensors, about


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Of all that a checkpoint says: its tensors, and the rest of its header."""
    return state_digest(tensors, json.dumps(dict(about), sort_keys=True))


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
