"""Transmodal: cross-modality medical image synthesis."""

__version__ = "0.1.0"
