"""One encoder for every task: classification as timm computes it, feature maps for images of any height and width."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.families.parts import MAPS
from benchmarks.families.sizes import MapSizes
from benchmarks.families.table import family_of
from benchmarks.families.windows.position_tables import TableMode


class Encoder(nn.Module):
    """A timm model without its head, which gives dense feature maps as well. timm's own forward is left as it is.

    Hierarchical models (Swin, ResNet, ConvNeXt, ...) give four maps; plain transformers give one, which `pyramid.py`
    turns into four. Maps are not normalised: output norms belong to the task's head, and the model's last norm is not
    applied.
    """

    channels: tuple[int, ...]
    """The number of channels of each map."""
    strides: tuple[int, ...]
    """Pixels per token of each map: (4, 8, 16, 32) for Swin of patch 4, (16,) for ViT of patch 16."""
    sizes: MapSizes
    """The images that the model takes; all others are padded for it, as far as they are no larger."""

    def __init__(
        self, backbone: nn.Module, *, shift_single_windows: bool = True, table_mode: TableMode = "geometric-cubic"
    ) -> None:
        """Wrap a backbone. Raises UserError for one whose maps cannot be computed.

        Where a single window covers a side of a Swin's map, `shift_single_windows` says whether shifted blocks shift
        along it: official detection code, mmseg, detectron2 and transformers do; torchvision does not, nor does any
        classification. `table_mode` is how BEiT's bias tables are resized to the image's grid.
        """
        super().__init__()
        self.backbone = backbone
        self.shift_single_windows, self.table_mode = shift_single_windows, table_mode
        family = family_of(backbone)
        family.require(MAPS)
        self.channels = tuple(level.channels for level in family.levels())
        self.strides = tuple(level.stride_px for level in family.levels())
        self.sizes = family.map_sizes()

    def forward_features(self, images: Tensor) -> Tensor:
        """Return timm's own features of images [B, C, H, W] of the size the backbone was built for.

        Raises UserError for a Swin whose maps at that size are no multiples of its windows: timm computes them wrongly.
        """
        family = family_of(self.backbone)
        family.check_windows()
        features: Tensor = family.model.forward_features(images)
        return features

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return maps [B, D, ceil(H/s), ceil(W/s)] of images [B, C, H, W], one for each stride s.

        Raises UserError for images that are larger than the only size which the model takes, if there is one.
        """
        family = family_of(self.backbone)
        height, width = images.shape[2:]
        maps = family.maps(
            self.sizes.padded(images), shift_single_windows=self.shift_single_windows, table_mode=self.table_mode
        )
        return [
            each[:, :, : -(-height // stride), : -(-width // stride)]
            for each, stride in zip(maps, self.strides, strict=True)
        ]

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
