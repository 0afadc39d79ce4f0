"""Recipes have the values of the tables in papers, and of the options of programs, by which they were published."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from benchmarks.catalogue.suites import ALEXNET_ERROR
from tests.golden.sources import RECIPES, SOURCES, Values, assert_has


def number(text: str) -> float | None:
    return None if text == "None" else float(text)


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


def of_finetuning(value: Values, batch: int) -> dict[str, Any]:
    """Return what the options of MAE's and of BEiT's fine-tuning say, which have the same names for most.

    Their warm-up begins at 0 and their cosine after it; their last rate is not scaled with the batch.
    """
    return {
        "image_size_px": int(value["input_size"]),
        "drop_path_rate": float(value["drop_path"]),
        "layer_decay": float(value["layer_decay"]),
        "norm_after_pooling": True,
        "augmentation.auto_augment": value["aa"],
        "augmentation.erase_probability": float(value["reprob"]),
        "augmentation.erase_mode": value["remode"],
        "augmentation.mixup": float(value["mixup"]),
        "augmentation.cutmix": float(value["cutmix"]),
        "augmentation.mix_switch_probability": float(value["mixup_switch_prob"]),
        "augmentation.label_smoothing": float(value["smoothing"]),
        "training.epochs": int(value["epochs"]),
        "training.batch_size": batch,
        "training.weight_decay": float(value["weight_decay"]),
        "training.clip_grad_norm": number(value["clip_grad"]),
        "training.optimizer.kind": value["opt"],
        "training.optimizer.betas": [0.9, 0.999],
        "training.optimizer.eps": 1e-8,
        "training.schedule.kind": "cosine",
        "training.schedule.warmup_epochs": float(value["warmup_epochs"]),
        "training.schedule.warmup_lr": 0.0,
        "training.schedule.after_warmup": True,
    }


@pytest.mark.parametrize("size", ["base", "large", "huge"])
def test_maes_own_fine_tuning(size: str) -> None:
    value = SOURCES["mae_finetune"] | SOURCES[f"mae_finetune_{size}"]
    batch, per = int(value["batch_size"]) * int(value["nodes"]) * int(value["GPUs a node"]), int(value["images of blr"])
    assert value["global_pool"] == "True"
    expected = of_finetuning(value, batch) | {
        "augmentation.color_jitter": 0.0,
        "head_init_std": float(value["std of the head"]),
        "training.schedule.base_lr": float(value["blr"]),
        "training.schedule.min_lr": pytest.approx(float(value["min_lr"]) * per / batch),
        "training.schedule.per_images": per,
    }
    assert value["color_jitter"] == "None"
    assert_has(f"imagenet1k_vit_{size}_224_mae", expected)


@pytest.mark.parametrize("size", ["base", "large"])
def test_beits_own_fine_tuning(size: str) -> None:
    """The classifier's weights are drawn, and then multiplied by init_scale."""
    value = SOURCES["beit_finetune"] | SOURCES[f"beit_finetune_{size}"]
    batch = int(value["batch_size"]) * int(value["update_freq"]) * int(value["nproc_per_node"])
    assert value["use_mean_pooling"] == "True"
    expected = of_finetuning(value, batch) | {
        "interpolation": value["train_interpolation"],
        "data.test_crop": float(value["crop_pct below 384"]),
        "augmentation.color_jitter": float(value["color_jitter"]),
        "bias_per_block": value["rel_pos_bias"] == "True",
        "head_init_std": pytest.approx(float(value["init_scale"]) * float(value["std of the head"])),
        "training.schedule.base_lr": float(value["lr"]),
        "training.schedule.min_lr": float(value["min_lr"]),
        "training.schedule.per_images": batch,
    }
    assert_has(f"imagenet1k_vit_{size}_224_beit", expected)


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


def of_jepa(value: Values) -> dict[str, Any]:
    """Return what V-JEPA's options say of an attentive probe's training."""
    processes = 8 * 8
    batch = processes * int(value["batch_size"])
    assert SOURCES["jepa"]["processes"] == "8 x 8"
    return {
        "image_size_px": int(value["resolution"]),
        "pooler": "v-jepa",
        "depth": 1,
        "heads": None,
        "mlp_ratio": float(SOURCES["jepa"]["mlp_ratio"]),
        "init_std": float(SOURCES["jepa"]["init_std"]),
        "training.epochs": int(value["num_epochs"]),
        "training.batch_size": batch,
        "training.weight_decay": float(value["weight_decay"]),
        "training.final_weight_decay": float(value["final_wd"]),
        "training.schedules_ahead": bool(int(SOURCES["jepa"]["steps ahead"])),
        "training.clip_grad_norm": float(value["max norm"]),
        "training.optimizer.kind": value["optimizer"].lower(),
        "training.optimizer.betas": [0.9, 0.999],
        "training.schedule.kind": "cosine",
        "training.schedule.base_lr": float(value["lr"]),
        "training.schedule.warmup_lr": float(value["start_lr"]),
        "training.schedule.min_lr": float(value["final_lr"]),
        "training.schedule.warmup_epochs": float(value["warmup"]),
        "training.schedule.per_images": batch,
    }


