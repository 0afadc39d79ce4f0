"""Encoders of a person's own code, in the form in which timm's models are used here.

A factory returns an `OwnEncoder`; what it must hold is checked when it is made and at every forward pass, and errors
name what was returned and what is expected.
"""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from benchmarks.errors import UserError, WorkFailed
from benchmarks.families.family import Family
from benchmarks.families.parts import LAYERS, Capability, Layers, Level
from benchmarks.families.sizes import MapSizes
from benchmarks.families.windows.position_tables import TableMode

Features = Tensor | Sequence[Tensor]
_CONTRACT = "`mimbench transfer --help` and docs/checkpoints.md show the contract"
_TRIAL_PX = 224
_LARGEST = 10.0
"""Of a mean or a standard deviation on a scale from 0 to 1."""


@contextlib.contextmanager
def running(name: str) -> Iterator[None]:
    """Turn an error of a person's own code into WorkFailed that names the code and the line.

    Running out of memory is no fault of the code's, and stays what it is.
    """
    try:
        yield
    except (UserError, WorkFailed, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename}, line {last.lineno}"
        raise WorkFailed(f"{name} raised {type(error).__name__}: {error}\n  at: {where}") from error


def _forward(model: nn.Module, images: Tensor) -> Features:
    found: Features = model(images)
    return found


@dataclass(frozen=True)
class OwnEncoder:
    """What the factory of `--encoder python:MODULE:FACTORY` returns."""

    model: nn.Module
    """The model, with its weights."""
    strides: tuple[int, ...]
    """Pixels per token of each map, finest first: (16,) for a plain transformer, (4, 8, 16, 32) for a ConvNet."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of each channel of the images that it was trained on, on a scale from 0 to 1."""
    features: Callable[[Any, Tensor], Features] = _forward
    """Returns what `model` makes of images [B, C, H, W], whose sides are multiples of the largest stride s: tokens
    [B, N, D], row by row, or a map [B, D, H/s, W/s], or a list with one map for each stride. The default calls the
    model."""
    prefix_tokens: int = 0
    """How many tokens come before those of the patches; the first of them is the class token."""
    layer_of: Callable[[str], int] | None = None
    """Returns the layer, from 0, of a parameter of `model` by its name, for layer-wise learning rates."""
    blocks: Sequence[nn.Module] = ()
    """The parts of `model` that are computed again, or divided between processes, as one, and whose tokens a probe may
    take; empty: the model as a whole."""

    def __post_init__(self) -> None:
        """Raise UserError for a field that cannot be so."""
        for field, value, sound, rule in (
            ("model", type(self.model).__name__, isinstance(self.model, nn.Module), "a torch.nn.Module"),
            ("strides", self.strides, _are_strides(self.strides), "whole numbers of pixels, each larger than the last"),
            ("mean", self.mean, _are_numbers(self.mean), "one number for each channel, on a scale from 0 to 1"),
            ("std", self.std, _are_numbers(self.std), "one number for each channel, on a scale from 0 to 1"),
            ("std", self.std, len(self.std) == len(self.mean) and all(self.std), f"{len(self.mean)} numbers, none 0"),
            ("blocks", "others' modules", set(self.blocks) <= set(self.model.modules()), "parts of the model"),
            ("prefix_tokens", self.prefix_tokens, type(self.prefix_tokens) is int, "a whole number"),
        ):
            if not sound:
                raise UserError.about(f"OwnEncoder.{field}", value, rule, _CONTRACT)


def _are_strides(values: object) -> bool:
    whole = isinstance(values, tuple) and all(type(each) is int and each > 0 for each in values)
    return whole and bool(values) and list(values) == sorted(set(values))  # type: ignore[call-overload]


def _are_numbers(values: object) -> bool:
    numbers = isinstance(values, tuple) and bool(values) and all(isinstance(each, int | float) for each in values)
    return numbers and all(math.isfinite(each) and abs(each) <= _LARGEST for each in values)  # type: ignore[attr-defined]


