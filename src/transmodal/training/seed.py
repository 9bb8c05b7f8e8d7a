"""Randomness that can be resumed: step k of a training is a function of the weights, the seed and k alone."""

import hashlib

import torch


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch's generators for update number ``step``.

    Seeding anew at each step is what makes a resumed training equal to an uninterrupted one without any
    generator state in the checkpoint.
    """
    digest = hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def seed_weights(seed: int) -> None:
    """Seed torch's generators before the networks are built."""
    torch.manual_seed(seed)
