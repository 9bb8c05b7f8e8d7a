"""Bundle: a model as a MONAI Bundle, for programs that read those.

::

    configs/metadata.json      what goes in and out, versions, what it may be used for
    configs/inference.json     the network, and a run from scan to synthetic volume
    models/model.pt            the network's state, as MONAI's tools expect it
    models/transmodal/         the Model's folder; it stays the truth, and the run uses it
    docs/README.md             the model card
    docs/license.txt           of the weights

The format asks for ``model.pt``, a file of ``torch.save``. It holds tensors only, so that it is read with
``weights_only=True``; Transmodal itself never reads it.
"""

import io
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from transmodal import __version__
from transmodal.data.batch import Batch
from transmodal.data.files import check_folder, new_folder, write_bytes, write_json, write_text
from transmodal.data.modality import Modality, modality
from transmodal.errors import Refused
from transmodal.inference.errand import DISCLAIMER
from transmodal.inference.export import check_replaceable
from transmodal.inference.model import Model, load_model, read_facts
from transmodal.inference.predict import tile_size

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_INSIDE = "models/transmodal"
_TESTED_WITH = "1.6.1"
"""MONAI's version, said where it is not installed."""


class Network(nn.Module):
    """A model as one function of one tensor, the only kind of network that a bundle knows.

    Args:
        folder: of the model.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        model = load_model(folder, "cpu", "torch")
        self.axis = next((axis for axis in model.sampling.axes if axis is not None), None)
        self.sources = len(model.task.sources)
        self.method: Any = model.method

    def forward(self, image: Float[Tensor, "B Cin *N"]) -> Float[Tensor, "B Cout *N"]:
        """The target for normalised sources that are all there, as if the head filled the tile."""
        count = len(image)
        present = torch.ones((count, self.sources), dtype=torch.bool, device=image.device)
        mask = torch.ones((count, 1, *image.shape[2:]), dtype=torch.bool, device=image.device)
        extent = torch.tensor([0.0, 1.0], device=image.device).repeat(count, 3, 1)
        made: Tensor = self.method.translate(Batch(image, present, mask, extent, self.axis))
        return made.float()


def write_bundle(model: Path | str, out: Path, *, force: bool = False) -> None:
    """Write a model as a MONAI Bundle.

    Args:
        model: its folder, with weights.
        out: the bundle's folder.
        force: replace ``out``.

    Raises:
        InputError: no model there, or one without weights.
        Refused: ``out`` exists.
    """
    folder, facts = read_facts(model)
    check_folder(out)
    if out.exists() and not force:
        raise Refused(f"{out}: exists already; add --force to replace it, or choose another --out")
    check_replaceable(out, folder)
    loaded = load_model(folder, "cpu", "torch")
    state = io.BytesIO()
    torch.save(Network(folder).state_dict(), state)
    licence = loaded.about.get("licence", "not stated")
    with new_folder(out) as fresh:
        shutil.copytree(folder, fresh / _INSIDE)
        write_bytes(fresh / "models" / "model.pt", state.getvalue())
        write_json(fresh / "configs" / "metadata.json", _metadata(loaded, facts))
        write_json(fresh / "configs" / "inference.json", _inference(loaded))
        shutil.copy2(folder / "README.md", _made(fresh / "docs") / "README.md")
        write_text(fresh / "docs" / "license.txt", f"Licence of the weights: {licence}\n{DISCLAIMER}\n")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _metadata(model: Model, facts: dict[str, Any]) -> dict[str, Any]:
    task, axes = model.task, [axis for axis in model.sampling.axes if axis is not None]
    tile = tile_size(model.sampling, model.method.multiple, axes[0] if axes else None)
    shape = [n for along, n in enumerate(tile) if along not in axes[:1]]
    title = f"{' and '.join(task.sources)} to {' and '.join(task.targets)}"
    return {
        "schema": SCHEMA,
        "version": __version__,
        "changelog": {__version__: f"exported by Transmodal; sha256 of the weights {model.sha256}"},
        "monai_version": _version("monai", _TESTED_WITH),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"transmodal": __version__},
        "name": f"{title} by {model.name}",
        "task": f"Synthesis: {title}",
        "description": f"{title} by Transmodal's {model.name}, arguments {model.arguments}. {DISCLAIMER}",
        "authors": "see docs/README.md",
        "copyright": f"Licence of the weights: {model.about.get('licence', 'not stated')}",
        "intended_use": DISCLAIMER,
        "data_type": "nifti",
        "network_data_format": {
            "inputs": {"image": _tensor([modality(name) for name in task.sources], task.in_channels, shape)},
            "outputs": {"pred": _tensor([modality(name) for name in task.targets], task.out_channels, shape)},
        },
        "intensity": {name: dict(fit) for name, fit in facts["fits"].items()},
    }


def _tensor(kinds: list[Modality], channels: int, shape: list[int]) -> dict[str, Any]:
    """What the format says of a tensor; values are normalised, as ``intensity`` says."""
    named = [kind.name for kind in kinds for _ in range(kind.channels)]
    beside = channels // len(named)
    names = [f"{name}, slice {n + 1} of {beside}" if beside > 1 else name for name in named for n in range(beside)]
    return {
        "type": "image",
        "format": "magnitude",
        "modality": ", ".join(kind.name for kind in kinds),
        "num_channels": channels,
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [-1, 1] if all(kind.window for kind in kinds) else [],
        "is_patch_data": True,
        "channel_def": {str(number): name for number, name in enumerate(names)},
    }


def _inference(model: Model) -> dict[str, Any]:
    folder = f"@bundle_root + '/{_INSIDE}'"
    return {
        "imports": ["$from pathlib import Path", "$from transmodal.inference.files import synthesize_paths"],
        "bundle_root": ".",
        "device": "cpu",
        "images": [f"{name}.nii.gz" for name in model.task.sources],
        "output": "synthetic.nii.gz" if len(model.task.targets) == 1 else "synthetic",
        "network_def": {
            "_target_": "transmodal.inference.bundle.Network",
            "folder": f"$@bundle_root + '/{_INSIDE}'",
        },
        "run": [f"$synthesize_paths({folder}, @images, Path(@output), device=@device)"],
    }


def _version(package: str, otherwise: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return otherwise
