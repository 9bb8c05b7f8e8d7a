"""BIDS: what file names say, which file is which modality of which case, and what synthetic files are called.

A thin layer of our own: pybids indexes a data set into a database for any query, and all that is asked here is
which images belong to one person and session. Derivatives of any pipeline add what the raw data lack (a mask, an
FA map); a raw file comes before a derived one, and a file that calls itself synthetic is never data.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transmodal.data.volume import stem
from transmodal.errors import InputError

VERSION = "1.10.0"
DESCRIPTION = "dataset_description.json"
SYNTHETIC = "synth"
"""``desc-synth`` marks what this package makes."""
_NAME = re.compile(r"sub-[A-Za-z0-9]+(?:_[A-Za-z0-9]+-[A-Za-z0-9+]+)*_[A-Za-z0-9]+")
_SERIES = (
    "dwi", "bold", "sbref", "boldref", "timeseries", "cbv", "phase", "asl", "m0scan", "epi", "phasediff", "phase1",
    "phase2", "magnitude", "magnitude1", "magnitude2", "fieldmap", "probseg", "xfm",
)  # fmt: skip
"""Suffixes of what is no scan of one contrast: series, field maps, probabilities."""
_OWN_SPACE = ("", "orig", "individual", "T1w", "native")
_NOT_OF_TARGET = ("ce", "desc", "param", "model", "echo", "inv", "flip", "part", "mod")
_DIFFUSION = ("FA", "MD", "AD", "RD")


@dataclass(frozen=True)
class BidsName:
    """The name of a file, taken apart.

    Attributes:
        entities: key → value in the order of the name, ``sub`` first.
        suffix: the last word, such as ``T1w``.
    """

    entities: Mapping[str, str]
    suffix: str

    @property
    def case(self) -> str:
        """Person and session."""
        return "_".join(f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities)

    @property
    def modality(self) -> str:
        """The modality by the name used in tables and recipes; empty for what is no scan of one contrast."""
        parameter = self.entities.get("param", "").upper()
        if self.suffix == "dwimap" or (parameter in _DIFFUSION and self.suffix != "mask"):
            return parameter
        if self.suffix in _SERIES:
            return ""
        if self.suffix == "T1w" and "ce" in self.entities:
            return "T1c"
        if self.suffix == "mask":
            region = self.entities.get("label") or self.entities.get("desc", "brain")
            return "mask" if region in ("brain", "head", "body") else f"{region}_mask"
        return {"ct": "CT", "dseg": "labels"}.get(self.suffix, self.suffix)

    @property
    def is_synthetic(self) -> bool:
        """Whether the name says that it was made and not measured."""
        return self.entities.get("desc") == SYNTHETIC


def parse(name: str) -> BidsName | None:
    """A file's stem taken apart, or None if it is no BIDS name."""
    if _NAME.fullmatch(name) is None:
        return None
    *pairs, suffix = name.split("_")
    return BidsName(dict(pair.split("-", 1) for pair in pairs), suffix)


def is_bids(folder: Path) -> bool:
    """Whether a folder says that it is a BIDS data set."""
    return (folder / DESCRIPTION).is_file()


def choose(raw: Iterable[Path], derived: Iterable[Path], wanted: Sequence[str]) -> dict[str, dict[str, Path]]:
    """Case → modality → file.

    Args:
        raw: files with images.
        derived: the same below ``derivatives``.
        wanted: entities (``acq-mprage``, ``run-1``) that decide, in this order, where several files are one
            modality.

    Raises:
        InputError: several files are one modality of a case and nothing decides.
    """
    found: dict[str, dict[str, list[Path]]] = {}
    for path in raw:
        _collect(found, path)
    known = set(found)
    more: dict[str, dict[str, list[Path]]] = {}
    for path in derived:
        _collect(more, path)
    for case, images in more.items():
        for modality, files in images.items():
            files = [file for file in files if _lies_here(file, wanted)]
            if files and (case in known or not known):
                before = found.setdefault(case, {}).get(modality, [])
                if not before or any(word in _words(f) for f in files for word in wanted):
                    found[case][modality] = [*before, *files]
    return {
        case: {modality: _one(case, modality, files, wanted) for modality, files in images.items()}
        for case, images in found.items()
    }


def _collect(found: dict[str, dict[str, list[Path]]], path: Path) -> None:
    name = parse(stem(path))
    if name is not None and not name.is_synthetic and (modality := name.modality):
        found.setdefault(name.case, {}).setdefault(modality, []).append(path)


def _one(case: str, modality: str, files: list[Path], wanted: Sequence[str]) -> Path:
    left = files
    for word in wanted:
        left = [file for file in left if word in _words(file)] or left
    if len(left) == 1:
        return left[0]
    words = [_words(file) for file in left]
    apart = sorted(set[str]().union(*words) - words[0].intersection(*words))
    hint = f"set data.prepare.entities = ['{apart[0]}'] to choose, or " if apart else ""
    raise InputError(
        f"case {case}: {', '.join(str(f) for f in left)} are all {modality}; {hint}list the files to use in a "
        "cases.tsv"
    )


def _words(path: Path) -> set[str]:
    name = parse(stem(path))
    return {f"{key}-{value}" for key, value in name.entities.items()} if name else set()


def _lies_here(path: Path, wanted: Sequence[str]) -> bool:
    """Whether a derived image is in the space of the person's own scans, or in one that is asked for."""
    name = parse(stem(path))
    space = name.entities.get("space", "") if name else ""
    return space in _OWN_SPACE or f"space-{space}" in wanted


def derived_path(case: str, sources: Sequence[Path], target: str, method: str) -> Path:
    """Where a synthetic volume goes below a folder of derivatives.

    Args:
        case: ``sub-01`` or ``sub-01_ses-1``.
        sources: what it was made from; entities that all of them have are kept.
        target: the modality made.
        method: name of the method, for parameter maps (``model-``).

    Returns:
        Such as ``sub-01/anat/sub-01_desc-synth_FLAIR.nii.gz``; parameter maps of diffusion and CT as the extension
        proposals 16 and 24 have them, which are not final.
    """
    folders = [part for part in case.split("_") if part.startswith(("sub-", "ses-"))]
    shared: dict[str, str] = dict(part.split("-", 1) for part in folders)
    names = [name for path in sources if (name := parse(stem(path))) is not None]
    if names and len(names) == len(sources):
        both = set(names[0].entities.items()).intersection(*(n.entities.items() for n in names))
        shared |= {k: v for k, v in names[0].entities.items() if (k, v) in both and k not in _NOT_OF_TARGET}
    suffix, kind = target, "anat"
    if target in _DIFFUSION:
        shared |= {"model": method, "param": target.lower()}
        suffix, kind = "dwimap", "dwi"
    elif target == "CT":
        suffix, kind = "ct", "ct"
    elif target == "T1c":
        shared |= {"ce": "agent"}
        suffix = "T1w"
    words = [f"{key}-{value}" for key, value in {**shared, "desc": SYNTHETIC}.items()]
    return Path(*folders, kind, "_".join([*words, suffix]) + ".nii.gz")


def description(name: str, version: str, source: Path) -> dict[str, Any]:
    """The ``dataset_description.json`` of a folder of synthetic volumes.

    Args:
        name: of the data set.
        version: of this package.
        source: the data set that they were made from.
    """
    uri = source.resolve().as_uri()
    return {
        "Name": name,
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": "transmodal", "Version": version, "CodeURL": "https://github.com/transmodal/transmodal"}
        ],
        "SourceDatasets": [{"URL": uri}],
        "DatasetLinks": {"raw": uri},
    }
