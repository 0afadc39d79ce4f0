"""What an encoder family is: all that differs between kinds of timm models, in one class for each kind.

A new family is a subclass of `Family` in a file of its own and one line in `table.py`. What a subclass overrides, its
models can do; what it leaves is refused, with the names of the families that can. No other code asks of what kind a
model is.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from torch import Tensor, nn

from benchmarks.encoders import Architecture, WindowSize, plain_window
from benchmarks.errors import UserError
from benchmarks.families.position_tables import Size, TableMode
from benchmarks.families.resize import TABLE, Change, fit_kernel, fit_table

Weights = dict[str, Tensor]
"""Tensors by timm's names."""


@dataclass(frozen=True)
class Capability:
    """Something that only some families can do, and the words in which it is refused for all others."""

    method: str
    """The method of `Family` that a family overrides to have it."""
    field: str
    """The setting that is refused."""
    rule: str
    """`{families}` stands for the names of those that can."""
    remedy: str
    last: str = ", "
    """What stands before the last of the families' names."""


_LIST = "`mimbench list encoders`; SimMIM's ViT is simmim_vit_base"
_CLASSIFIES = "another encoder; this one can only be used for classification"
_FINETUNES = "another encoder, or protocol=finetune"
_WHOLE = "false for this encoder, whose blocks are not known; a {families} has them"
_DECAY = "1.0 for this architecture (layers are defined for {families})"
_READ = "one of the families that are read from files: {families}"
MASKING: Final = Capability("masked_features", "encoder.name", "of a family that can be masked: {families}", _LIST)
MAPS: Final = Capability("maps", "encoder", "a {families} with plain patches", _CLASSIFIES, " or ")
TOKENS: Final = Capability("tokens", "encoder", "a {families} for probes and nearest neighbours", _FINETUNES, " or ")
BLOCKS: Final = Capability("blocks", "sharded or activation_checkpointing", _WHOLE, "set both to false", " or ")
LAYERS: Final = Capability("layers", "layer_decay", _DECAY, "set layer_decay=1.0", " and ")
STATEMENT: Final = Capability("properties", "--architecture", _READ, "name the encoder's own")
CAPABILITIES: Final = (MASKING, MAPS, TOKENS, BLOCKS, LAYERS, STATEMENT)


@dataclass(frozen=True)
class Layers:
    """Layers for layer-wise learning rates: 0 is the patch embedding, `count - 1` the final norm and the head."""

    count: int
    of: Callable[[str], int]
    """Returns the layer of the parameter of this name."""


@dataclass(frozen=True)
class Level:
    """One of a model's feature maps."""

    channels: int
    stride_px: int
    """Pixels per token."""


