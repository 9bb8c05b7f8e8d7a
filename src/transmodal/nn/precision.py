"""Where float32 is needed under mixed precision: small differences of large numbers, gradients of gradients."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Within it nothing is computed in bfloat16 on the device of ``x``, unless it arrives in it.

    Never ``yield`` from within: see :mod:`transmodal.methods._method`.
    """
    # Networks are measured on the meta device, which knows no mixed precision.
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
