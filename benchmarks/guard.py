"""What the guard lets through and what it stops, leaving out one person at a time.

    python benchmarks/guard.py OUT [--elderly SCANS]

Two sets: phantom heads with seven contrasts, and (with a folder like that of recipes/regression_elderly.toml)
people with T1w and FLAIR. Of every set, person and modality, profiles are learnt from the other people, and the
person's scan is judged as it is, and after each change below. ``OUT/traits.json`` keeps what was measured, so that
a run that was stopped goes on; the table goes to stdout and ``OUT/guard.md``.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transmodal.data.bring import PrepareSettings, bring
from transmodal.data.geometry import resample_labels
from transmodal.data.intensity import IntensityFit, spec_for
from transmodal.data.layout import find_cases
from transmodal.data.phantom.cohort import PhantomSettings, subject
from transmodal.data.volume import Volume, read_volume
from transmodal.inference.guard import differences
from transmodal.inference.profile import Profile, learn

Change = Callable[[Volume], Volume]
PEOPLE = 12
"""Of the phantom."""


def valued(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda v: replace(v, data=np.ascontiguousarray(change(v.data), dtype=np.float32))


def edged(factor: float) -> Change:
    """The same voxels under a header that says they are larger."""
    return lambda v: replace(
        v, grid=replace(v.grid, affine=v.affine @ np.diag([factor, factor, factor, 1.0]), header=None)
    )


def stored(v: Volume) -> Volume:
    """The same head with the file's axes turned and the header saying so."""
    turned = np.ascontiguousarray(v.data[:, ::-1].transpose(0, 3, 1, 2))
    linear = v.affine.copy()
    linear[:3, 3] += linear[:3, 0] * (v.data.shape[1] - 1)
    linear[:3, 0] *= -1
    return Volume(
        turned, replace(v.grid, shape=turned.shape[1:], affine=linear[:, [2, 0, 1, 3]], header=None), v.name
    )


def thick(v: Volume) -> Volume:
    """Every three slices along the last axis become one."""
    n = v.data.shape[3] // 3 * 3
    data = v.data[..., :n].reshape(*v.data.shape[:3], n // 3, 3).mean(axis=-1)
    affine = v.affine.copy()
    affine[:3, 3] += affine[:3, 2]
    affine[:3, 2] *= 3
    return Volume(
        data.astype(np.float32), replace(v.grid, shape=data.shape[1:], affine=affine, header=None), v.name
    )


def interpolated(v: Volume) -> Volume:
    """The same, put back on the grid that it came from."""
    data = thick(v).data.repeat(3, axis=-1)
    return Volume(data, replace(v.grid, shape=data.shape[1:], header=None), v.name)


ANY: dict[str, Change] = {"as it is": lambda v: v, "stored with other axes": stored}
ARBITRARY: dict[str, Change] = {
    "times 40": valued(lambda x: x * 40),
    "scaled to 0 to 1": valued(lambda x: (x - x.min()) / np.ptp(x)),
}
PROPER = (*ANY, *ARBITRARY)
UNITS: Mapping[str, dict[str, Change]] = {
    "CT": {"units: 1024 added": valued(lambda x: x + 1024), "units: divided by 1000": valued(lambda x: x / 1000),
           "units: a window of 8 bits": valued(lambda x: np.clip((x + 160) / 400, 0, 1) * 255)},
    "FA": {"units: times 1000": valued(lambda x: x * 1000), "units: times 255": valued(lambda x: x * 255)},
    "cryo": {"units: divided by 255": valued(lambda x: x / 255)},
}  # fmt: skip
WRONG: dict[str, Change] = {
    "upside down": lambda v: replace(v, data=np.ascontiguousarray(v.data[..., ::-1])),
    "back to front": lambda v: replace(v, data=np.ascontiguousarray(v.data[:, :, ::-1])),
    "on its side": lambda v: Volume(
        np.ascontiguousarray(v.data.transpose(0, 1, 3, 2)),
        replace(v.grid, shape=tuple(np.array(v.grid.shape)[[0, 2, 1]]), header=None),
        v.name,
    ),
    "header with voxels 1.5 times as large": edged(1.5),
    "header with voxels of half the edge": edged(0.5),
    "slices three times as thick": thick,
    "the same, interpolated": interpolated,
}


def heads() -> Iterator[tuple[str, dict[str, Volume], Volume | None]]:
    """The phantom's people: name, images, brain."""
    for number in range(PEOPLE):
        made = subject(number, PhantomSettings(size=(48, 48, 48), spacing=4.5, lesions=2))
        brain = made.pop("mask")
        del made["labels"]
        yield f"phantom-{number}", {name: image.canonical() for name, image in made.items()}, brain.canonical()


def people(scans: Path) -> Iterator[tuple[str, dict[str, Volume], Volume | None]]:
    """Real people, one at a time."""
    for case in find_cases(scans):
        images = {name: read_volume(case.images[name]).canonical() for name in ("T1w", "FLAIR")}
        brain = read_volume(case.labels, label=True).canonical() if case.labels else None
        yield case.name, images, brain


def variants(name: str, image: Volume, brain: Volume | None) -> dict[str, Change]:
    physical = spec_for(name).kind == "window"
    found = {**ANY, **({} if physical else ARBITRARY), **UNITS.get(name, {}), **WRONG}
    if brain is not None:
        inside = resample_labels(replace(brain, data=(brain.data > 0).astype(np.uint8)), image.grid).data > 0
        empty = image.data.min() if name == "CT" else 0.0
        found["skull-stripped"] = lambda v: replace(v, data=np.where(inside, v.data, empty).astype(np.float32))
    return found


def measure(out: Path, scans: Path | None) -> dict[str, dict[str, Any]]:
    """``set|person|modality|change`` → traits."""
    file = out / "traits.json"
    known: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    sets = {"phantom": heads(), **({} if scans is None else {"elderly": people(scans)})}
    for kind, members in sets.items():
        for person, images, brain in members:
            if any(key.startswith(f"{kind}|{person}|") for key in known):
                continue
            for name, image in images.items():
                for change, how in variants(name, image, brain).items():
                    found = bring({name: how(image)}, PrepareSettings()).facts[name]["traits"]
                    known[f"{kind}|{person}|{name}|{change}"] = found
            file.write_text(json.dumps(known))
    return known


def judged(known: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, bool, bool]]:
    """Set, what was tried, and whether it was refused: with the other modalities in training, and without."""
    keys = [key.split("|") for key in known]
    for kind in dict.fromkeys(key[0] for key in keys):
        names = list(dict.fromkeys(key[2] for key in keys if key[0] == kind))
        for left_out in dict.fromkeys(key[1] for key in keys if key[0] == kind):
            yield from _person(known, kind, left_out, names)