def test_v_jepas_attentive_probe_of_images() -> None:
    """Test images have torchvision's default interpolation there, which is bilinear."""
    value = SOURCES["jepa"]
    larger, side = value["test size"].split("/")
    expected = of_jepa(value) | {
        "interpolation": value["interpolation"],
        "data.test_interpolation": "bilinear",
        "data.test_crop": int(side) / int(larger),
        "augmentation.auto_augment": value["auto_augment"],
        "augmentation.erase_probability": float(value["re_prob"]),
        "augmentation.erase_mode": value["re_mode"],
        "augmentation.mixup": 0.0,
        "augmentation.cutmix": 0.0,
        "augmentation.label_smoothing": 0.0,
    }
    assert_has("imagenet1k_attentive_vjepa", expected)


@pytest.mark.parametrize(("name", "source"), [("kinetics400", "jepa_k400"), ("ssv2", "jepa_ssv2")])
def test_v_jepas_attentive_probe_of_videos(name: str, source: str) -> None:
    value = SOURCES["jepa_video"] | SOURCES[source]
    lowest, highest = value["random_resize_aspect_ratio"].strip("()").split(", ")
    expected = of_jepa(value) | {
        "sampling.frames": int(value["frames_per_clip"]),
        "sampling.stride": int(value["frame_step"]),
        "sampling.segments": int(value["num_segments"]),
        "sampling.test_crops": int(value["num_views_per_segment"]),
        "augmentation.crop.scale": list(ast.literal_eval(value["random_resize_scale"])),
        "augmentation.crop.ratio": pytest.approx([float(lowest), int(highest[0]) / int(highest[2])], abs=1e-6),
    }
    assert value["random_horizontal_flip"] == "False"
    assert RECIPES[f"{name}_attentive_vjepa"]["augmentation"]["horizontal_flip"] == 0.0
    assert_has(f"{name}_attentive_vjepa", expected)


@pytest.mark.parametrize(("name", "source"), [("kinetics400", "vjepa2_k400"), ("ssv2", "vjepa2_ssv2")])
def test_v_jepa_2s_grid_of_attentive_probes(name: str, source: str) -> None:
    value, clips = SOURCES[source], SOURCES["vjepa2_video"]
    lowest, highest = clips["random_resize_aspect_ratio"].strip("()").split(", ")
    assert (value["processes"], clips["parameters that decay"]) == ("8 x 8", "all")
    batch = 8 * 8 * int(value["batch_size"])
    expected = {
        "image_size_px": int(value["resolution"]),
        "pooler": "v-jepa",
        "depth": int(value["num_probe_blocks"]),
        "grid.learning_rates": [float(each) for each in value["lr"].split(", ")],
        "grid.weight_decays": [float(each) for each in value["weight_decay"].split(", ")],
        "grid.decay_everything": True,
        "training.epochs": int(value["num_epochs"]),
        "training.batch_size": batch,
        "training.final_weight_decay": None,
        "training.schedules_ahead": True,
        "training.clip_grad_norm": None,
        "training.optimizer.kind": clips["optimizer"].lower(),
        "training.schedule.kind": "cosine",
        "training.schedule.min_lr": float(value["final_lr"]),
        "training.schedule.warmup_epochs": float(value["warmup"]),
        "training.schedule.per_images": batch,
        "sampling.frames": int(value["frames_per_clip"]),
        "sampling.stride": int(value["frame_step"]),
        "sampling.segments": int(value["num_segments"]),
        "sampling.test_crops": int(value["num_views_per_segment"]),
        "augmentation.crop.scale": list(ast.literal_eval(clips["random_resize_scale"])),
        "augmentation.crop.ratio": pytest.approx([float(lowest), int(highest[0]) / int(highest[2])], abs=1e-6),
        "augmentation.horizontal_flip": float(clips["random_horizontal_flip"] == "True"),
    }
    assert_has(f"{name}_attentive_vjepa2", expected)


def test_dinov2s_logistic_regression() -> None:
    value = SOURCES["dinov2_logistic"]
    lowest, highest, count = ast.literal_eval(value["C_POWER_RANGE"])
    expected = {
        "image_size_px": int(value["resize_size"]),
        "data.test_crop": 1.0,  # what is resized to 224 px is cropped to 224 px
        "grid.lowest": pytest.approx(10**lowest),
        "grid.highest": pytest.approx(10**highest),
        "grid.count": count,
        "grid.held_out.fraction": 1 / int(value["held out"].split("/")[1]),
        "max_iterations": int(value["max_iter"]),
        "tolerance": float(value["tol"]),
    }
    assert_has("imagenet1k_logistic_dinov2", expected)


def test_dinos_neighbours() -> None:
    value = SOURCES["dino_knn"]
    recipe = RECIPES["imagenet1k_knn"]
    assert sorted([recipe["k"], *recipe["other_k"]]) == ast.literal_eval(value["nb_knn"])
    crop = int(value["crop"]) / int(value["resize"])
    expected = {"temperature": float(value["temperature"]), "data.test_crop": crop, "image_size_px": int(value["crop"])}
    assert_has("imagenet1k_knn", expected)


def test_msns_few_labels() -> None:
    """Its penalty is lambda / N for a mean of N losses and half the squared weights: C is 1 / lambda."""
    value = SOURCES["msn"]
    expected = {"strength": 1 / float(value["lambd"]), "image_size_px": int(value["crop"])}
    expected["data.test_crop"] = int(value["crop"]) / int(value["resize"])
    assert_has("imagenet1k_few_shot_msn", expected)


def test_alexnets_errors_on_imagenet_c() -> None:
    there = ast.literal_eval(SOURCES["imagenet_c"]["ALEXNET_ERR"])
    assert list(ALEXNET_ERROR.values()) == pytest.approx([100 * error for error in there], abs=1e-9)
