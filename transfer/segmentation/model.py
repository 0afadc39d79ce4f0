"""mmsegmentation's EncoderDecoder on one of our encoders."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks import ranks
from benchmarks.encoders import Normalisation
from benchmarks.errors import UserError
from benchmarks.runs.record import LoadReport
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.encoder.frozen_maps import FrozenMaps
from transfer.encoder.head_maps import HeadMaps
from transfer.encoder.model import LoadedMaps, build_frozen_maps, build_head_maps
from transfer.segmentation.plans.linear import linear
from transfer.segmentation.plans.plan import Plan
from transfer.segmentation.plans.upernet import upernet
from transfer.segmentation.plans.user_plan import plan_of_config
from transfer.segmentation.recipe import LinearSegmentationRecipe, SegmentationRecipe, TrainedSegmentationRecipe
from transfer.sources.source import Source


@contextlib.contextmanager
def mmseg_scope() -> Iterator[None]:
    """Use mmcv, mmengine and mmseg for the block: names are looked up in mmseg, and their warnings are silenced."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):  # mmseg prints what it could not import
        warnings.simplefilter("ignore")
        from mmengine.logging import MMLogger
        from mmengine.registry import DefaultScope

        MMLogger.get_current_instance().setLevel(logging.WARNING)  # else every initialised tensor is listed
        with DefaultScope.overwrite_default_scope("mmseg"):
            yield


@dataclass(frozen=True)
class Segmenter:
    """A model, how its encoder was built and loaded, and the plan it was built by."""

    model: Any
    """mmseg's EncoderDecoder."""
    adapted: EncoderPlan
    """The architecture that the recipe made of the source's encoder, and the normalisation of its images."""
    plan: Plan
    load_report: LoadReport

    @property
    def encoder(self) -> nn.Module:
        """The timm model inside."""
        return timm_model(self.model)


def timm_model(model: Any) -> nn.Module:
    """Return the timm model inside a segmentation model."""
    found: nn.Module = model.backbone.encoder.backbone
    return found


def build_segmenter(recipe: TrainedSegmentationRecipe, source: Source, num_classes: int, seed: int) -> Segmenter:
    """Return the encoder with fresh heads, and the proof of what was loaded into it.

    Raises UserError where the recipe's config cannot be built, or has another number of classes.
    """
    loaded = encoder_of(recipe, source, seed)
    plan = _plan(recipe, loaded.maps.channels, num_classes)
    model = build_model(plan, loaded.maps, loaded.plan.normalisation)
    if model.out_channels != num_classes:
        rule = f"{num_classes} output channels, one per class"
        raise UserError.about("model.decode_head", model.out_channels, rule, "correct the head in the config")
    with mmseg_scope():
        model.init_weights()
    report = loaded.report
    if source.read is not None:
        report = report.model_copy(update={"notes": (*report.notes, *plan.notes)})
    return Segmenter(model, loaded.plan, plan, report)


def _plan(recipe: TrainedSegmentationRecipe, channels: tuple[int, ...], num_classes: int) -> Plan:
    """Return what mmseg is asked to build on maps of these channels."""
    if isinstance(recipe, LinearSegmentationRecipe):
        with mmseg_scope():
            return linear(recipe, channels, num_classes)
    assert isinstance(recipe, SegmentationRecipe)
    plan_of = upernet if recipe.mmseg_config is None else plan_of_config
    return plan_of(recipe, channels, num_classes)


def encoder_of(recipe: TrainedSegmentationRecipe, source: Source, seed: int) -> LoadedMaps[HeadMaps | FrozenMaps]:
    """Return the maps that the heads take. Raises UserError for an encoder that does not give them.

    Windows are crops of image_size_px; whole images are as large as they are resized to.
    """
    whole = recipe.testing.mode == "whole" and getattr(recipe, "mmseg_config", None) is None
    longest_px = max(recipe.image_size_px, *recipe.resize_to_px) if whole else recipe.image_size_px
    if isinstance(recipe, LinearSegmentationRecipe):
        return build_frozen_maps(recipe, source, seed, longest_px=longest_px, last=recipe.last_maps)
    return build_head_maps(recipe, source, seed, longest_px=longest_px)


def build_model(plan: Plan, backbone: nn.Module, normalisation: Normalisation) -> Any:
    """Build mmseg's model around a backbone. Raises UserError where mmseg refuses what a config says.

    The backbone needs no entry in mmseg's registry: the dict itself holds a function that returns it.
    """
    return built_segmentor(
        {
            **plan.model,
            "backbone": {"type": lambda: backbone},
            "data_preprocessor": {
                "type": "SegDataPreProcessor",
                "mean": [255 * each for each in normalisation.mean],
                "std": [255 * each for each in normalisation.std],
                "bgr_to_rgb": True,
                "pad_val": 0,
                **plan.preprocessor,
            },
        }
    )


def built_segmentor(model: Mapping[str, Any]) -> Any:
    """Build what mmseg's registry makes of a dict, with logits in fp32. Raises UserError where mmseg refuses it."""
    with mmseg_scope():
        import mmseg.models  # noqa: F401 (fills mmseg's registry)
        from mmengine.config import ConfigDict
        from mmseg.registry import MODELS

        try:
            built = MODELS.build(ConfigDict(model))
        except (KeyError, TypeError, ValueError, AssertionError, AttributeError, IndexError, RuntimeError) as error:
            rule = f"what mmseg can build ({type(error).__name__}: {error})"
            raise UserError.about("model", model.get("type"), rule, "correct the config") from error
    _logits_in_fp32(built)
    return built


def _logits_in_fp32(model: Any) -> None:
    """Make heads return fp32 logits under autocast: at bf16's 8 bits, enlarged logits of two classes often tie."""
    for name, module in model.named_modules():
        if name.endswith("conv_seg"):
            module.register_forward_hook(lambda _module, _arguments, logits: logits.float())


def fit_batch_norms(model: Any, device: torch.device, images_at_once: int) -> Any:
    """Return the model with SyncBN where several GPUs train it, BN elsewhere.

    Raises UserError where BN would see one image: UPerNet pools to a single pixel.
    """
    if ranks.world_size() > 1 and device.type == "cuda":
        return model
    from mmengine.model import revert_sync_batchnorm

    model = revert_sync_batchnorm(model)
    # mmengine's reverted class has no base in common with BatchNorm2d but this one.
    has_norms = any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in model.modules())
    if images_at_once == 1 and has_norms:
        rule, remedy = "at least 2 images per process and pass with batch normalisation", "a larger training.batch_size"
        raise UserError.about("training.batch_size", "1 image at once", rule, remedy)
    return model
