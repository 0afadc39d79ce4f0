"""What devices reach at most, and the share of it that trainings were published to reach."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.catalogue.backbones import Shape
from benchmarks.config import Config, validate
from benchmarks.errors import did_you_mean
from benchmarks.files.yaml_files import read_yaml
from slurm.plan.estimate.span import Span

TABLE = Path(__file__).with_name("devices.yaml")


class Device(Config):
    """A device of the table, whose file says what its fields are."""

    device: str
    names: tuple[str, ...]
    bf16: float | None
    fp16: float
    tf32: float | None
    fp32: float
    memory_gb: float
    bandwidth: float
    link: float
    source: str

    def halves(self, precision: str) -> bool:
        """Tell whether products of matrices are computed in 16 bits. A device without bf16 refuses that precision."""
        return precision == "fp16" or (precision == "bf16" and self.bf16 is not None)

    def lacks(self, precision: str) -> bool:
        """Tell whether the device cannot compute in a precision."""
        return precision == "bf16" and self.bf16 is None

    def peak(self, precision: str) -> float:
        """Return the operations per second of products of matrices in `bf16`, `fp16` or `fp32`."""
        halved = self.fp16 if precision == "fp16" else self.bf16
        return 1e12 * (halved if self.halves(precision) and halved is not None else self.fp32)


class Table(Config):
    """The file of devices."""

    devices: tuple[Device, ...]


@cache
def devices() -> tuple[Device, ...]:
    """Return the table."""
    return validate(Table, read_yaml(TABLE), "devices").devices


def find_devices(name: str) -> tuple[Device, ...]:
    """Return the devices that a name means, as a cluster file, a driver or a table writes it; none where none is known.

    `A100` means those of 40 and of 80 GB; the longest part of a name decides: NVIDIA A100-SXM4-80GB is one of them.
    """
    asked = re.sub(r"[-_]", " ", name.lower())
    exact = [each for each in devices() if each.device.lower() == asked]
    if exact:
        return tuple(exact)
    found = [(len(part), each) for each in devices() for part in each.names if _names(part, asked)]
    longest = max((length for length, _ in found), default=0)
    return tuple(each for length, each in found if length == longest)


def _names(part: str, asked: str) -> bool:
    """Tell whether a part stands in a name as a word of its own: `a10` does in `NVIDIA A10`, and not in `A100`."""
    before, found, after = asked.partition(part)
    return bool(found) and not before[-1:].isalnum() and not after[:1].isalnum()


def unknown_device(name: str) -> str:
    """Return what to say of a device that the table lacks."""
    return f"what the device {name} reaches at its peak: {did_you_mean(name, [each.device for each in devices()])}"


class Reached(NamedTuple):
    """A published speed of training steps, and the share of the device's peak that follows from it."""

    family: str
    width: int
    images_per_second: float
    gigaflops: float
    """Of one forward pass."""

    @property
    def share(self) -> float:
        return 3 * self.gigaflops * 1e9 * self.images_per_second / RTX_3090_PEAK


RTX_3090_PEAK, RTX_3090_BANDWIDTH = 71e12, 936e9
"""Products in fp16 with sums in fp32, dense; bytes of memory per second: NVIDIA's whitepaper on GA102, table 3."""
REACHED = (
    Reached("swin", 96, 646.76, 9.0),
    Reached("swin", 128, 279.66, 30.9),
    Reached("swin", 192, 153.79, 69.0),
    Reached("swinv2", 96, 354.35, 11.8),
    Reached("swinv2", 128, 150.28, 40.6),
    Reached("vit", 768, 390.86, 35.1),
    Reached("resnet", 64, 826.06, 8.2),
)
"""Whole training steps of timm's models on one RTX 3090, by autocast, of images of 224 px (SwinV2: 256).

Source: huggingface/pytorch-image-models, results/benchmark-train-amp-nchw-pt112-cu113-rtx3090.csv."""
WHOLE_TRAINING = 0.33
"""Of the smaller share, what a whole training reached in the worst of three accounts: Swin-B of its authors, 12 minutes
an epoch on 16 V100 (microsoft/Swin-Transformer, issue 68: 0.34), DeiT-B, 53 hours on 8 V100 (arXiv:2012.12877,
section 5.6: 0.5), Swin-B, 3 days on 8 RTX 3090 (the same issue: 0.7)."""


def utilisation(shape: Shape, device: Device, precision: str) -> Span:
    """Return the share of a device's peak that training steps are likely to reach, by arithmetic from published ones.

    What a step takes beyond its products of matrices moves bytes: on a device that multiplies faster for each byte of
    its memory, that is a larger share. Of both ends, one is the published share as it is, the other that share on the
    device's own relation of the two; fp32 moves twice the bytes. The lower end is that of whole trainings.
    """
    rows = [row for row in REACHED if row.family == shape.family]
    row = min(rows, key=lambda each: abs(each.width - shape.width))
    bytes_each = 1 if device.halves(precision) else 2
    steeper = device.peak(precision) / device.bandwidth / 1e9 / (RTX_3090_PEAK / RTX_3090_BANDWIDTH)
    elsewhere = row.share / (row.share + (1 - row.share) * bytes_each * steeper)
    return Span(WHOLE_TRAINING * min(row.share, elsewhere), max(row.share, elsewhere))


def rate(shape: Shape, found: Sequence[Device], precision: str) -> Span:
    """Return the operations per second that training steps reach on any of these devices."""
    ends: list[Any] = [utilisation(shape, each, precision).times(each.peak(precision)) for each in found]
    return Span(min(end.low for end in ends), max(end.high for end in ends))
