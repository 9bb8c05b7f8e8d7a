"""Registry: the name of a method → its class. A module is the plug-in; there is no table to edit.

``pix2pix`` is the one method defined in ``transmodal.methods.pix2pix``; a dotted name, such as
``my_lab.methods.mine``, is the one defined in that module of somebody else's. Names are listed from the
folder, so this module is imported without torch.
"""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transmodal import methods, schema
from transmodal.data.limits import MOST_ARGUMENT, MOST_LAYERS, numbers, whole_numbers
from transmodal.errors import RecipeError, nearest

if TYPE_CHECKING:
    import transmodal.data.task
    import transmodal.methods._method

_PROTOCOL = ("facts", "players", "objectives", "translate")


def names() -> list[str]:
    """The methods that come with the package, in alphabetical order; imports none of them."""
    found = (module.name for module in pkgutil.iter_modules(methods.__path__))
    return sorted(name for name in found if not name.startswith("_"))


def get(name: str) -> type[Any]:
    """The method called ``name``, or the one in the module with that dotted name.

    Raises:
        RecipeError: there is no such method, or its module does not define exactly one.
    """
    if "." not in name and name not in names():
        hint = nearest(name, names())
        raise RecipeError(f"there is no method {name!r}{hint}; a module of your own is given by its dotted name")
    path = name if "." in name else f"{methods.__name__}.{name}"
    try:
        module = importlib.import_module(path)
    except ImportError as error:
        raise RecipeError(f"the method {name!r} cannot be imported: {error}") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and all(hasattr(value, part) for part in _PROTOCOL)
    ]
    if len(found) != 1:
        which = ", ".join(cls.__name__ for cls in found) or "none"
        raise RecipeError(f"{path} must define exactly one class with {', '.join(_PROTOCOL)}; it defines {which}")
    return found[0]


def arguments(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """The hyper-parameters of a method: its keyword-only arguments by name, with annotation and default."""
    return {k: p for k, p in schema.arguments(cls, skip=1).items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def build(
    name: str, task: "transmodal.data.task.Task", arguments: Mapping[str, Any]
) -> "transmodal.methods._method.Method":
    """A method for a task, with new weights.

    Args:
        name: see :func:`get`.
        task: what goes in and what comes out.
        arguments: hyper-parameters; those left out keep the default of the signature. Lists are taken for
            tuples and whole numbers for floats. All are finite, what is called ``…_weight`` is 0 or more,
            and a ``width`` or ``…_width`` 1 or more; a depth, or a number of blocks or layers, has a limit.

    Raises:
        RecipeError: the method cannot do the task, or a hyper-parameter is unknown or of another type or
            outside its range.
    """
    cls = get(name)
    cls.facts.check(name, task)
    for key, value in arguments.items():
        if any(abs(n) > MOST_ARGUMENT for n in whole_numbers(value)):
            raise RecipeError(f"{name}.{key} = {value}: at most {MOST_ARGUMENT} can be built")
        if not all(map(math.isfinite, numbers(value))):
            raise RecipeError(f"{name}.{key} = {value}: give a finite number")
        if key.endswith("_weight") and any(n < 0 for n in numbers(value)):
            raise RecipeError(f"{name}.{key} = {value}: a weight is 0 or more; 0 leaves its term out")
        if f"_{key}".endswith("_width") and any(n < 1 for n in numbers(value)):
            raise RecipeError(f"{name}.{key} = {value}: a layer has 1 channel or more")
        if f"_{key}".endswith(("_depth", "_blocks", "_layers")) and any(n > MOST_LAYERS for n in numbers(value)):
            raise RecipeError(f"{name}.{key} = {value}: at most {MOST_LAYERS} layers can be built")
    try:
        method: transmodal.methods._method.Method = schema.make(cls, arguments, name, task)
    except (ValueError, RuntimeError) as error:  # The second is torch's, of tensors that cannot be.
        raise RecipeError(f"{name} cannot be built: {str(error).partition(chr(10))[0]}") from error
    return method


def outline(
    name: str, task: "transmodal.data.task.Task", arguments: Mapping[str, Any]
) -> "transmodal.methods._method.Method":
    """What :func:`build` would give, without memory for weights: to ask it questions.

    Raises:
        RecipeError: as :func:`build`.
    """
    import torch

    with torch.device("meta"):
        return build(name, task, arguments)


def describe() -> list[dict[str, Any]]:
    """One entry for each method of the package, for ``transmodal list``; imports all of them."""
    keys = ("summary", "paper", "paired", "min_sources", "max_targets", "handles_missing", "needs_labels")
    facts = {name: vars(get(name))["facts"] for name in names()}
    return [{"name": name, **{key: getattr(facts[name], key) for key in keys}} for name in facts]


def show(
    name: str, task: "transmodal.data.task.Task", arguments: Mapping[str, Any], size: int | None = None
) -> dict[str, Any]:
    """What a method consists of, without giving memory to its weights.

    Args:
        name: see :func:`get`.
        task: what goes in and what comes out.
        arguments: hyper-parameters that are not left at their defaults.
        size: voxels along every spatial axis of the input whose cost is counted.

    Returns:
        ``players``: player → network → number of parameters. ``frozen``: submodule → number of parameters
        that no player trains. ``arguments``: name → value. With ``size`` also ``gmac``: 10⁹
        multiply-accumulates of one ``translate`` of one sample (convolutions and matrix products).

    Raises:
        RecipeError: as :func:`build`; or ``size`` does not suit the networks.
    """
    from torch import nn

    method = outline(name, task, arguments)
    cost = {} if size is None else {"gmac": gmac(name, method, task, (size,) * task.spatial)}
    assert isinstance(method, nn.Module)
    players = method.players()
    trained = {id(p) for networks in players.values() for net in networks.values() for p in net.parameters()}
    frozen = {
        child: sum(p.numel() for p in module.parameters() if id(p) not in trained)
        for child, module in method.named_children()
    }
    return {
        "players": {
            player: {network: sum(p.numel() for p in module.parameters()) for network, module in networks.items()}
            for player, networks in players.items()
        },
        "frozen": {child: count for child, count in frozen.items() if count},
        "arguments": _defaults(type(method)) | dict(arguments),
        **cost,
    }


def _defaults(cls: type[Any]) -> dict[str, Any]:
    return {key: parameter.default for key, parameter in arguments(cls).items()}


def gmac(
    name: str,
    method: "transmodal.methods._method.Method",
    task: "transmodal.data.task.Task",
    shape: Sequence[int],
) -> float:
    """10⁹ multiply-accumulates of one ``translate`` of one sample (convolutions and matrix products).

    Args:
        name: of the method.
        method: as :func:`outline` made it: nothing is computed.
        task: what it was built for.
        shape: voxels along each spatial axis of the sample.

    Raises:
        RecipeError: the networks cannot halve such a shape as often as they do.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from transmodal.data.batch import Batch

    if wrong := [size for size in shape if size < 1 or size % method.multiple]:
        raise RecipeError(f"size = {wrong[0]}: {name} takes sizes that are multiples of {method.multiple}")
    with torch.device("meta"):
        batch = Batch(
            source=torch.zeros(1, task.in_channels, *shape),
            present=torch.ones(1, len(task.sources), dtype=torch.bool),
            mask=torch.ones(1, 1, *shape, dtype=torch.bool),
            extent=torch.tensor([[[0.0, 1.0]] * 3]),
            axis=2 if task.spatial == 2 else None,
        )
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            method.translate(batch)
    # Torch counts a multiplication and the addition after it as two operations.
    return counter.get_total_flops() / 2 / 1e9
