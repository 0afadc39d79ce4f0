"""A pipeline whose stages really train, for seconds."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from tests.support.small import SWIN

PRETRAIN = [
    *["image_size_px=32", "masking.mask_patch_size_px=8", "drop_path_rate=0.0", "training.batch_size=16"],
    *["training.schedule.warmup_epochs=1", "training.log_every_steps=2", "training.checkpoint_every_steps=2"],
]


SMALL = [
    f"encoder={SWIN}",
    "training.optimizer={kind: sgd, momentum: 0.9}",  # magnifies no rounding, as AdamW's first steps do
]
"""With what a pretraining takes less time still."""

TRANSFER = [
    *["image_size_px=32", "drop_path_rate=0.0", "augmentation.mixup=0", "augmentation.cutmix=0"],
    *["training.epochs=2", "training.batch_size=20", "training.schedule.warmup_epochs=1"],
]


def pipeline(epochs: int, more: Sequence[str] = ()) -> str:
    return yaml.safe_dump(
        {
            "name": "trained",
            "pretrain": {
                "simmim": {
                    "recipe": "digits_simmim",
                    "data": "small_digits",
                    "overrides": [*PRETRAIN, *more, f"training.epochs={epochs}"],
                }
            },
            "encoders": {"simmim": {"from": "pretrain.simmim"}},
            "tasks": {"digits": {"recipe": "digits_finetune", "data": "small_digits", "overrides": TRANSFER}},
            "seeds": [0],
            "baseline": "simmim",
        }
    )
