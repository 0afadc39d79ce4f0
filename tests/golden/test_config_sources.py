"""Recipes have the values of the yacs configurations in which their authors published them.

A configuration is merged over the defaults of its repository's `config.py`, as the repositories themselves do it.
"""

from __future__ import annotations

import ast
from typing import Any

import pytest

from tests.golden.sources import SOURCES, Values, assert_has

FROM_SWIN = {
    **{f"imagenet1k_swin_{size}_224_supervised": f"swin_{size}" for size in ("tiny", "small", "base")},
    **{f"imagenet1k_swinv2_{size}_256_supervised": f"swinv2_{size}" for size in ("tiny", "small", "base")},
    **{f"imagenet1k_swin_{size}_224_from_22k": f"swin_{size}_22k" for size in ("tiny", "small", "base", "large")},
    **{f"imagenet1k_swinv2_{size}_256_from_22k": f"swinv2_{size}_22k" for size in ("base", "large")},
    "imagenet1k_swinv2_base_224_after_800ep": "swinv2_base_simmim_finetune",
    "simmim_swinv2_base_192_800ep": "swinv2_base_simmim_pretrain",
}
FROM_SIMMIM = {
    "imagenet1k_swin_base_192_after_100ep": "simmim_finetune_swin_base_192_100ep",
    "imagenet1k_swin_base_224": "simmim_finetune_swin_base_224_100ep",
    "imagenet1k_swin_base_224_after_800ep": "simmim_finetune_swin_base_224_800ep",
    "imagenet1k_swin_large_224_after_800ep": "simmim_finetune_swin_large_224_800ep",
    "imagenet1k_vit_base_224_after_800ep": "simmim_finetune_vit_base_224_800ep",
    "simmim_swin_base_192_100ep": "simmim_pretrain_swin_base_100ep",
    "simmim_swin_base_192_800ep": "simmim_pretrain_swin_base_800ep",
    "simmim_swin_large_192_800ep": "simmim_pretrain_swin_large_800ep",
    "simmim_vit_base_224_800ep": "simmim_pretrain_vit_base_800ep",
}
BATCHES = {"simmim": 128 * 16, "swin": 128 * 8}
"""Of the commands in README.md and get_started.md; for SimMIM's SwinV2 in the latter repository, SimMIM's own."""


def of_config(values: Values, *, pretrain: bool) -> dict[str, Any]:
    """Return what a yacs configuration says, by the names of our fields."""
    cosine = values["TRAIN.LR_SCHEDULER.NAME"] == "cosine"
    peak, warm = float(values["TRAIN.BASE_LR"]), float(values["TRAIN.WARMUP_LR"])
    window = values.get("MODEL.SWIN.WINDOW_SIZE") or values.get("MODEL.SWINV2.WINDOW_SIZE")
    found: dict[str, Any] = {
        "image_size_px": int(values["DATA.IMG_SIZE"]),
        "drop_path_rate": float(values["MODEL.DROP_PATH_RATE"]),
        "training.epochs": int(values["TRAIN.EPOCHS"]),
        "training.weight_decay": float(values["TRAIN.WEIGHT_DECAY"]),
        "training.clip_grad_norm": float(values["TRAIN.CLIP_GRAD"]),
        "training.optimizer.kind": values["TRAIN.OPTIMIZER.NAME"],
        "training.optimizer.eps": float(values["TRAIN.OPTIMIZER.EPS"]),
        "training.optimizer.betas": list(ast.literal_eval(values["TRAIN.OPTIMIZER.BETAS"])),
        "training.schedule.kind": values["TRAIN.LR_SCHEDULER.NAME"],
        "training.schedule.warmup_epochs": float(values["TRAIN.WARMUP_EPOCHS"]),
        "training.schedule.per_images": 512,
    }
    if cosine:
        prefix = values.get("TRAIN.LR_SCHEDULER.WARMUP_PREFIX") == "True"
        found |= {"training.schedule.base_lr": peak, "training.schedule.warmup_lr": warm}
        found |= {"training.schedule.min_lr": float(values["TRAIN.MIN_LR"]), "training.schedule.after_warmup": prefix}
    else:
        found |= {"training.schedule.lr": peak, "training.schedule.warmup_ratio": pytest.approx(warm / peak)}
        found["training.schedule.milestone_epochs"] = list(ast.literal_eval(values["TRAIN.LR_SCHEDULER.MULTISTEPS"]))
        found["training.schedule.factor"] = float(values["TRAIN.LR_SCHEDULER.GAMMA"])
    if pretrain:
        found["masking.mask_patch_size_px"] = int(values["DATA.MASK_PATCH_SIZE"])
        found["masking.mask_ratio"] = float(values["DATA.MASK_RATIO"])
        if patch := values.get("MODEL.SIMMIM.NORM_TARGET.PATCH_SIZE"):
            found["target.local_norm_px"] = int(patch)
        return found
    return found | {
        "window_size": int(window) if window else None,
        "layer_decay": float(values["TRAIN.LAYER_DECAY"]),
        "interpolation": values["DATA.INTERPOLATION"],
        "training.repeats": 1,
        "ema_decay": None,
        "augmentation.color_jitter": float(values["AUG.COLOR_JITTER"]),
        "augmentation.auto_augment": values["AUG.AUTO_AUGMENT"],
        "augmentation.erase_probability": float(values["AUG.REPROB"]),
        "augmentation.erase_mode": values["AUG.REMODE"],
        "augmentation.mixup": float(values["AUG.MIXUP"]),
        "augmentation.cutmix": float(values["AUG.CUTMIX"]),
        "augmentation.mix_switch_probability": float(values["AUG.MIXUP_SWITCH_PROB"]),
        "augmentation.label_smoothing": float(values["MODEL.LABEL_SMOOTHING"]),
    }


@pytest.mark.parametrize(("name", "source"), FROM_SWIN.items())
def test_recipes_of_microsofts_swin_transformer(name: str, source: str) -> None:
    expected = of_config({**SOURCES["swin"], **SOURCES[source]}, pretrain=name.startswith("simmim_"))
    simmim = "simmim" in source
    if name == "imagenet1k_swinv2_base_224_after_800ep":
        expected["training.schedule.after_warmup"] = False  # the recipe says so, and why
    assert_has(name, expected | {"training.batch_size": BATCHES["simmim" if simmim else "swin"]})


@pytest.mark.parametrize(("name", "source"), FROM_SIMMIM.items())
def test_recipes_of_microsofts_simmim(name: str, source: str) -> None:
    expected = of_config({**SOURCES["simmim"], **SOURCES[source]}, pretrain=name.startswith("simmim_"))
    assert_has(name, expected | {"training.batch_size": BATCHES["simmim"]})


def test_the_batches_of_the_commands() -> None:
    for source, batch in BATCHES.items():
        per_gpu, gpus = SOURCES[source]["batch"].split(" x ")
        assert int(per_gpu) * int(gpus) == batch
