"""The weights of a Model, from a method into bytes of safetensors and back: the part that needs torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from transmodal import registry
from transmodal.data.limits import MOST_ARGUMENT, MOST_PARAMETERS, MOST_TENSORS, whole_numbers
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
    check_networks(facts, task, path)
    method = registry.build(facts["method"], task, facts["arguments"])
    _fill(method, content, path)
    assert isinstance(method, nn.Module)
    load_as_before(_read_again(method), facts["about"].get("pretrained", []))
    method.requires_grad_(False).eval().to(device)
    use_channels_last(method)
    return method


def check_networks(facts: Mapping[str, Any], task: Task, path: Path) -> None:
    """Refuse networks larger than any model's, before memory is given for them.

    Raises:
        InputError: naming the arguments.
    """
    large = [n for n in whole_numbers(facts["arguments"]) if abs(n) > MOST_ARGUMENT]
    if large:
        raise InputError(f"{path.parent}/model.json: arguments hold {large[0]:g}; no model of Transmodal's does")
    tensors = parameters = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, parameters
        numbers = None if parameter is None else parameter.numel()
        if numbers == 0:
            raise InputError(
                f"{path.parent}/model.json: arguments = {facts['arguments']!r:.200} make empty layers"
            )
        tensors, parameters = tensors + 1, parameters + (numbers or 0)
        if tensors > MOST_TENSORS or parameters > MOST_PARAMETERS:
            raise InputError(
                f"{path.parent}/model.json: arguments = {facts['arguments']!r:.200} make networks of more than "
                f"{MOST_PARAMETERS:.2g} numbers or {MOST_TENSORS} tensors; no model of Transmodal's is so large"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        registry.outline(facts["method"], task, facts["arguments"])
    except RuntimeError as problem:
        raise InputError(f"{path.parent}/model.json: its networks cannot be built ({problem})") from problem
    finally:
        hook.remove()


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
