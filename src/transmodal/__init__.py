"""Transmodal: cross-modality medical image synthesis.

The verbs of the command line are functions here, under the same names::

    import nibabel, transmodal

    model = transmodal.load_model("runs/t1_to_flair/model")
    flair = transmodal.synthesize(model, nibabel.load("sub-01_T1w.nii.gz"))

They are imported when they are first used: ``import transmodal`` takes milliseconds and never imports torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "audit": "transmodal.checks.audit",
    "benchmark": "transmodal.experiment.benchmark",
    "card": "transmodal.experiment.card",
    "compare": "transmodal.experiment.compare",
    "demo": "transmodal.experiment.demo",
    "doctor": "transmodal.machine",
    "download": "transmodal.nn.pretrained",
    "evaluate": "transmodal.evaluation.evaluate",
    "export": "transmodal.inference.export",
    "list": "transmodal.catalogue",
    "load_model": "transmodal.inference.model",
    "prepare": "transmodal.data.prepare",
    "probe": "transmodal.questions.probe",
    "report": "transmodal.reporting.html",
    "robustness": "transmodal.questions.robustness",
    "show": "transmodal.catalogue",
    "synthesize": "transmodal.inference.synthesize",
    "train": "transmodal.experiment.train",
}

__all__ = [
    "__version__",
    "audit",
    "benchmark",
    "card",
    "compare",
    "demo",
    "doctor",
    "download",
    "evaluate",
    "export",
    "list",
    "load_model",
    "prepare",
    "probe",
    "report",
    "robustness",
    "show",
    "synthesize",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'transmodal' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return __all__