class Family:
    """One timm model, seen as one of its family; the class itself stands for models of no family in the table.

    What timm's models share is here. The methods that `CAPABILITIES` name refuse here, with a UserError that names the
    families that can; `require` does so before there is anything to call them with. B, C, H and W are an image batch's
    sizes, D is the width of tokens, N their number.
    """

    name: ClassVar[str] = ""
    """The family's name in messages."""
    kind: ClassVar[type[nn.Module]] = nn.Module
    """The class of its models in timm."""
    registered_in: ClassVar[tuple[str, ...]] = ()
    """Modules of timm.models whose registered names are models of this family."""
    takes_window: ClassVar[bool] = False
    """Whether timm's function that builds a model takes a `window_size`."""
    scales_offsets: ClassVar[bool] = False
    """Whether position biases are functions of offsets in units of `offset_windows`, which other windows must keep."""
    mask_token_decays: ClassVar[bool] = False
    """Whether weight decay applies to the mask token. Source: `no_weight_decay` of microsoft/SimMIM's models."""
    video_form: ClassVar[str | None] = None
    """The recipe's `temporal` by which its weights get an axis of time; None where there is none."""

    def __init__(self, model: nn.Module, families: Sequence[type[Family]] = ()) -> None:
        """`families` are those of the table, which refusals name."""
        self.model: Any = model
        self._families = families

    # Which capabilities there are.

    def can(self, capability: Capability) -> bool:
        """Tell whether this model has a capability: its family has it, unless a subclass says otherwise of a model."""
        return type(self).overrides(capability)

    @classmethod
    def overrides(cls, capability: Capability) -> bool:
        """Tell whether the family has a capability."""
        return getattr(cls, capability.method) is not getattr(Family, capability.method)

    def require(self, capability: Capability, shown: str | None = None) -> None:
        """Raise UserError where the model lacks a capability; `shown` is what a person called the model."""
        if not self.can(capability):
            raise self.refusal(capability, shown)

    def refusal(self, capability: Capability, shown: str | None = None) -> UserError:
        """Return the error that refuses a capability, and names the families that have it."""
        *able, last = [family.name for family in self._families if family.overrides(capability)] or ["none"]
        names = f"{', '.join(able)}{capability.last}{last}" if able else last
        rule = capability.rule.format(families=names)
        return UserError.about(capability.field, shown or type(self.model).__name__, rule, capability.remedy)

    # Sizes.

    @property
    def patch_size_px(self) -> int:
        """The side of the patches that the model sees; 1 for one without patches of one size, as ConvNets are."""
        patch = getattr(getattr(self.model, "patch_embed", None), "patch_size", 1)
        return int(patch[0]) if isinstance(patch, tuple | list) else int(patch)

    @property
    def windows(self) -> tuple[Size, ...]:
        """Rows and columns of each stage's windows, as timm clipped them to its maps; empty without windows."""
        return ()

    @property
    def window_size(self) -> WindowSize | None:
        """The reference window of a windowed transformer, that of its first stage; None for others."""
        return plain_window(self.windows[0]) if self.windows else None

    @property
    def offset_windows(self) -> tuple[Size, ...]:
        """By stage, the window in whose units position biases measure offsets, where `scales_offsets`."""
        return ()

    def check_image_size(self) -> None:
        """Raise UserError where timm's own forward would be wrong, or refuse, at the size the model was built for."""
        embed = getattr(self.model, "patch_embed", None)
        size: Any = getattr(embed, "img_size", None)
        patch: Any = getattr(embed, "patch_size", None)
        known = isinstance(size, tuple) and isinstance(patch, tuple)
        if known and any(side % step for side, step in zip(size, patch, strict=True)):
            rule = f"a multiple of the patch size ({patch[0]} px)"  # timm would refuse at the first batch
            remedy = "another image_size_px or patch_size_px"
            raise UserError.about("image_size_px", plain_window(size), rule, remedy)
        self.check_windows()

    def check_windows(self) -> None:
        """Raise UserError where a map of the size the model was built for is no multiple of its window."""

    @classmethod
    def with_own_tables(cls, architecture: Architecture) -> Architecture:
        """Return the architecture whose blocks each have a position table; one that shares none stays as it is."""
        return architecture

    # Parts.

    def blocks(self) -> list[nn.Module]:
        """Return the modules that make up most of the encoder, in order, through all stages.

        Each is computed again, compiled, or divided between processes as one.
        """
        raise self.refusal(BLOCKS)

    def last_norms(self) -> list[nn.Module]:
        """Return the norms after the last block, before or after pooling, which dense features do not pass through."""
        norms = (getattr(self.model, name, None) for name in ("norm", "fc_norm"))
        return [norm for norm in norms if norm is not None]

    def layers(self) -> Layers:
        """Return the layers of the model's parameters. Raises UserError where no published rule exists."""
        raise self.refusal(LAYERS)

    # Features of masked images.

    def mask_token_shape(self) -> tuple[int, ...]:
        """Return the shape of what stands in the place of hidden patches of `patch_size_px`.

        Raises UserError for a model that cannot be pretrained as it was built.
        """
        raise self.refusal(MASKING)

    def masked_features(self, images: Tensor, hidden: Tensor, token: Tensor) -> Tensor:
        """Return the features [B, D, H/s, W/s] of images [B, C, H, W] in whose hidden patches `token` stands.

        `hidden` [B, H/p, W/p] is bool, True where a patch is hidden, and `token` has `mask_token_shape`.
        """
        raise self.refusal(MASKING)

    @property
    def has_fast_step(self) -> bool:
        """Whether there is a faster way to `masked_features` for this model, of the same numbers but for last bits."""
        return False

    def features_of_step(self, images: Tensor, hidden: Tensor, token: Tensor, *, compiled: bool) -> Tensor:
        """Return `masked_features` as tokens [B, H/s * W/s, D], row by row, the faster way where there is one.

        `compiled` runs blocks through torch.compile, where that way does not call them as modules.
        """
        return self.masked_features(images, hidden, token).flatten(2).transpose(1, 2)

    # Feature maps.

    def levels(self) -> list[Level]:
        """Return the maps that the model has at the size it was built for, finest first."""
        return [Level(int(level["num_chs"]), int(level["reduction"])) for level in self.model.feature_info]

    def maps(self, images: Tensor, *, shift_single_windows: bool, table_mode: TableMode) -> list[Tensor]:
        """Return maps [B, D, ceil(H/s), ceil(W/s)] of images [B, C, H, W] of any size, one for each of `levels`.

        No norm follows the last block. `shift_single_windows`: whether shifted blocks shift along a side that one
        window covers; `table_mode`: how tables of relative positions are resized to the image's grid.
        """
        raise self.refusal(MAPS)

    # Features of a frozen encoder.

    def tokens(self, output: Tensor) -> Tensor:
        """Return the tokens [B, N, D] of a block's output, or of that of `forward_features`; class token first."""
        raise self.refusal(TOKENS)

    @property
    def prefix_tokens(self) -> int:
        """How many of `tokens` come before those of patches: the class token and registers."""
        return int(getattr(self.model, "num_prefix_tokens", 0))

    @property
    def has_class_token(self) -> bool:
        """Whether the first token is a class token."""
        return getattr(self.model, "cls_token", None) is not None

    @property
    def norm_after_pooling(self) -> nn.Module | None:
        """The norm of the pooled output, where the model has it after pooling rather than before."""
        norm: nn.Module | None = getattr(self.model, "fc_norm", None)
        return norm

    # Files of weights.

    def properties(self) -> dict[str, object]:
        """Return what makes two encoders differ, under the names of timm's arguments."""
        raise self.refusal(STATEMENT)

    def size_arguments(self, differing: Container[str]) -> dict[str, Any]:
        """Return timm's arguments for the model's sizes that its weights do not fix, as windows.

        `differing` are the names of `properties` that differ from those that a person stated.
        """
        return {}

    def arranged(self, weights: Weights) -> tuple[Weights, Mapping[str, str]]:
        """Return weights under the model's names for them, and by name how each renamed one was made."""
        return weights, {}

    def fit(self, name: str, tensor: Tensor, mode: TableMode) -> Change | None:
        """Resize a tensor to the shape that the model has under this name; None where no rule makes it fit.

        `mode` is that of the tables of relative positions.
        """
        owner, _, last = name.rpartition(".")
        if last == TABLE:
            return fit_table(tensor, self.model.get_submodule(owner), self.model.get_parameter(name), mode)
        if name == "patch_embed.proj.weight":
            return fit_kernel(tensor, self.model.get_parameter(name).shape)
        return None
