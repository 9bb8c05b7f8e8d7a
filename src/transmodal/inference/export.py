"""export(): a model for programs without PyTorch, compared with itself before it is handed over."""

import hashlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from transmodal import progress
from transmodal.data.files import check_folder, clear_leftovers, new_folder, part, write_bytes, write_json
from transmodal.data.intensity import IntensityFit, spec_for
from transmodal.data.modality import modality
from transmodal.data.tile import PLANES
from transmodal.data.volume import read_volume
from transmodal.errors import Refused, TransmodalError
from transmodal.inference.files import assign
from transmodal.inference.graph import Written, write_graph
from transmodal.inference.model import WEIGHTS, Model, load_model, read_facts
from transmodal.inference.onnx_engine import GRAPH, Graph, OnnxMethod
from transmodal.inference.predict import Scan, Translation, predict, tile_size
from transmodal.inference.synthesize import synthesize_volumes
from transmodal.schema import plain
from transmodal.shapes import Mask, Voxels

ALLOWED = 1e-3
"""Largest difference between graph and networks, as a share of the target's range."""

Answers = Mapping[str, Voxels]


def export(
    model: Path | str, out: Path | None = None, images: Sequence[str] = (), *, force: bool = False
) -> Graph:
    """Write a model as a graph for ONNX Runtime.

    Before anything takes its place, whole volumes are made by both and compared: a made-up one, one without its
    first source where the method handles that, and the scans that are given.

    Args:
        model: its folder, with weights.
        out: a folder of its own, without weights; None to put the graph beside the weights.
        images: scans of one case, as :func:`transmodal.inference.files.synthesize_paths` takes them.
        force: replace ``out``.

    Raises:
        TransmodalError: the method cannot be exported, or the graph answers otherwise.
        Refused: ``out`` exists.
    """
    folder, facts = read_facts(model)
    if out is not None:
        check_folder(out)
        if out.exists() and not force:
            raise Refused(f"{out}: exists already; add --force to replace it, or choose another --out")
        check_replaceable(out, folder)
    loaded = load_model(folder, "cpu", "torch")
    axes = [axis for axis in loaded.sampling.axes if axis is not None]
    shape = tile_size(loaded.sampling, loaded.method.multiple, axes[0] if axes else None)
    tile = tuple(n for along, n in enumerate(shape) if along not in axes[:1])
    progress.say(f"writing {loaded.name} as a graph; this takes a minute or two")
    written = write_graph(loaded.method, loaded.task, axes[0] if axes else None, tile)
    if out is None:
        return _beside(loaded, folder, facts, written, tuple(axes[:1]), images)
    with new_folder(out) as fresh:
        for file in folder.iterdir():
            if file.is_file() and file.name not in (GRAPH, "model.json", WEIGHTS):
                shutil.copy2(file, fresh / file.name)
        write_bytes(fresh / GRAPH, written.content)
        graph = _checked(loaded, fresh / GRAPH, written, tuple(axes[:1]), images)
        write_json(fresh / "model.json", facts | {"onnx": plain(graph)})
    return graph


def _beside(
    model: Model,
    folder: Path,
    facts: dict[str, Any],
    written: Written,
    axes: tuple[int, ...],
    images: Sequence[str],
) -> Graph:
    """Put a graph beside the weights; nothing else in the folder changes, and a kill leaves a model that works."""
    place, record = (folder / GRAPH).resolve(), (folder / "model.json").resolve()
    clear_leftovers(place.parent)
    draft = part(place)
    try:
        write_bytes(draft, written.content)
        graph = _checked(model, draft, written, axes, images)
        # Until the end the model has no graph, rather than one of another digest.
        write_json(record, {name: value for name, value in facts.items() if name != "onnx"})
        os.replace(draft, place)
    finally:
        draft.unlink(missing_ok=True)
    write_json(record, facts | {"onnx": plain(graph)})
    return graph


def check_replaceable(out: Path, folder: Path) -> None:
    """Whether everything at ``out`` may go: what an export wrote may, a run or the model itself may not.

    Raises:
        Refused: something else is there.
    """
    there = {path.name for path in out.iterdir()} if out.is_dir() else {out.name} if out.exists() else set()
    exported = {"model.json", GRAPH} <= there or {"configs", "models"} <= there
    if there and (out.resolve() == folder.resolve() or WEIGHTS in there or not exported):
        raise Refused(f"{out}: holds more than an export; --force would delete it all, choose another --out")


