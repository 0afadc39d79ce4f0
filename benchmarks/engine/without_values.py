"""Models of shapes alone, built without the work of drawing values that nobody sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

CHANGES_VALUES_ALONE = frozenset({"add_", "clamp_", "erfinv_", "fill_", "mul_", "normal_", "uniform_", "zero_"})
"""Methods that change no shape of the tensor they are called on, where all they are given beside it is numbers."""


class WithoutValues(TorchFunctionMode):
    """Leaves out the initialisation of tensors on the meta device, which have no values.

    torch computes there what shape a sum or a clamp has, in Python: of a Swin-B, timm's truncated normal draws, which
    clamp, cost three quarters of the time in which it is built. Elsewhere, and for all other calls, nothing changes.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", None) == init.__name__:  # these take the tensor by its name, and call themselves
            filled = args[0] if args else (kwargs or {}).get("tensor")
            if isinstance(filled, torch.Tensor) and filled.is_meta:
                return filled
        if getattr(func, "__name__", "") in CHANGES_VALUES_ALONE and args and args[0].is_meta:
            more = (*args[1:], *(kwargs or {}).values())
            if not any(isinstance(each, torch.Tensor) for each in more):
                return args[0]
        return func(*args, **(kwargs or {}))
