"""One encoder for every task: classification as timm computes it, feature maps for images of any height and width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.layers import PatchEmbed
from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone, check_windows
from benchmarks.errors import UserError
from transfer.checkpoint.fit.position_tables import TableMode
from transfer.encoder.dense_swin import swin_features
from transfer.encoder.dense_vit import beit_features, vit_features


class Encoder(nn.Module):
    """A timm model without its head. Dense features are computed beside its own forward, which they leave as it is.

    Swin and SwinV2 give four maps; ViT and BEiT give one, which `pyramid.py` turns into four. Maps are not normalised:
    output norms belong to the task's head. The model's last norm takes no part in them.
    """

    channels: tuple[int, ...]
    """Of each map."""
    strides: tuple[int, ...]
    """Pixels per token of each map: (4, 8, 16, 32) for Swin of patch 4, (16,) for ViT of patch 16."""

    def __init__(
        self, backbone: nn.Module, *, shift_single_windows: bool = True, table_mode: TableMode = "geometric-cubic"
    ) -> None:
        """Wrap a backbone. Raises UserError for one whose maps cannot be computed.

        Where a single window covers a side of a Swin's map, `shift_single_windows` says whether shifted blocks shift
        along it: official detection code, mmseg, detectron2 and transformers do; torchvision does not, nor does any
        classification. `table_mode` resizes BEiT's bias tables to the image's grid.
        """
        super().__init__()
        self.backbone = backbone
        self.shift_single_windows, self.table_mode = shift_single_windows, table_mode
        _dense_forward(backbone)
        info: list[dict[str, Any]] = list(_timm(backbone).feature_info)
        levels = info if isinstance(backbone, SwinTransformer | SwinTransformerV2) else info[-1:]
        self.channels = tuple(int(level["num_chs"]) for level in levels)
        self.strides = tuple(int(level["reduction"]) for level in levels)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return timm's own features of images [B, C, H, W] of the size the backbone was built for.

        Raises UserError for a Swin whose maps at that size are no multiples of its windows: timm is wrong there.
        """
        check_windows(self.backbone)
        features: Tensor = _timm(self.backbone).forward_features(images)
        return features

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return maps [B, D, ceil(H/s), ceil(W/s)] of images [B, C, H, W] of any size, one for each stride s."""
        return _dense_forward(self.backbone)(self, images)

    features = forward


def build_encoder(
    architecture: Architecture,
    image_size_px: int | None = None,
    *,
    drop_path_rate: float = 0.0,
    shift_single_windows: bool = True,
    table_mode: TableMode = "geometric-cubic",
) -> Encoder:
    """Build an encoder with random weights; the last two arguments are Encoder's.

    `image_size_px` is the size its weights were trained at (None: the architecture's own), which sets the shapes of
    position embeddings and of BEiT's tables. Raises UserError for a name or arguments that timm refuses.
    """
    backbone = build_backbone(architecture, image_size_px, drop_path_rate=drop_path_rate, whole_windows=False)
    return Encoder(backbone, shift_single_windows=shift_single_windows, table_mode=table_mode)


Forward = Callable[[Encoder, Tensor], list[Tensor]]


def _dense_forward(backbone: nn.Module) -> Forward:
    """Return the function from images to maps for this kind of backbone. Raises UserError where there is none."""
    for kind, forward in _FORWARDS.items():
        if isinstance(backbone, kind) and isinstance(backbone.patch_embed, PatchEmbed):  # hybrids have a CNN for a stem
            return forward
    rule = "a Swin, SwinV2, ViT or BEiT with plain patches"
    remedy = "another encoder; this one can only be used for classification"
    raise UserError.about("encoder", type(backbone).__name__, rule, remedy)


_FORWARDS: dict[type[nn.Module], Forward] = {
    SwinTransformer: lambda encoder, images: swin_features(encoder.backbone, images, encoder.shift_single_windows),
    SwinTransformerV2: lambda encoder, images: swin_features(encoder.backbone, images, encoder.shift_single_windows),
    Beit: lambda encoder, images: beit_features(encoder.backbone, images, encoder.table_mode),
    VisionTransformer: lambda encoder, images: vit_features(encoder.backbone, images),
}


def _timm(backbone: nn.Module) -> Any:
    """Return the backbone as what timm's models share beyond nn.Module."""
    return backbone
