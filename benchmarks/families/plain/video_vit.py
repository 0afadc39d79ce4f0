"""Plain transformers of clips, V-JEPA 2's and VideoMAE's, as models under timm's interface.

A clip is cut into tubelets of some frames and a square patch, which attend to each other all at once. timm's blocks
compute both: V-JEPA 2's with positions that are rotated into queries and keys, VideoMAE's after a fixed table of sines
is added. An image is seen as a clip of equal frames, one tubelet long.

Sources: facebookresearch/vjepa2 `src/models/vision_transformer.py` and `src/models/utils/modules.py`, MCG-NJU/VideoMAE
`modeling_finetune.py`, OpenGVLab/VideoMAEv2 (its giant).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.eva import Eva
from torch import Tensor, nn
from torch.nn.functional import pad

TUBELET = 2
"""How many frames a tubelet covers in every published model."""
SLOWEST = 10_000
"""The longest wavelength of positions, over 2 pi."""


class TubeletEmbed(nn.Module):
    """The projection of tubelets, with the sizes that timm's patch embeddings declare."""

    def __init__(self, img_size: int, patch_size: int, tubelet_size: int, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        self.img_size, self.patch_size = (img_size, img_size), (patch_size, patch_size)
        self.grid_size = self.dynamic_feat_size(self.img_size)
        self.tubelet_size = tubelet_size
        kernel = (tubelet_size, patch_size, patch_size)
        self.proj = nn.Conv3d(in_chans, embed_dim, kernel_size=kernel, stride=kernel)

    def dynamic_feat_size(self, img_size: Sequence[int]) -> tuple[int, int]:
        """Return rows and columns of the patches of an image."""
        return img_size[0] // self.patch_size[0], img_size[1] // self.patch_size[1]

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens [B, T / t, H / p, W / p, D] of clips [B, C, T, H, W] or images [B, C, H, W]."""
        if images.ndim == 4:
            images = images.unsqueeze(2).expand(-1, -1, self.tubelet_size, -1, -1)
        tokens: Tensor = self.proj(images).movedim(1, -1)
        return tokens


class VideoViT(Eva):  # type: ignore[misc]  # timm is typed in part
    """A transformer of clips without a class token: V-JEPA 2 where positions are `rotary`, else VideoMAE."""

    def __init__(
        self,
        *,
        rotary: bool,
        img_size: int = 224,
        patch_size: int = 16,
        tubelet_size: int = TUBELET,
        in_chans: int = 3,
        num_classes: int = 0,
        global_pool: str = "avg",
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        use_fc_norm: bool = False,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(
            img_size=img_size,
            patch_size=patch_size,
            in_chans=in_chans,
            num_classes=num_classes,
            global_pool=global_pool,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            attn_type="rope" if rotary else "eva",  # EVA's attention has biases of query and value, as VideoMAE's
            use_fc_norm=use_fc_norm,
            drop_path_rate=drop_path_rate,
            class_token=False,
            use_abs_pos_emb=False,
        )
        self.rotary, self.head_dim = rotary, embed_dim // num_heads
        self.patch_embed = TubeletEmbed(img_size, patch_size, tubelet_size, in_chans, embed_dim)

    def _pos_embed(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the tokens [B, N, D] of `x` [B, T, H, W, D] with their positions, and those that blocks rotate by."""
        tokens = x.flatten(1, 3)
        if self.rotary:
            return tokens, rotations(x.shape[1:4], self.head_dim, x.device)
        return tokens + sines(tokens.shape[1], tokens.shape[2], x.device).to(tokens.dtype), None


def rotations(grid: Sequence[int], width: int, device: torch.device) -> Tensor:
    """Return the sines, then the cosines [T * H * W, 2 * `width`] by which V-JEPA 2 rotates heads of this width.

    A third of a head belongs to each axis. Its frequencies are repeated one list after the other while neighbours are
    rotated in pairs: the authors' comment calls it a bug that the pretrained weights depend on. What is left over at
    the end of a head is not rotated.
    """
    half = width // 6
    rates = SLOWEST ** -(torch.arange(half, device=device) / max(half, 1))
    axes = torch.meshgrid(*(torch.arange(side, device=device) for side in grid), indexing="ij")
    places = torch.stack([axis.flatten() for axis in axes], dim=1).float()
    angles = (places.unsqueeze(2) * rates).repeat(1, 1, 2).flatten(1)
    left = (0, width - angles.shape[1])
    return torch.cat([pad(angles.sin(), left), pad(angles.cos(), left, value=1.0)], dim=1)


def sines(count: int, width: int, device: torch.device) -> Tensor:
    """Return VideoMAE's table [count, width]: sines and cosines in turn of a token's number in the clip.

    It is made again for every number of tokens, as in the authors' code.
    """
    columns = torch.arange(width, dtype=torch.float64, device=device)
    rates = SLOWEST ** -(2 * (columns // 2) / width)
    angles = torch.arange(count, dtype=torch.float64, device=device).unsqueeze(1) * rates
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos()).float()


_SMALL: Final = {"embed_dim": 384, "depth": 12, "num_heads": 6}
_BASE: Final = {"embed_dim": 768, "depth": 12, "num_heads": 12}
_LARGE: Final = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
_HUGE: Final = {"embed_dim": 1280, "depth": 32, "num_heads": 16}
_GIANT: Final = {"embed_dim": 1408, "depth": 40, "mlp_ratio": 48 / 11}
_VJEPA2: Final = {"rotary": True, "img_size": 256}
_VIDEOMAE: Final = {"rotary": False, "img_size": 224}
SIZES: Final[Mapping[str, Mapping[str, Any]]] = {
    "vjepa2_vit_large": {**_VJEPA2, **_LARGE},
    "vjepa2_vit_huge": {**_VJEPA2, **_HUGE},
    "vjepa2_vit_giant": {**_VJEPA2, **_GIANT, "num_heads": 22},
    "videomae_vit_base": {**_VIDEOMAE, **_BASE},
    "videomae_vit_small": {**_VIDEOMAE, **_SMALL},
    "videomae_vit_large": {**_VIDEOMAE, **_LARGE},
    "videomae_vit_huge": {**_VIDEOMAE, **_HUGE},
    "videomae_vit_giant": {**_VIDEOMAE, **_GIANT, "num_heads": 16, "patch_size": 14},
}
"""The published models, by the names under which timm builds them here; V-JEPA 2's are its own at torch.hub."""
default_cfgs = generate_default_cfgs(
    {
        name: {
            "input_size": (3, size["img_size"], size["img_size"]),
            "num_classes": 0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
        for name, size in SIZES.items()
    }
)


def _register(name: str) -> None:
    """Add a model to timm's registry, which all that takes the name of a model asks."""

    def build(pretrained: bool = False, **arguments: Any) -> Any:
        return build_model_with_cfg(VideoViT, name, pretrained, **{**SIZES[name], **arguments})

    build.__name__ = name
    register_model(build)


for _name in SIZES:
    _register(_name)
