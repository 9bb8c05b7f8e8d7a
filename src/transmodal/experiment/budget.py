"""Budget: the same minutes for every contender of a suite, as steps of each, so that schedules end in time."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transmodal import progress, registry
from transmodal.data.files import read_json, write_json
from transmodal.data.record import as_written, fields_of
from transmodal.machine import environment
from transmodal.recipe import Recipe
from transmodal.training.cost import measure

_ROUNDS, _TIMED = 3, 4
"""Contenders are timed in turns, so that a busy minute of the machine meets all; the quickest turn counts."""

_KINDS = {"minutes": float, "contenders": Mapping[str, Mapping[str, Any]]}
_CONTENDER = {"hash": str, "seconds_per_step": float, "steps": int}


def within_minutes(found: Mapping[str, Recipe], minutes: float, record: Path, device: str) -> dict[str, Recipe]:
    """Every contender with as many steps as fit into the minutes here.

    Steps are laid out once and kept in ``record``, so that a benchmark that goes on, or has a recipe added, keeps
    the budget that its finished runs had. Validation and log keep their share of a training.

    Args:
        found: label → recipe.
        minutes: of training, without judging; above 0.
        record: JSON: minutes, machine, and for each contender its recipe's hash, seconds of a step, and steps.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """
    known = _known(record, minutes)
    timed = {name: own for name, own in known["contenders"].items() if name in found}
    absent = {name: own for name, own in found.items() if timed.get(name, {}).get("hash") != own.hash}
    if absent:
        progress.say(f"timing a step of {', '.join(absent)}")
        seconds = _seconds_per_step(absent, device)
        for name, recipe in absent.items():
            steps = max(1, round(60 * minutes / seconds[name])) if seconds[name] else recipe.training.steps
            timed[name] = {"hash": recipe.hash, "seconds_per_step": seconds[name], "steps": steps}
        write_json(record, {"minutes": minutes, "machine": environment(), "contenders": timed})
    return {name: _with_steps(recipe, timed[name]["steps"]) for name, recipe in found.items()}


def _known(record: Path, minutes: float) -> dict[str, Any]:
    if not record.exists():
        return {"contenders": {}}
    with as_written(record, "remove it, and steps are timed again"):
        known = fields_of(read_json(record), _KINDS, "budget")
        for label, own in known["contenders"].items():
            if fields_of(own, _CONTENDER, f"budget.contenders.{label}")["steps"] < 1:
                raise ValueError(f"{label} has {own['steps']} steps")
    return known if known["minutes"] == minutes else {"contenders": {}}


def _seconds_per_step(found: Mapping[str, Recipe], device: str) -> dict[str, float]:
    best: dict[str, float] = {}
    for _ in range(_ROUNDS):
        for name, recipe in found.items():
            method = registry.build(recipe.method, recipe.task, recipe.arguments)
            taken = measure(method, recipe.task, recipe.training, device, timed=_TIMED).seconds
            best[name] = min(taken, best.get(name, taken))
    return best


def _with_steps(recipe: Recipe, steps: int) -> Recipe:
    settings = recipe.training
    share = steps / settings.steps
    validate = settings.validate_every and max(1, round(settings.validate_every * share))
    log = max(1, round(settings.log_every * share))
    training = replace(settings, steps=steps, minutes=0.0, validate_every=validate, log_every=log)
    return replace(recipe, training=training)
