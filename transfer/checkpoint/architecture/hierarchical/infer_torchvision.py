"""Which of torchvision's networks tensors under torchvision's names belong to."""

from __future__ import annotations

from functools import cache

from pydantic import JsonValue

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from benchmarks.families.torchvision_model import networks
from transfer.checkpoint.architecture.inferred import Inferred
from transfer.checkpoint.architecture.majority import sizes_of
from transfer.checkpoint.architecture.stated import shapes_of
from transfer.checkpoint.layouts.hierarchical.torchvision import kind_of
from transfer.checkpoint.layouts.layout import Shapes, Weights

ASSUMED = "strides, dilation, activations and eps are taken to be those of torchvision's {}: no tensor shows them"
_LEAST = 0.9
"""The share of a network's tensors that must be there as they are: what is wrong with the rest is named later."""


def infer_torchvision(weights: Weights) -> Inferred:
    """Return the network of torchvision's that `weights` fill. Raises UserError where it has none like them."""
    sizes = sizes_of(weights)
    kind = kind_of(sizes)
    assert kind is not None, "recognised before"
    shared: dict[str, float] = {}
    for name in networks(kind):
        shared[name] = _shared(_shapes(name), sizes)
        if shared[name] == 1.0 and len(_shapes(name)) == _counted(sizes):
            break
    best = max(shared, key=lambda name: shared[name])
    if shared[best] < _LEAST:
        rule = f"one of torchvision's ({', '.join(name.partition(':')[2] for name in networks(kind))})"
        remedy = (
            "for one of timm's under these names add --architecture NAME; for your own --encoder python:MODULE:FACTORY"
        )
        raise UserError.about("checkpoint", f"a network of torchvision's {kind}, of no published sizes", rule, remedy)
    channels = _channels(best, sizes)
    arguments: dict[str, JsonValue] = {} if channels == 3 else {"in_chans": channels}
    return Inferred(
        Architecture(name=best, arguments=arguments),
        image_size_px=None,
        patch_size_px=1,
        window_size=None,
        assumed={"strides": ASSUMED.format(best.partition(":")[2])},
    )


@cache
def _shapes(name: str) -> Shapes:
    return shapes_of(Architecture(name=name))


def _shared(wanted: Shapes, found: Shapes) -> float:
    """Return the share of a network's tensors that are there in its shapes, whatever the channels of its images."""
    first = _first(wanted)
    same = sum(found.get(name) == shape or (name == first and name in found) for name, shape in wanted.items())
    return same / len(wanted)


def _counted(found: Shapes) -> int:
    return sum(not name.endswith("num_batches_tracked") for name in found)


def _first(shapes: Shapes) -> str:
    return next(name for name, shape in shapes.items() if len(shape) == 4)


def _channels(name: str, found: Shapes) -> int:
    shape = found.get(_first(_shapes(name)), ())
    return shape[1] if len(shape) == 4 else 3
