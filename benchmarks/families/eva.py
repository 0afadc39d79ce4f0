"""EVA, EVA-02 and what else timm builds from its class, DINOv3's ViTs among them."""

from __future__ import annotations

from timm.models import eva

from benchmarks.families.vit import Plain


class Eva(Plain):
    """A plain transformer, of which frozen features are known."""

    name = "EVA"
    kind = eva.Eva
    registered_in = ("eva",)
