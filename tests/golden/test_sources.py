"""Every recipe with a published source has the values that stand there.

`sources.csv` was written down from the sources: file, commit and place of every value. A configuration is merged over
the defaults of its repository's `config.py`, as the repositories themselves do it.
"""

from __future__ import annotations

import ast
import csv
from collections.abc import Mapping
from typing import Any

import pytest

from tests.golden.recipes import FOLDER, recipes

Values = dict[str, str]

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


def sources() -> dict[str, Values]:
    found: dict[str, Values] = {}
    with (FOLDER / "sources.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["source"], {})[row["key"]] = row["value"]
    return found


SOURCES = sources()
RECIPES = {path.stem: recipe.config.model_dump(mode="json") for path, recipe in recipes().items()}


def at(recipe: Mapping[str, Any], path: str) -> Any:
    value: Any = recipe
    for name in path.split("."):
        value = value[name]
    return value


def number(text: str) -> float | None:
    return None if text == "None" else float(text)


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


def assert_has(name: str, expected: Mapping[str, Any]) -> None:
    found = {path: at(RECIPES[name], path) for path in expected}
    assert found == dict(expected)


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


def of_deit(value: Values, batch: int, base_lr: float) -> dict[str, Any]:
    """Return what DeiT's options say. The code scales the peak rate alone by the batch; ours scales all three."""
    scale = batch / int(value["images of lr"])
    return {
        "image_size_px": int(value["input-size"]),
        "drop_path_rate": float(value["drop-path"]),
        "layer_decay": 1.0,
        "ema_decay": None,
        "interpolation": value["train-interpolation"],
        "data.test_crop": float(value["eval-crop-ratio"]),
        "augmentation.auto_augment": value["aa"],
        "augmentation.erase_probability": float(value["reprob"]),
        "augmentation.erase_mode": value["remode"],
        "augmentation.mixup": float(value["mixup"]),
        "augmentation.cutmix": float(value["cutmix"]),
        "augmentation.mix_switch_probability": float(value["mixup-switch-prob"]),
        "augmentation.label_smoothing": float(value["smoothing"]),
        "training.epochs": int(value["epochs"]),
        "training.batch_size": batch,
        "training.repeats": int(value["num_repeats"]) if value["repeated-aug"] == "True" else 1,
        "training.weight_decay": float(value["weight-decay"]),
        "training.clip_grad_norm": number(value["clip-grad"]),
        "training.optimizer.kind": value["opt"],
        "training.optimizer.eps": float(value["opt-eps"]),
        "training.schedule.kind": value["sched"],
        "training.schedule.base_lr": pytest.approx(base_lr),
        "training.schedule.warmup_lr": pytest.approx(float(value["warmup-lr"]) / scale),
        "training.schedule.min_lr": pytest.approx(float(value["min-lr"]) / scale),
        "training.schedule.warmup_epochs": float(value["warmup-epochs"]),
        "training.schedule.per_images": int(value["images of lr"]),
        "training.schedule.after_warmup": False,
    }


def test_deits_recipe() -> None:
    value = SOURCES["deit"]
    batch = int(value["batch-size"]) * int(value["GPUs"])
    assert_has("imagenet1k_vit_base_224_deit", of_deit(value, batch, float(value["lr"])))


def test_deits_recipe_on_inaturalist() -> None:
    """What the issue does not name is the code's default; its rate is the peak, after scaling to its batch."""
    value = SOURCES["deit"] | SOURCES["deit_inat18"]
    batch, peak = int(value["batch-size"]), float(value["lr"])
    assert int(value["lr is of batch"]) == batch
    assert_has("inaturalist2018_vit_base_224_deit", of_deit(value, batch, peak * int(value["images of lr"]) / batch))


def test_swins_recipe_on_inaturalist_is_simmims_with_deits_length_and_erasing() -> None:
    name, simmim = "inaturalist2018_swin_base_by_analogy", RECIPES["imagenet1k_swin_base_224_after_800ep"]
    deit = SOURCES["deit_inat18"]
    expected = {
        "training": simmim["training"] | {"epochs": int(deit["epochs"])},
        "augmentation": simmim["augmentation"] | {"erase_probability": float(deit["reprob"])},
    }
    assert_has(name, {**simmim, **expected})


def test_adapters_are_simmims_fine_tuning_with_loras_rank() -> None:
    simmim, lora = RECIPES["imagenet1k_vit_base_224_after_800ep"], SOURCES["lora"]
    adapters = {"rank": int(lora["lora_r"]), "alpha": float(lora["lora_alpha"]), "targets": "attention"}
    expected = simmim | {"adapters": adapters, "layer_decay": 1.0, "bias_per_block": False}
    assert_has("imagenet1k_vit_base_224_adapters_by_analogy", expected)


@pytest.mark.parametrize(("size", "sizes"), [("base", "B"), ("large", "L/H")])
def test_maes_recipe_from_scratch(size: str, sizes: str) -> None:
    """What table 11 does not name is off, as A.2 says."""
    value = SOURCES["mae"]
    magnitude, std = ast.literal_eval(value["augmentation"].removeprefix("RandAug "))
    expected = {
        "drop_path_rate": float(value[f"drop path ({sizes})"]),
        "layer_decay": 1.0,
        "ema_decay": float(value["exp. moving average (EMA)"]),
        "augmentation.auto_augment": f"rand-m{magnitude}-mstd{std}-inc1",
        "augmentation.erase_probability": 0.0,
        "augmentation.mixup": float(value["mixup"]),
        "augmentation.cutmix": float(value["cutmix"]),
        "augmentation.label_smoothing": float(value["label smoothing"]),
        "training.epochs": int(value[f"training epochs ({sizes})"]),
        "training.batch_size": int(value["batch size"]),
        "training.weight_decay": float(value["weight decay"]),
        "training.clip_grad_norm": None,
        "training.optimizer.kind": value["optimizer"].lower(),
        "training.optimizer.betas": list(ast.literal_eval(value["optimizer momentum"])),
        "training.schedule.kind": value["learning rate schedule"].split()[0],
        "training.schedule.base_lr": float(value["base learning rate"]),
        "training.schedule.per_images": 256,
        "training.schedule.warmup_epochs": float(value["warmup epochs"]),
    }
    assert_has(f"imagenet1k_vit_{size}_224_mae_supervised", expected)


def test_swinv2_gs_recipe() -> None:
    value = SOURCES["swinv2_g"]
    expected = {
        "image_size_px": int(value["input image size"]),
        "drop_path_rate": float(value["stochastic depth"]),
        "training.epochs": int(value["epochs"]),
        "training.batch_size": int(value["batch size"]),
        "training.weight_decay": float(value["weight decay"]),
        "training.clip_grad_norm": float(value["gradient clipping, max norm"]),
        "training.optimizer.kind": value["optimizer"].lower(),
        "training.schedule.kind": value["learning rate scheduler"].split()[0],
        "training.schedule.base_lr": float(value["initial learning rate"]),
        "training.schedule.per_images": int(value["batch size"]),
        "training.schedule.warmup_epochs": float(value["warm-up epochs"]),
    }
    assert_has("imagenet1k_swinv2_g_640", expected)


def test_torchvisions_recipe() -> None:
    value = SOURCES["torchvision"]
    step, epochs = int(value["lr-step-size"]), int(value["epochs"])
    expected = {
        "image_size_px": int(value["train-crop-size"]),
        "interpolation": value["interpolation"],
        "decay_everything": value["norm-weight-decay"] == "None",
        "data.test_crop": int(value["val-crop-size"]) / int(value["val-resize-size"]),
        "augmentation.auto_augment": ast.literal_eval(value["auto-augment"]),
        "augmentation.color_jitter": 0.0,
        "augmentation.erase_probability": float(value["random-erase"]),
        "augmentation.mixup": float(value["mixup-alpha"]),
        "augmentation.cutmix": float(value["cutmix-alpha"]),
        "augmentation.label_smoothing": float(value["label-smoothing"]),
        "training.epochs": epochs,
        "training.batch_size": int(value["batch-size"]) * int(value["GPUs"]),
        "training.weight_decay": float(value["wd"]),
        "training.clip_grad_norm": number(value["clip-grad-norm"]),
        "training.optimizer.kind": value["opt"],
        "training.optimizer.momentum": float(value["momentum"]),
        "training.optimizer.nesterov": False,
        "training.schedule.lr": float(value["lr"]),
        "training.schedule.per_images": None,
        "training.schedule.factor": float(value["lr-gamma"]),
        "training.schedule.milestone_epochs": [float(epoch) for epoch in range(step, epochs, step)],
        "training.schedule.warmup_steps": int(value["lr-warmup-epochs"]),
    }
    assert_has("imagenet1k_resnet50_224_torchvision", expected)


def test_dinov2s_grid() -> None:
    """The choice alone differs: there it is made on ImageNet's validation images, here on held-out training images."""
    value = SOURCES["dinov2"]
    with_mean = {False: "class-token", True: "class-token-and-mean"}
    expected = {
        "image_size_px": int(value["train crop_size"]),
        "interpolation": value["interpolation"].lower(),
        "data.test_crop": int(value["crop_size"]) / int(value["resize_size"]),
        "batch_norm": False,
        "init_std": float(value["std"]),
        "grid.learning_rates": list(ast.literal_eval(value["learning_rates"])),
        "grid.last_blocks": ast.literal_eval(value["n_last_blocks_list"]),
        "grid.pooling": [with_mean[each] for each in ast.literal_eval(value["avgpool"])],
        "augmentation.horizontal_flip": float(value["hflip_prob"]),
        "augmentation.auto_augment": None,
        "augmentation.label_smoothing": 0.0,
        "training.steps": int(value["epochs"]) * int(value["epoch_length"]),
        "training.batch_size": int(value["batch_size"]) * int(value["ngpus"]),
        "training.weight_decay": float(value["weight_decay"]),
        "training.clip_grad_norm": None,
        "training.optimizer.kind": value["optimizer"].lower(),
        "training.optimizer.momentum": float(value["momentum"]),
        "training.schedule.warmup_epochs": 0.0,
        "training.schedule.min_lr": float(value["eta_min"]),
        "training.schedule.per_images": int(value["images of lr"]),
    }
    assert_has("imagenet1k_linear_grid_dinov2", expected)
