"""Exponential moving average of the weights: what is validated and shipped, while the raw weights train on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """A running average of every trained parameter.

    Args:
        parameters: name → parameter; the average starts at their values.
        decay: how much of the old average is kept at each step; the first steps keep less, (1 + n) / (10 + n),
            so that the average is not held back by the random start.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float):
        self.parameters = parameters
        self.decay = decay
        self.values = {name: p.detach().clone().float() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the present weights, after update number ``step`` (from 0)."""
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.parameters.items():
            self.values[name].lerp_(parameter.detach().float(), 1 - keep)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside this context the networks hold the average; outside, their own weights, bit for bit."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
