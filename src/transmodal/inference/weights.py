"""The weights of a Model, from a method into bytes of safetensors and back: the part that needs torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from transmodal import registry
from transmodal.data.task import Task
from transmodal.errors import InputError
from transmodal.methods._method import Method
from transmodal.nn.convnd import use_channels_last
from transmodal.nn.pretrained import Pretrained, frozen_networks, load_as_before


def packed(method: Method, form: str) -> bytes:
    """What translating needs of the weights, as safetensors; ``form`` is the format's name in its header."""
    return save(_translating_state(method), metadata={"format": form})


def unpacked(
    facts: Mapping[str, Any], task: Task, content: bytes, path: Path, device: str | torch.device
) -> Method:
    """The method that ``model.json`` describes, with its weights, ready to translate.

    Args:
        facts: what ``model.json`` holds.
        task: what the method is built for.
        content: of the weights' file.
        path: of that file, for messages.
        device: where the networks go.

    Raises:
        InputError: not safetensors, or weights that do not fit the networks.
    """
    method = registry.build(facts["method"], task, facts["arguments"])
    _fill(method, content, path)
    assert isinstance(method, nn.Module)
    load_as_before(_read_again(method), facts["about"].get("pretrained", []))
    method.requires_grad_(False).eval().to(device)
    use_channels_last(method)
    return method


def _translating_state(method: Method) -> dict[str, Tensor]:
    assert isinstance(method, nn.Module)
    unneeded = tuple(f"{name}." for name in method.training_only)
    state = {k: v for k, v in method.state_dict().items() if not k.startswith(unneeded)}
    return {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}


def _fill(method: Method, content: bytes, path: Path) -> None:
    assert isinstance(method, nn.Module)
    try:
        state = load(content)
    except SafetensorError as problem:
        raise InputError(f"{path}: is not a safetensors file ({problem}); copy the model again") from problem
    unneeded = tuple(f"{name}." for name in method.training_only)
    try:
        missing, unexpected = method.load_state_dict(state, strict=False)
    except RuntimeError as problem:
        raise InputError(f"{path}: does not fit the networks in model.json ({problem})") from problem
    missing = [name for name in missing if not name.startswith(unneeded)]
    if missing or unexpected:
        raise InputError(
            f"{path}: does not fit model.json (missing {missing[:3]}, unexpected {unexpected[:3]}); "
            "use the version of Transmodal that model.json names"
        )


def _read_again(method: nn.Module) -> list[Pretrained]:
    """Networks of others that translating needs and whose weights are not in the Model."""
    assert isinstance(method, Method)
    needed = [module for name, module in method.named_children() if name not in method.training_only]
    return [n for part in needed for n in frozen_networks(part) if isinstance(n, nn.Module) and not n.state_dict()]
