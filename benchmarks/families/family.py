"""What an encoder family is: all that differs between kinds of timm models, in one class for each kind.

`Family` itself does whatever timm's own interface does for all of its models. A family that needs more, or something
else, is a subclass in a file of its own and one line in `table.py`. No other code asks of what kind a model is.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from benchmarks.families import timm_model
from benchmarks.families.parts import BLOCKS, LAYERS, MAPS, MASKING, PYRAMID, TOKENS, Capability, Layers, Level, Weights
from benchmarks.families.resize import TABLE, Change, fit_kernel, fit_table
from benchmarks.families.sizes import MapSizes, ModelSizes, find_sizes, remembered, skeleton, used_by
from benchmarks.families.windows.position_tables import TableMode


class Family(ModelSizes):
    """One timm model, seen as one of its family; the class itself stands for models of no family in the table.

    It does what timm's own interface does for all of its models. What a model cannot do is refused with a UserError,
    by `require` before there is anything to call a method with. B, C, H and W are an image batch's sizes, D is the
    width of tokens, N their number.
    """

    name: ClassVar[str] = ""
    """The family's name in messages."""
    kind: ClassVar[type[nn.Module]] = nn.Module
    """The class of its models in timm."""
    registered_in: ClassVar[tuple[str, ...]] = ()
    """Modules of timm.models whose registered names are models of this family."""
    mask_token_decays: ClassVar[bool] = False
    """Whether weight decay applies to the mask token. Source: `no_weight_decay` of microsoft/SimMIM's models."""
    attends_within_shifts: ClassVar[bool] = False
    """Whether the faster step gives tokens that a shift brought together the weight 0, where timm's is nearly 0."""
    video_form: ClassVar[str | None] = None
    """The recipe's `temporal` by which its weights get an axis of time; None where there is none."""
    blocks_give_tokens: ClassVar[bool] = True
    """Whether blocks that are known are known to give tokens; those of a person's own code may give anything."""
    mean_is_own: ClassVar[bool] = False
    """Whether, without a class token, the mean of the patches through `norm_after_pooling` is what its head takes."""
    norm_after_mean: ClassVar[Mapping[str, bool | str]] = {}
    """timm's arguments with which a model's head takes the patches' mean through a norm; empty where there are none."""
    learns: bool = True
    """Whether features depend on the parameters in a way that a training can follow."""
    after_maps: ClassVar[tuple[str, ...]] = ()
    """The beginnings of the names of all parameters that no map depends on; empty where they are to be found out."""
    dense_arguments: ClassVar[Mapping[str, bool]] = {}
    """timm's arguments with which a model is built for maps of images of any size; they change no weights."""

    def __init__(self, model: nn.Module, families: Sequence[type[Family]] = ()) -> None:
        """`families` are those of the table, which refusals name."""
        super().__init__(model)
        self._families = families

    # Which capabilities there are.

    def can(self, capability: Capability) -> bool:
        """Tell whether this model has a capability: maps where it has levels, others by its family's way or timm's."""
        if capability is MAPS:
            return bool(self.levels())
        by_timm = capability is LAYERS and hasattr(self.model, "group_matcher")
        by_blocks = capability in (TOKENS, BLOCKS) and bool(timm_model.blocks(self.model))
        return type(self).overrides(capability) or by_timm or by_blocks

    @classmethod
    def overrides(cls, capability: Capability) -> bool:
        """Tell whether the family has a way of its own."""
        return getattr(cls, capability.method) is not getattr(Family, capability.method)

    def require(self, capability: Capability, shown: str | None = None) -> None:
        """Raise UserError where the model lacks a capability; `shown` is what a person called the model."""
        if not self.can(capability):
            raise self.refusal(capability, shown)

    def refusal(self, capability: Capability, shown: str | None = None) -> UserError:
        """Return the error that refuses a capability."""
        able = ", ".join(family.name for family in self._families if family.overrides(capability))
        strides = ", ".join(map(str, timm_model.strides(self.model))) or "none that are known"
        rule = capability.rule.format(families=able, strides=strides)
        return UserError.about(capability.field, shown or type(self.model).__name__, rule, capability.remedy)

    # Parts.

    @classmethod
    def with_own_tables(cls, architecture: Architecture) -> Architecture:
        """Return the architecture whose blocks each have a position table; one that shares none stays as it is."""
        return architecture

    def blocks(self) -> list[nn.Module]:
        """Return the modules that make up most of the encoder, in order, through all stages.

        Each is computed again, compiled, or divided between processes as one. Raises UserError where they are unknown.
        """
        found = timm_model.blocks(self.model)
        if not found:
            raise self.refusal(BLOCKS)
        return found

    def last_norms(self) -> list[nn.Module]:
        """Return the norms after the last block, before or after pooling, which maps do not pass through."""
        norms = (getattr(self.model, name, None) for name in ("norm", "fc_norm"))
        return [norm for norm in norms if norm is not None]

    def layers(self) -> Layers:
        """Return the layers of the model's parameters: timm's own groups. Raises UserError where it has none."""
        if not hasattr(self.model, "group_matcher"):
            raise self.refusal(LAYERS)
        return Layers(*timm_model.layers(self.model))

    def head_names(self) -> frozenset[str]:
        """Return the names of the classifier's tensors, which are no part of the encoder."""
        return timm_model.head_names(self.model)

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

    @property
    def stride_px(self) -> int:
        """The stride of the encoder's own last feature, which is one of the levels for most."""
        return timm_model.features(self.model)[-1][1]

    def levels(self) -> list[Level]:
        """Return the maps that the dense tasks take: those of strides 4, 8, 16 and 32, or else the last of stride 16.

        The last map of each stride counts. There are none where the model has neither.
        """
        return [level for _, level in self._indexed_levels()]

    def _indexed_levels(self) -> list[tuple[int, Level]]:
        """Return the levels with their positions among the features that timm lists."""
        listed = timm_model.features(self.model)
        at = {stride: index for index, (_, stride) in enumerate(listed)}
        whole = all(stride in at for stride in PYRAMID)
        wanted = PYRAMID if whole else PYRAMID[2:3] if listed and listed[-1][1] == PYRAMID[2] else ()
        return [(at[stride], Level(listed[at[stride]][0], stride)) for stride in wanted]

    def map_sizes(self) -> MapSizes:
        """Return the images of which `maps` makes maps. Raises UserError where there are none."""
        strides = [level.stride_px for level in self.levels()]

        def find() -> MapSizes | None:
            return find_sizes(self._hollow()._plain_maps, strides, self.in_chans, self.built_px)

        found = remembered(self.model, "map_sizes", find) if strides else None
        if found is None:
            raise self.refusal(MAPS)
        return found

    def beside_maps(self) -> frozenset[str]:
        """Return the names of the parameters that no map depends on: the last norm, an attention pool, ..."""
        if self.after_maps:
            return frozenset(name for name, _ in self.model.named_parameters() if name.startswith(self.after_maps))
        return self.found_beside_maps()

    def found_beside_maps(self) -> frozenset[str]:
        """Return the same names, found by the gradients of maps that are computed by shapes alone."""
        sizes = self.map_sizes()
        side = sizes.only_px or -(-2 * PYRAMID[-1] // sizes.step_px) * sizes.step_px

        def find() -> frozenset[str]:
            hollow = self._hollow()
            return used_by(hollow.model, hollow._plain_maps, self.in_chans, side)

        used = remembered(self.model, "used by maps", find)
        return frozenset(name for name, _ in self.model.named_parameters() if name not in used)

    def _hollow(self) -> Family:
        """Return the family of a model like this one without values."""
        return type(self)(skeleton(self.model), self._families)

    def _plain_maps(self, images: Tensor) -> list[Tensor]:
        return self.maps(images, shift_single_windows=True, table_mode="geometric-cubic")

    def maps(self, images: Tensor, *, shift_single_windows: bool, table_mode: TableMode) -> list[Tensor]:
        """Return maps [B, D, ceil(H/s), ceil(W/s)] of images [B, C, H, W], one for each of `levels`.

        The images are of a size that `map_sizes` takes. No norm follows the last block. `shift_single_windows`: whether
        shifted blocks shift along a side that one window covers; `table_mode`: how tables of relative positions are
        resized to the image's grid.
        """
        indices = [index for index, _ in self._indexed_levels()]
        if not indices:
            raise self.refusal(MAPS)
        found: list[Tensor] = self.model.forward_intermediates(images, indices=indices, intermediates_only=True)
        return found

    # Features of a frozen encoder.

    def own_feature(self, output: Tensor) -> Tensor:
        """Return what the model's own head takes [B, `own_width`], given the output of `forward_features`."""
        return timm_model.as_vector(self.model.forward_head(output, pre_logits=True))

    @property
    def own_width(self) -> int:
        """The width of what the model's own head takes."""
        return int(getattr(self.model, "head_hidden_size", None) or self.model.num_features)

    @property
    def pools_by_attention(self) -> bool:
        """Whether the model's own head takes what an attention pool makes of the tokens."""
        return timm_model.pools_by_attention(self.model)

    def tokens(self, output: Any) -> Tensor:
        """Return the tokens [B, N, D] of a block's output, or of that of `forward_features`; class token first."""
        found = timm_model.tokens(self.model, output)
        if found is None:
            raise self.refusal(TOKENS)
        return found

    @property
    def prefix_tokens(self) -> int:
        """How many of `tokens` come before those of patches: the class token and registers."""
        return int(getattr(self.model, "num_prefix_tokens", 0))

    @property
    def has_class_token(self) -> bool:
        """Whether the first token is a class token."""
        return getattr(self.model, "cls_token", None) is not None

    @property
    def takes_class_token(self) -> bool:
        """Whether the model's own head takes the class token, where there is one, and not the mean of the patches."""
        return str(getattr(self.model, "global_pool", "token")) not in ("avg", "avgmax", "max")

    @property
    def norm_after_pooling(self) -> nn.Module | None:
        """The norm of the pooled output, where the model has it after pooling rather than before."""
        norm: nn.Module | None = getattr(self.model, "fc_norm", None)
        return norm

    # Files of weights.

    def properties(self) -> dict[str, object]:
        """Return what makes two encoders differ and no tensor's name or shape shows, under timm's names for it."""
        return {"family": self.name or type(self.model).__name__}

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
        if name == self._first_kernel:
            return fit_kernel(tensor, self.model.get_parameter(name).shape)
        found = timm_model.resized(self.model, name, tensor)
        return None if found is None else Change(found, "timm's own resize")

    @property
    def _first_kernel(self) -> str:
        """The name of the kernel that sees the image."""
        first = self.model.pretrained_cfg.get("first_conv")
        return f"{first}.weight" if isinstance(first, str) else "patch_embed.proj.weight"