def _checked(model: Model, path: Path, written: Written, axes: tuple[int, ...], images: Sequence[str]) -> Graph:
    """What is known of a graph after it has been compared with the networks.

    Raises:
        TransmodalError: it answers otherwise.
    """
    graph = Graph(
        sha256=hashlib.sha256(written.content).hexdigest(),
        facts=asdict(model.method.facts),
        players=tuple(model.method.players()),
        multiple=model.method.multiple,
        axes=axes if "extent" in written.inputs or not axes else tuple(PLANES.values()),
        batch=written.batch,
        size=written.size,
    )
    exported = replace(model, method=OnnxMethod(path, graph))
    scans = made_up(model)
    whole = {"a made-up volume": scans}
    if model.method.facts.handles_missing and len(scans) > 1:
        whole["one without its first source"] = dict(list(scans.items())[1:])
    found, seconds = {}, {"torch": 0.0, "onnx": 0.0}
    for what, given in whole.items():
        answers = {}
        for engine, side in (("torch", model), ("onnx", exported)):
            # The first tiles are slower than the others.
            _predicted(side, {name: values[..., :1] for name, values in given.items()})
            start = time.perf_counter()
            answers[engine] = _predicted(side, given)
            seconds[engine] += time.perf_counter() - start
        found[what] = difference(answers["torch"], answers["onnx"], model.fits)
    if images:
        volumes = {name: read_volume(file) for name, file in assign(model, images).items()}
        one, two = (
            {name: made.data for name, made in synthesize_volumes(side, volumes).volumes.items()}
            for side in (model, exported)
        )
        found[", ".join(Path(word.rpartition("=")[2]).name for word in images)] = difference(one, two, model.fits)
    worst = max(found, key=lambda what: found[what])
    if not found[worst] <= ALLOWED:
        raise TransmodalError(
            f"the graph differs from the networks by {found[worst]:.2g} of the range on {worst}, more than "
            f"{ALLOWED:g}; nothing was written"
        )
    return replace(
        graph,
        difference=float(f"{found[worst]:.2g}"),
        checked=tuple(found),
        speed=round(seconds["torch"] / max(seconds["onnx"], 1e-9), 2),
    )


def difference(one: Answers, two: Answers, fits: Mapping[str, IntensityFit]) -> float:
    """The largest of all targets and voxels, as a share of the target's range.

    The range is that of the target's window or percentiles; for z-scores that of the values in ``one``.
    """
    shares = []
    for target, values in one.items():
        limits = fits[target].range
        width = limits[1] - limits[0] if limits else float(np.ptp(values))
        apart = float(np.abs(values.astype(np.float64) - two[target]).max())
        shares.append(apart / width if width > 0 else 0.0 if apart == 0 else np.inf)
    return max(shares)


def made_up(model: Model, seed: int = 0) -> dict[str, Voxels]:
    """Sources as the networks get them: smooth shapes and noise, for several tiles and batches."""
    chance = np.random.default_rng(seed)
    axis = model.sampling.axes[0]
    size = tile_size(model.sampling, model.method.multiple, axis)
    shape = [n * 5 // 4 if along != axis else 5 for along, n in enumerate(size)]
    scans = {}
    for name in model.task.sources:
        channels = [
            ndimage.zoom(
                chance.normal(size=(5, 5, 5)), [n / 5 for n in shape], order=1, grid_mode=True, mode="nearest"
            )
            for _ in range(modality(name).channels)
        ]
        values = np.tanh(np.stack(channels) + 0.1 * chance.normal(size=(len(channels), *shape)))
        scale = 2.0 if spec_for(name, model.prepare.intensity.get(name)).kind == "zscore" else 1.0
        scans[name] = (scale * values).astype(np.float32)
    return scans


def _predicted(model: Model, scans: Mapping[str, Voxels]) -> dict[str, Voxels]:
    """Targets in their own units for sources that are normalised already."""
    shape = next(iter(scans.values())).shape[1:]
    as_it_is = dict.fromkeys(scans, IntensityFit("zscore", 0.0, 1.0))
    settings = replace(model.inference, precision="fp32", planes=())
    how = Translation(model.method, model.task, model.sampling, settings)
    answer = predict(how, Scan(scans, as_it_is, _ball(shape), "a made-up volume"))
    made, start = {}, 0
    for target in model.task.targets:
        channels = modality(target).channels
        made[target] = model.fits[target].invert(answer[start : start + channels])
        start += channels
    return made


def _ball(shape: tuple[int, ...]) -> Mask:
    """A head that touches every face of its box."""
    lines = np.meshgrid(*[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape], indexing="ij")
    return np.asarray(sum(line**2 for line in lines) <= 1.2)


def spell(graph: Graph) -> str:
    """The same for people."""
    batch = "any number of tiles" if graph.batch == 0 else f"{graph.batch} tile at once"
    size = f"of {' × '.join(map(str, graph.size))} voxels" if graph.size else "of any size"
    return (
        f"model.onnx takes {batch} {size}; on {' and '.join(graph.checked)} it differs from the networks by at "
        f"most {graph.difference:.1g} of the range, and is {graph.speed:.1f} times as fast"
    )
