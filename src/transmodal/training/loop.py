"""fit(): the one training loop, for any number of networks.

It owns what no paper is about: precision, accumulation, clipping, averaging, schedules, validation,
checkpoints, the log, and the stop. What a step *is* belongs to the method (see :mod:`.turns`).
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from transmodal import progress
from transmodal.data.batch import Batch
from transmodal.errors import Diverged
from transmodal.interrupts import interrupts
from transmodal.methods._method import Method, Watched
from transmodal.nn.convnd import use_channels_last
from transmodal.training.checkpoint import Progress, has_checkpoint, load_checkpoint, save_checkpoint
from transmodal.training.divergence import dump
from transmodal.training.ema import Average
from transmodal.training.monitor import Monitor
from transmodal.training.optim import optimizer, set_rate
from transmodal.training.ranks import Rank, agree, gather_buffers, joined
from transmodal.training.seed import seed_step
from transmodal.training.settings import TrainingSettings
from transmodal.training.turns import play, trained_parameters
from transmodal.training.watch import Watch

CHECKPOINT = "last/checkpoint.safetensors"
_STOPPING = "stopping after this step; --resume goes on from there"

Validate = Callable[[int, Monitor], Mapping[str, float]]
"""Scores of the networks as they are now, by metric, at a step; may leave pictures with the monitor."""

Keep = Callable[[int], None]
"""Writes the networks as they are now as the Model of the run."""


def make_fabric(settings: TrainingSettings, device: str = "auto", rank: Rank | None = None) -> Fabric:
    """Fabric for this process alone, or with those beside it where ``rank`` says that there are some.

    Args:
        settings: with the precision.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        rank: of this process; see :mod:`.ranks`.
    """
    torch.use_deterministic_algorithms(settings.deterministic)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    precision: Literal["bf16-mixed", "32-true"]
    precision = "bf16-mixed" if settings.resolved_precision == "bf16" else "32-true"
    if rank is not None and rank.world > 1:
        return joined(rank, device, precision)
    # Named, or Fabric would look for a cluster in the environment.
    alone = LightningEnvironment()
    fabric = Fabric(accelerator=device, devices=1, precision=precision, plugins=alone)
    fabric.launch()
    return fabric


def fit(
    method: Method,
    batch: Callable[[int], Batch],
    settings: TrainingSettings,
    fabric: Fabric,
    folder: Path,
    *,
    recipe_hash: str,
    higher_is_better: bool,
    validate: Validate,
    keep: Keep,
    resume: bool = False,
) -> Progress:
    """Train ``method`` until ``settings`` say stop.

    Args:
        method: an ``nn.Module`` that keeps the protocol; trained in place.
        batch: number of a micro-batch → the batch of this process, a pure function (see
            :class:`transmodal.data.loader.Loader`).
        settings: the ``[training]`` table.
        fabric: device, precision and processes, of which number 0 alone validates and writes.
        folder: the run's folder: ``log.jsonl``, ``last/``.
        recipe_hash: written into checkpoints; a checkpoint of another recipe is refused.
        higher_is_better: of the score called ``settings.monitor``.
        validate: called with averaged weights in place; its scores decide what is best.
        keep: called, with the same weights in place, whenever they are the best so far.
        resume: go on from ``last/`` in ``folder``, if there is a checkpoint.

    Returns:
        How far it came.

    Raises:
        Diverged: a loss or a gradient is NaN or infinite; ``diverged/`` in ``folder`` reproduces it.
        KeyboardInterrupt: after Ctrl-C, once the step is finished and a checkpoint is written.
    """
    assert isinstance(method, nn.Module)
    method.to(fabric.device)
    use_channels_last(method)
    parameters = trained_parameters(method.players())
    own = {player: settings.optimizer_of(player) for player in parameters}
    optimizers = {player: optimizer(named, own[player]) for player, named in parameters.items()}
    everything = {name: p for named in parameters.values() for name, p in named.items()}
    average = Average(everything, settings.ema) if settings.ema else None
    done, sums = Progress(), dict[str, Tensor]()
    if resume and has_checkpoint(folder / CHECKPOINT):
        rank = fabric.global_rank
        done, sums = load_checkpoint(folder / CHECKPOINT, method, optimizers, average, recipe_hash, rank)
        sums = {name: value.to(fabric.device) for name, value in sums.items()}
        if done.processes != fabric.world_size:
            progress.say(_other_batch(done.processes, fabric.world_size, settings))
    elif resume:
        progress.say("no checkpoint was left: training starts at its first step")
    done = replace(done, processes=fabric.world_size)
    if settings.minutes and done.seconds >= 60 * settings.minutes:
        # Its last step was made and judged before it was stopped.
        return done
    limits = {player: s.clip for player, s in own.items()}
    clock, warned, watch = time.monotonic() - done.seconds, set[str](), Watch()

    record: AbstractContextManager[Monitor | None] = (
        Monitor(folder, done.step) if fabric.is_global_zero else nullcontext()
    )
    with record as monitor, interrupts(_STOPPING) as asked_to_stop:
        steps = range(done.step, settings.steps)
        for step, batches in progress.track(
            _prefetch(batch, steps, settings.accumulate), "training", settings.steps, done.step
        ):
            seed_step(settings.seed, step, fabric.global_rank)
            rates = {player: set_rate(o, own[player], step, settings.steps) for player, o in optimizers.items()}
            method.train()
            here = [_on_device(b, fabric.device, step) for b in batches]
            try:
                terms = play(method, here, optimizers, parameters, limits, fabric)
            except Diverged as error:
                raise _dumped(error, folder, method, here, settings, fabric) from error
            if average is not None:
                average.update(step)
            if isinstance(method, Watched):
                terms |= {f"readings/{name}": value for name, value in method.readings().items()}
            count = step + 1
            seconds = time.monotonic() - clock
            # Number 0 has the clock; a signal may reach any process.
            late = bool(settings.minutes) and fabric.is_global_zero and seconds >= 60 * settings.minutes
            terms, (stop, out_of_time) = agree(terms, (asked_to_stop(), late), fabric)
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
            last = count == settings.steps or out_of_time
            validated = last or bool(settings.validate_every and count % settings.validate_every == 0)
            if count % settings.log_every == 0 or last:
                if monitor is not None:
                    means = {name: (value / (count - done.logged)).item() for name, value in sums.items()}
                    samples = settings.batch_size * settings.accumulate * fabric.world_size
                    monitor.terms(count, seconds, means, rates, samples)
                    said = watch.look(means) + (_alarms(method, means) if isinstance(method, Watched) else [])
                    _warn(said, warned)
                    progress.event("terms", step=count, **means)
                    progress.note("  ".join(f"{name} {value:.3g}" for name, value in list(means.items())[:3]))
                sums, done = {}, replace(done, logged=count)
            done = replace(done, step=count, seconds=seconds)
            if validated:
                if monitor is not None:
                    done = _judge(method, average, settings, monitor, done, higher_is_better, validate, keep)
                # Validation is not training: its time does not count against ``minutes``.
                clock = time.monotonic() - done.seconds
                _, (stop,) = agree({}, (stop or asked_to_stop(),), fabric)
            if validated or stop or (settings.save_every and count % settings.save_every == 0):
                others = gather_buffers(method, fabric)
                if fabric.is_global_zero:
                    save_checkpoint(
                        folder / CHECKPOINT, method, optimizers, average, sums, done, recipe_hash, others
                    )
            if stop and not last:
                raise KeyboardInterrupt
            if last:
                break
    return done


def _other_batch(before: int, now: int, settings: TrainingSettings) -> str:
    samples = settings.batch_size * settings.accumulate
    return (
        f"going on with {now} process(es) after {before}: an update is made from {now * samples} samples, no "
        f"longer from {before * samples}; the training goes on, but not as it would have"
    )


def _alarms(method: Watched, means: Mapping[str, float]) -> list[str]:
    """What the method's readings since the last line of the log say is wrong."""
    return method.alarms(
        {name.removeprefix("readings/"): v for name, v in means.items() if name.startswith("readings/")}
    )