def _person(
    known: Mapping[str, Mapping[str, Any]], kind: str, person: str, names: list[str]
) -> Iterator[tuple[str, str, bool, bool]]:
    def profiles(change: str) -> dict[str, Profile]:
        rest = {
            n: [t for k, t in known.items() if _is(k, kind, n, change) and k.split("|")[1] != person]
            for n in names
        }
        return {name: learn(cases) for name, cases in rest.items() if cases}

    def refused(name: str, traits: Mapping[str, Any], learnt: Mapping[str, Profile]) -> bool:
        fit = IntensityFit("window", 0.0, 1.0)
        return bool(differences(name, traits, fit, learnt))

    whole, brains = profiles("as it is"), profiles("skull-stripped")
    for key, traits in known.items():
        own, who, name, change = key.split("|")
        if (own, who) != (kind, person):
            continue
        yield kind, change, refused(name, traits, whole), refused(name, traits, {name: whole[name]})
        if change != "as it is":
            continue
        for other in names:
            if other != name:
                alone = {other: whole[other]}
                yield kind, "another contrast", refused(other, traits, whole), refused(other, traits, alone)
        if name in brains:
            alone = {name: brains[name]}
            yield kind, "a head for a model of brains", refused(name, traits, brains), refused(name, traits, alone)
            own_brain = known[f"{kind}|{person}|{name}|skull-stripped"]
            yield (
                kind,
                "a brain for a model of brains",
                refused(name, own_brain, brains),
                refused(name, own_brain, alone),
            )


def _is(key: str, kind: str, name: str, change: str) -> bool:
    parts = key.split("|")
    return (parts[0], parts[2], parts[3]) == (kind, name, change)


def table(known: Mapping[str, Mapping[str, Any]]) -> str:
    rows: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    for kind, change, full, alone in judged(known):
        rows.setdefault((kind, change), []).append((full, alone))
    lines = ["| set | scan | should | n | refused | refused by a model that knows no other modality |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for (kind, change), found in rows.items():
        proper = change in PROPER or change == "a brain for a model of brains"
        counts = [f"{sum(side)} ({sum(side) / len(found):.0%})" for side in zip(*found, strict=True)]
        lines.append(
            f"| {kind} | {change} | {'pass' if proper else 'stop'} | {len(found)} | {' | '.join(counts)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--elderly", type=Path, help="folder of people with T1w and FLAIR")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    text = table(measure(given.out, given.elderly))
    (given.out / "guard.md").write_text(text + "\n")
    print(text)