class OwnModel(nn.Module):
    """A person's own encoder with a head, which is used as timm's models are."""

    def __init__(self, own: OwnEncoder, num_classes: int, image_size_px: int | None, name: str) -> None:
        """Try the encoder on one image of this size. Raises UserError where it breaks the contract, and WorkFailed
        where its code, which messages call `name`, raises an error: at a given size, as it may take one alone.
        """
        super().__init__()
        self.own, self.body, self.name = own, own.model, name
        self.in_chans = len(own.mean)
        side = max(image_size_px or _TRIAL_PX, own.strides[-1])
        self.pretrained_cfg = {"input_size": (self.in_chans, side, side)}
        training = self.body.training
        try:
            found = self.eval()._tried(side)
        except WorkFailed:
            if image_size_px is not None:
                raise
            found = [torch.zeros(1, 1, 1, 1, requires_grad=True)] * len(own.strides)
        self.body.train(training)
        self.learns = any(each.requires_grad for each in found)
        """Whether what it makes of images depends on its parameters in a way that a training can follow."""
        self.channels = [each.shape[2 if each.ndim == 3 else 1] for each in found]
        self.num_features = self.channels[-1]
        self.head: nn.Module = nn.Identity()
        if num_classes:
            self.head = nn.Linear(self.num_features, num_classes)
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def _tried(self, side_px: int) -> list[Tensor]:
        """Return what the encoder makes of an image. Raises UserError for numbers that no head can be trained on."""
        image = torch.linspace(-1, 1, self.in_chans * side_px**2).reshape(1, self.in_chans, side_px, side_px)
        with torch.enable_grad():
            found = self.found(image)
        again = [each.detach() for each in self.found(image)]
        what, first = "features of one's own encoder", found[0]
        if any(each.dtype != torch.float32 for each in found):
            remedy = "return model.float() and features.float(); training.precision says how they are computed"
            raise UserError.about(what, f"{_described(found)} of {first.dtype}", "of torch.float32", remedy)
        if not all(each.isfinite().all() for each in found):
            raise UserError.about(
                what, "numbers that are not finite", "finite ones", "load the weights that were meant"
            )
        if not all(torch.allclose(one, other, 1e-3, 1e-4) for one, other in zip(found, again, strict=True)):
            rule = "the same for the same image, in evaluation mode"
            raise UserError.about(what, "other numbers at every call", rule, "leave out what is drawn at random")
        return found

    def get_classifier(self) -> nn.Module:
        """Return the head, as timm's models do."""
        return self.head

    def found(self, images: Tensor) -> list[Tensor]:
        """Return tokens [B, N, D] alone, or the maps of images that are padded to multiples of the largest stride."""
        step = self.own.strides[-1]
        below, right = (-side % step for side in images.shape[2:])
        images = pad(images, (0, right, 0, below)) if below or right else images
        with running(self.name):
            found = self.own.features(self.body, images)
        parts = [found] if isinstance(found, Tensor) else list(found) if isinstance(found, list | tuple) else []
        if not parts or not self._keeps_contract(parts, images):
            raise self._broken(found, images)
        return parts

    def _keeps_contract(self, parts: list[Any], images: Tensor) -> bool:
        batch, _, height, width = images.shape
        strides = self.own.strides
        if len(parts) != len(strides) or not all(isinstance(part, Tensor) and len(part) == batch for part in parts):
            return False
        if parts[0].ndim == 3 and len(parts) == 1:
            patches: int = (height // strides[0]) * (width // strides[0])
            return bool(parts[0].shape[1] == self.own.prefix_tokens + patches)
        sizes = [(height // stride, width // stride) for stride in strides]
        return not self.own.prefix_tokens and [tuple(part.shape[2:]) for part in parts] == sizes

    def _broken(self, found: object, images: Tensor) -> UserError:
        batch, _, height, width = images.shape
        stride = self.own.strides[0]
        tokens = self.own.prefix_tokens + (height // stride) * (width // stride)
        maps = [f"[{batch}, D, {height // each}, {width // each}]" for each in self.own.strides]
        wanted = [f"tokens [{batch}, {tokens}, D]"] if len(maps) == 1 else []
        wanted += [] if self.own.prefix_tokens else [f"{'a map' if len(maps) == 1 else 'maps'} {', '.join(maps)}"]
        rule = f"of images {list(images.shape)} with strides {self.own.strides} and {self.own.prefix_tokens} "
        rule += f"prefix tokens: {' or '.join(wanted)}"
        return UserError.about("features of one's own encoder", _described(found), rule, _CONTRACT)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the tokens [B, N, D], or the last map [B, D, h, w]."""
        return self.found(images)[-1]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits of features, or with `pre_logits` the class token, else the mean of patches or map [B, D]."""
        if features.ndim == 4:
            vectors = features.mean(dim=(2, 3))
        else:
            vectors = features[:, 0] if self.own.prefix_tokens else features.mean(dim=1)
        logits: Tensor = vectors if pre_logits else self.head(vectors)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, classes], or vectors [B, D] where it was built without a head."""
        return self.forward_head(self.forward_features(images))

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return maps [B, D, ceil(H/s), ceil(W/s)] of images [B, C, H, W] of any size, for each stride s."""
        found, strides = self.found(images), self.own.strides
        if found[0].ndim == 3:
            rows, columns = (-(-side // strides[-1]) * strides[-1] // strides[0] for side in images.shape[2:])
            patches = found[0][:, self.own.prefix_tokens :]
            found = [patches.transpose(1, 2).reshape(len(patches), -1, rows, columns)]
        sizes = [[-(-side // stride) for side in images.shape[2:]] for stride in strides]
        return [each[:, :, :rows, :columns] for each, (rows, columns) in zip(found, sizes, strict=True)]


def _described(found: object) -> str:
    """Return what something is, in a few words: `a list of Tensor [1, 8, 4, 4], Tensor [1, 16, 2, 2]`."""
    if isinstance(found, Tensor):
        return f"Tensor {list(found.shape)}"
    if isinstance(found, list | tuple):
        return f"a {type(found).__name__} of {', '.join(map(_described, found[:8])) or 'nothing'}"
    return f"a {type(found).__name__}"


class Own(Family):
    """Encoders of a person's own code; they do what their contract says of them."""

    name = "own encoder"
    kind = OwnModel
    sizes_known = True
    mean_is_own = True
    blocks_give_tokens = False
    after_maps = ("head.",)

    def __init__(self, model: nn.Module, families: Sequence[type[Family]] = ()) -> None:
        super().__init__(model, families)
        self.learns = bool(model.learns)

    def can(self, capability: Capability) -> bool:
        """Refuse what the contract leaves out."""
        return super().can(capability) and not (capability is LAYERS and self.model.own.layer_of is None)

    @property
    def patch_size_px(self) -> int:
        found: int = self.model.own.strides[0]
        return found

    def levels(self) -> list[Level]:
        return [Level(*each) for each in zip(self.model.channels, self.model.own.strides, strict=True)]

    def map_sizes(self) -> MapSizes:
        """Return that images of any size have maps: the model pads them."""
        return MapSizes()

    def maps(self, images: Tensor, *, shift_single_windows: bool, table_mode: TableMode) -> list[Tensor]:
        found: list[Tensor] = self.model.maps(images)
        return found

    def blocks(self) -> list[nn.Module]:
        return list(self.model.own.blocks) or [self.model.body]

    def layers(self) -> Layers:
        layer_of = self.model.own.layer_of
        if layer_of is None:
            raise self.refusal(LAYERS)
        last = 1 + max(self._layer(layer_of, name) for name, _ in self.model.body.named_parameters())
        return Layers(last + 1, lambda name: layer_of(name[5:]) if name.startswith("body.") else last)

    def _layer(self, layer_of: Callable[[str], int], name: str) -> int:
        with running(self.model.name):
            layer = layer_of(name)
        if type(layer) is not int or layer < 0:
            raise UserError.about(f"OwnEncoder.layer_of({name!r})", layer, "a whole number, from 0", _CONTRACT)
        return layer

    def tokens(self, output: Tensor) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim not in (3, 4):
            rule = "tokens [B, N, D] or a map [B, D, h, w], of a block whose features are taken"
            raise UserError.about("a block's output", _described(output), rule, "take the encoder's own output")
        return output if output.ndim == 3 else output.flatten(2).transpose(1, 2)

    @property
    def prefix_tokens(self) -> int:
        found: int = self.model.own.prefix_tokens
        return found

    @property
    def has_class_token(self) -> bool:
        return self.prefix_tokens > 0
