"""Errand: one case to synthesise, from files to files, and what an earlier run left of it.

The sidecar of a volume is written last, so that a volume with its sidecar is finished and one without is a half.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib

from transmodal import __version__
from transmodal.data.claim import claimed
from transmodal.data.files import fingerprint, is_same, read_json, write_json
from transmodal.data.limits import check_plain
from transmodal.data.modality import modality
from transmodal.data.stacks import SIDECAR
from transmodal.data.volume import made_of, read_volume, stem, write_volume
from transmodal.data.write_stack import write_stack
from transmodal.errors import InputError, Refused
from transmodal.inference.choice import engine_of
from transmodal.inference.model import Model
from transmodal.inference.synthesize import LABEL, Synthetic, describe, synthesize_volumes
from transmodal.schema import plain

DISCLAIMER = "Synthetic image. For research only; not for diagnosis or treatment."
GENERATED_BY = [{"Name": "transmodal", "Version": __version__}]
"""How BIDS says who made a file."""
_LIMITS = ("lower", "upper")

State = Literal["absent", "half", "finished", "foreign"]


@dataclass(frozen=True)
class Wish:
    """What is asked of every case.

    Attributes:
        force: overwrite volumes that exist, and go on where the guard refuses a scan.
        stacks: planes in which each volume is also written as a folder of PNG slices.
        interval: share of a person's voxels that lower and upper volumes are to hold; 0 for none.
    """

    force: bool = False
    stacks: Sequence[str] = ()
    interval: float = 0.0


@dataclass(frozen=True)
class Errand:
    """One case.

    Attributes:
        model: that makes it.
        images: source → file.
        mask: of the head, if there is one.
        targets: target → volume to write.
        wish: what is asked.
        root: the BIDS data set that the case belongs to, for links to its sources.
    """

    model: Model
    images: Mapping[str, Path]
    mask: Path | None
    targets: Mapping[str, Path]
    wish: Wish
    root: Path | None = None

    @property
    def outputs(self) -> list[Path]:
        """Every volume and folder that is written, without sidecars."""
        return [*(path for target in self.targets for path in self._volumes(target)), *self._stacks()]

    @property
    def is_finished(self) -> bool:
        """Whether an earlier run made all of it, from the same scans in the same way."""
        states = {self._state(target) for target in self.targets}
        return states == {"finished"} and all(path.exists() for path in self.outputs)

    def run(self, *, go_on: bool = False) -> list[Path]:
        """Synthesise and write; what a killed run left half done is made again.

        Args:
            go_on: make again what an earlier run finished of the case, too: for a round, which has claimed the
                folder.

        Returns:
            The volumes and folders written.

        Raises:
            InputError: scans that cannot be used, or one of them would be overwritten.
            Refused: an output exists that is not the half of an earlier run, or a scan is not of the kind that the
                model was trained on, and nobody forced it.
        """
        ours: set[State] = {"half", "finished"} if go_on else {"half"}
        self._check_outputs(ours)
        started = time.monotonic()
        volumes = {name: read_volume(path) for name, path in self.images.items()}
        head = None if self.mask is None else read_volume(self.mask, label=True)
        wish = self.wish
        made = synthesize_volumes(self.model, volumes, head, force=wish.force, interval=wish.interval)
        seconds = time.monotonic() - started
        folder = next(iter(self.targets.values())).parent
        with nullcontext() if go_on else claimed(folder, wait=True):
            # Another process may have written them meanwhile; two at a time would mix volumes and sidecars.
            self._check_outputs(ours)
            for target, path in self.targets.items():
                self._write(target, path, made, self._about(target, made, seconds))
        return self.outputs

    def _write(self, target: str, path: Path, made: Synthetic, about: dict[str, object]) -> None:
        stored, label = modality(target).dtype, describe(self.model, target)
        # A killed run must not leave an old sidecar beside a new volume, nor a full disk a volume without one.
        write_volume(made.volumes[target], path, dtype=stored, description=label, replaces=sidecar_of(path))
        for which, volume in zip(self._limits, made.intervals.get(target, ()), strict=True):
            at = _beside(path, which)
            write_volume(volume, at, dtype=stored, description=f"{label} {which}", replaces=sidecar_of(at))
            write_json(sidecar_of(at), {**about, "Limit": which})
        for plane in self.wish.stacks:
            slices = {"Synthetic": True, "Description": label, "Disclaimer": DISCLAIMER}
            write_stack(made.volumes[target], _stack_of(path, plane), plane, slices)
        write_json(sidecar_of(path), about)

    def _check_outputs(self, ours: set[State]) -> None:
        there = [path for path in self.outputs if path.exists()]
        given = [path for path in (*self.images.values(), self.mask) if path is not None and path.exists()]
        for path in there:
            if any(path.samefile(one) for one in given):
                raise InputError(
                    f"{path}: is one of the images given, and --force does not replace a scan by a guess; "
                    "choose another --out"
                )
        about = [sidecar_of(path) for target in self.targets for path in self._volumes(target)]
        strange = [path for path in about if path.exists() and not _is_ours(path)]
        if strange and not self.wish.force:
            raise Refused(
                f"{strange[0]}: lies where the record of the new volume goes, and is about something else; choose "
                "another --out, or add --force to overwrite it"
            )
        foreign = {self._state(target) for target in self.targets} - ours - {"absent"}
        begun = any(path.exists() for path in self.targets.values())
        if there and not self.wish.force and (foreign or not begun):
            raise Refused(f"{there[0]}: exists already; add --force to overwrite it, or choose another --out")

    def _state(self, target: str) -> State:
        """Whether a volume is there, and whether it is what the model would make again."""
        volume = self.targets[target]
        if not volume.exists():
            return "absent"
        if _description(volume) != describe(self.model, target):
            return "foreign"
        try:
            known = read_json(sidecar_of(volume))
            if known["Model"]["SHA256"] != self.model.sha256:
                return "half"
            settings = (self._sources(), plain(self.model.inference), self._interval(target))
            same = (known.get("Sources"), known.get("Inference"), known.get("Interval")) == settings
            files, before = self._files(), known.get("Files", {})
            same = same and files.keys() == before.keys()
            same = same and all(is_same(own, before[name]) for name, own in files.items())
        except (InputError, KeyError, TypeError, ValueError, AttributeError):
            return "half"
        return "finished" if same else "foreign"

    def _about(self, target: str, made: Synthetic, seconds: float) -> dict[str, object]:
        """What must be known of a synthetic volume by whoever finds it."""
        values, model = made.volumes[target].data, self.model
        return {
            "Synthetic": True,
            "Description": f"{LABEL} {target}",
            "Disclaimer": DISCLAIMER,
            "Sources": self._sources(),
            "Files": {name: fingerprint(own) for name, own in self._files().items()},
            "GeneratedBy": GENERATED_BY,
            "Model": {
                "Method": model.name,
                "SHA256": model.sha256,
                "Licence": model.about.get("licence", "not stated"),
                "Pretrained": model.about.get("pretrained", []),
            },
            "Guard": {
                "Compared": list(made.differences),
                "Differences": {k: v for k, v in made.differences.items() if v},
            },
            "Interval": self._interval(target),
            "Units": modality(target).unit,
            "ValueRange": [float(values.min()), float(values.max())],
            "Inference": plain(model.inference),
            "Engine": engine_of(model.method),
            "Seconds": round(seconds, 2),
        }

    @property
    def _limits(self) -> tuple[str, ...]:
        return _LIMITS if self.wish.interval else ()

    def _interval(self, target: str) -> dict[str, Any] | None:
        """The promise, and the numbers of the calibration that it rests on."""
        found, share = self.model.calibration, self.wish.interval
        if found is None or not share:
            return None
        where = "foreground" if self.mask is None else "given mask"
        return {"Holds": share, "In": where, "CalibratedOn": found.people, "Factor": found.reach(target, share)}

    def _volumes(self, target: str) -> list[Path]:
        path = self.targets[target]
        return [path, *(_beside(path, which) for which in self._limits)]

    def _files(self) -> dict[str, list[Path]]:
        """What the answer was made from: source, or ``mask``, → its files."""
        given = {**self.images, **({} if self.mask is None else {"mask": self.mask})}
        return {name: made_of(path) for name, path in given.items()}

    def _stacks(self) -> list[Path]:
        return [_stack_of(path, plane) for path in self.targets.values() for plane in self.wish.stacks]

    def _sources(self) -> dict[str, str]:
        return {name: _spelt(path, self.root) for name, path in self.images.items()}


def sidecar_of(volume: Path) -> Path:
    """The JSON file beside a synthetic volume."""
    return volume.with_name(f"{stem(volume)}.json")


def _is_ours(path: Path) -> bool:
    """Whether a JSON file is the sidecar of a synthetic volume, damaged or not."""
    try:
        known = read_json(path)
    except InputError:
        return True
    return isinstance(known, dict) and known.get("Synthetic") is True


def _beside(path: Path, which: str) -> Path:
    """Where a lower or upper volume is written; BIDS names keep their suffix."""
    if "_desc-synth_" in path.name:
        return path.with_name(path.name.replace("_desc-synth_", f"_desc-synth{which}_"))
    return path.with_name(path.name.replace(stem(path), f"{stem(path)}_{which}", 1))


def _stack_of(path: Path, plane: str) -> Path:
    """The folder of a volume's slices in a plane, if nothing else is there.

    Raises:
        InputError: it is there and holds something that was not synthesised.
    """
    folder = path.with_name(f"{stem(path)}_{plane}")
    known = read_json(folder / SIDECAR) if (folder / SIDECAR).is_file() else None
    if folder.exists() and not (isinstance(known, dict) and known.get("Synthetic")):
        raise InputError(f"{folder}: is no stack that was synthesised; move it away, or choose another --out")
    return folder


def _spelt(path: Path, root: Path | None) -> str:
    """A source as a sidecar names it: by a BIDS URI where it lies in the data set."""
    if root is not None and path.resolve().is_relative_to(root.resolve()):
        return f"bids:raw:{path.resolve().relative_to(root.resolve())}"
    return str(path)


def _description(volume: Path) -> str:
    try:
        check_plain(volume)
        header: Any = nib.load(volume).header
        return bytes(header["descrip"].tobytes()).rstrip(b"\0").decode(errors="replace")
    except Exception:  # Whatever else lies there, it is not a volume that we wrote.
        return ""
