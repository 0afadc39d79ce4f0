"""Records and manifests as small as they can be."""

from __future__ import annotations

from typing import Any

from benchmarks.encoders import Architecture
from benchmarks.runs.record import DataUse, Environment, RecipeUse, RunRecord

MANIFEST: dict[str, Any] = {
    "architecture": Architecture(
        name="swin_tiny_patch4_window7_224", arguments={"img_size": 64, "depths": [2, 2, 2, 2]}
    ),
    "image_size_px": 64,
    "patch_size_px": 4,
    "window_size": 4,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "method": "simmim",
    "init_stage": "self-supervised",
    "epochs": 100,
    "recipe": "digits_simmim",
    "recipe_digest": "0" * 64,
}


def record(**fields: Any) -> RunRecord:
    """Return the record of a pretraining that has just started."""
    base: dict[str, Any] = {
        "run_id": "digits_simmim-0123456789ab",
        "kind": "pretrain",
        "status": "started",
        "recipe": RecipeUse(name="digits_simmim", overrides=(), digest="0" * 64, resolved={"seed": 0}),
        "seed": 0,
        "image_size_px": 64,
        "data": DataUse(root="data", fingerprint="3 images, content 0", images=3),
        "environment": Environment(python="3.11", packages={}, git_commit=None, device="cpu", host="here"),
        "started_at": "2026-01-01T00:00:00+00:00",
    }
    return RunRecord(**(base | fields))
