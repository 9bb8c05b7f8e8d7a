"""Pricing: a run's method, its log and its recipe → what it cost."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from transmodal import registry
from transmodal.errors import RecipeError
from transmodal.experiment.run import Run
from transmodal.machine import spoken
from transmodal.methods._method import Method
from transmodal.reporting.price import Price
from transmodal.training.monitor import read_log


def price(run: Run, method: Method, training_bytes: int, device: torch.device) -> Price:
    """The price of a trained method, without the time of a volume, which judging finds.

    Args:
        run: with its log.
        method: as trained.
        training_bytes: peak memory of its training.
        device: that it was trained on.
    """
    assert isinstance(method, nn.Module)
    recipe = run.recipe
    unneeded = tuple(f"{name}." for name in method.training_only)
    lines = [line for line in read_log(run.folder / "log.jsonl") if "terms" in line]
    last: Mapping[str, Any] = lines[-1] if lines else {}
    return Price(
        parameters=sum(p.numel() for name, p in method.named_parameters() if not name.startswith(unneeded)),
        gmac=_gmac(run),
        sample=recipe.task.size,
        steps=int(last.get("step", 0)),
        training_seconds=float(last.get("seconds", 0.0)),
        training_bytes=training_bytes,
        machine=spoken(device),
    )


def _gmac(run: Run) -> float | None:
    recipe = run.recipe
    try:
        outline = registry.outline(recipe.method, recipe.task, recipe.arguments)
        return registry.gmac(recipe.method, outline, recipe.task, recipe.task.size)
    except (RecipeError, NotImplementedError, RuntimeError):
        # A network of somebody else's may need real weights; its scores count all the same.
        return None
