"""BEiT, which is also the ViT of SimMIM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from timm.models import beit
from torch import Tensor, nn

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from benchmarks.families.parts import Weights
from benchmarks.families.plain.vit import ViT
from benchmarks.families.plain.vit_maps import beit_map
from benchmarks.families.resize import TABLE
from benchmarks.families.windows.position_tables import TableMode

SHARED_TABLE = f"rel_pos_bias.{TABLE}"


class Beit(ViT):
    """A ViT whose attention has biases by relative position, of each block's own table or of one that all share."""

    name = "BEiT"
    kind = beit.Beit
    registered_in = ("beit",)
    norm_after_mean: ClassVar[dict[str, bool | str]] = {"global_pool": "avg", "use_fc_norm": True}
    mask_token_decays = True

    @classmethod
    def with_own_tables(cls, architecture: Architecture) -> Architecture:
        if not architecture.arguments.get("use_shared_rel_pos_bias"):
            return architecture
        return architecture.with_arguments(use_shared_rel_pos_bias=False, use_rel_pos_bias=True)

    def mask_token_shape(self) -> tuple[int, ...]:
        """Refuse a model that was built for the mean of its tokens, and has no norm over them."""
        if isinstance(self.model.norm, nn.Identity):
            rule = "a last norm over all tokens, not over their mean"
            raise UserError.about("encoder", "global_pool: avg", rule, "set encoder.arguments.global_pool=token")
        return 1, 1, self.model.embed_dim

    def masked_features(self, images: Tensor, hidden: Tensor, token: Tensor) -> Tensor:
        """Put the token in the place of hidden patches before positions are added, as SimMIM and BEiT do."""
        model = self.model
        embedded = model.patch_embed(images)
        shown = torch.where(hidden.flatten(1).unsqueeze(-1), token.to(embedded.dtype), embedded)
        tokens = torch.cat([model.cls_token.expand(len(shown), -1, -1), shown], dim=1)
        if model.pos_embed is not None:
            tokens = tokens + model.pos_embed
        tokens = model.pos_drop(tokens)
        bias = model.rel_pos_bias() if model.rel_pos_bias is not None else None
        for block in model.blocks:
            tokens = block(tokens, shared_rel_pos_bias=bias)
        patches: Tensor = model.norm(tokens)[:, model.num_prefix_tokens :]
        return patches.transpose(1, 2).reshape(len(patches), -1, *hidden.shape[1:])

    def maps(self, images: Tensor, *, shift_single_windows: bool, table_mode: TableMode) -> list[Tensor]:
        """Return one map; position embeddings and tables follow the image's grid."""
        return [beit_map(self.model, images, table_mode)]

    def arranged(self, weights: Weights) -> tuple[Weights, Mapping[str, str]]:
        """Copy a shared table to every block, as SimMIM's fine-tuning does; or equal tables of blocks to a shared one.

        Tables of blocks that differ have no shared equivalent: they are left alone.
        """
        wanted = [name for name in self.model.state_dict() if name.endswith(TABLE)]
        found = [name for name in weights if name.endswith(TABLE)]
        to_layers = found == [SHARED_TABLE] and bool(wanted) and SHARED_TABLE not in wanted
        to_shared = wanted == [SHARED_TABLE] and bool(found) and SHARED_TABLE not in found
        if not (to_layers or to_shared) or any(not weights[name].equal(weights[found[0]]) for name in found):
            return weights, {}
        table, mode = weights[found[0]], "shared-to-layers" if to_layers else "layers-to-shared"
        others = {name: tensor for name, tensor in weights.items() if name not in found}
        return others | {name: table.clone() for name in wanted}, dict.fromkeys(wanted, mode)