def _warn(sentences: Sequence[str], warned: set[str]) -> None:
    """Each sentence is said once."""
    for sentence in sentences:
        if sentence not in warned:
            progress.warn(sentence)
            warned.add(sentence)


def _dumped(
    error: Diverged,
    folder: Path,
    method: Method,
    batches: Sequence[Batch],
    settings: TrainingSettings,
    fabric: Fabric,
) -> Diverged:
    """The same error, which says where it can be reproduced from."""
    there = dump(
        folder, error, method, batches[error.turn.micro],
        seed=settings.seed, rank=fabric.global_rank, precision=settings.resolved_precision,
    )  # fmt: skip
    return Diverged(f"{error}. It is kept in {there}; `transmodal replay {folder}` does it again", error.turn)


def _judge(
    method: Method,
    average: Average | None,
    settings: TrainingSettings,
    monitor: Monitor,
    done: Progress,
    higher_is_better: bool,
    validate: Validate,
    keep: Keep,
) -> Progress:
    """Validate the weights that would be shipped, and keep them if they are the best so far."""
    assert isinstance(method, nn.Module)
    method.eval()
    with average.in_place() if average is not None else nullcontext():
        scores = validate(done.step, monitor)
        monitor.validation(done.step, done.seconds, scores)
        progress.event("validation", step=done.step, **scores)
        score, sign = scores[settings.monitor], 1 if higher_is_better else -1
        better = done.best is None or sign * score > sign * done.best
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        progress.say(f"step {done.step}: {shown}{' (best so far)' if better else ''}")
        if not better:
            return done
        keep(done.step)
        return replace(done, best=score, best_step=done.step)


def _prefetch(batch: Callable[[int], Batch], steps: range, accumulate: int) -> Iterator[tuple[int, list[Batch]]]:
    """The micro-batches of each step, read by one thread while the networks work on the step before.

    A thread, not worker processes: prepared cases are memory-mapped, so there is nothing to decode, and there
    are no workers that can die. Order and content depend on the step alone.
    """

    def read(step: int) -> list[Batch]:
        return [batch(step * accumulate + k) for k in range(accumulate)]

    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        ahead = [reader.submit(read, step) for step in steps[:2]]
        try:
            for step in steps:
                ready = ahead.pop(0).result()
                if step + 2 < steps.stop:
                    ahead.append(reader.submit(read, step + 2))
                yield step, ready
        finally:
            for waiting in ahead:
                waiting.cancel()


def _on_device(batch: Batch, device: torch.device, step: int) -> Batch:
    return replace(batch.to(device), step=step)
