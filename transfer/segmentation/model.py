"""mmsegmentation's EncoderDecoder on one of our encoders."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks import ranks
from benchmarks.encoders import Normalisation
from benchmarks.engine.seeding import derive, seed_all
from benchmarks.errors import UserError
from benchmarks.record import LoadReport
from transfer import adapted
from transfer.encoder import build_encoder
from transfer.head_maps import HeadMaps
from transfer.loading import load_encoder, random_report
from transfer.recipe import given_by
from transfer.references import Source
from transfer.segmentation.plan import Plan, plan_of
from transfer.segmentation.recipe import SegmentationRecipe


@contextlib.contextmanager
def mmseg_scope() -> Iterator[None]:
    """Use mmcv, mmengine and mmseg for the block: names mean mmseg's, and optional parts are not warned of."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):  # mmseg prints what it could not import
        warnings.simplefilter("ignore")
        from mmengine.logging import MMLogger
        from mmengine.registry import DefaultScope

        MMLogger.get_current_instance().setLevel(logging.WARNING)  # else every initialised tensor is listed
        with DefaultScope.overwrite_default_scope("mmseg"):
            yield


@dataclass(frozen=True)
class Segmenter:
    """A model and how it is used."""

    model: Any
    """mmseg's EncoderDecoder."""
    adapted: adapted.Plan
    """What the source's encoder has become."""
    plan: Plan
    load_report: LoadReport

    @property
    def encoder(self) -> nn.Module:
        """The encoder as the timm model it is."""
        return timm_model(self.model)


def timm_model(model: Any) -> nn.Module:
    """Return the timm model inside a segmentation model."""
    found: nn.Module = model.backbone.encoder.backbone
    return found


def build_segmenter(recipe: SegmentationRecipe, source: Source, num_classes: int, seed: int) -> Segmenter:
    """Return the encoder with fresh heads, and the proof of what was loaded into it.

    The encoder is built for the training crops: position embeddings and tables are resized once, by a named mode.
    """
    fitted = adapted.plan_encoder(source, recipe)
    if fitted.architecture.in_chans != 3:
        raise UserError.about("in_chans", fitted.architecture.in_chans, "3 (images are read as RGB)", "add in_chans=3")
    seed_all(derive(seed, "weights"))
    encoder = build_encoder(
        fitted.architecture, recipe.image_size_px, drop_path_rate=recipe.drop_path_rate, table_mode=recipe.table_resize
    )
    backbone = HeadMaps(encoder)
    plan = plan_of(recipe, backbone.channels, num_classes)
    model = build_model(plan, backbone, fitted.normalisation)
    if model.out_channels != num_classes:
        rule = f"{num_classes} output channels, one per class"
        raise UserError.about("model.decode_head", model.out_channels, rule, "mend the head in the config")
    with mmseg_scope():
        model.init_weights()
    if source.read is None:
        return Segmenter(model, fitted, plan, random_report(encoder.backbone))
    report = load_encoder(encoder.backbone, source.read(), source.source_format, recipe.table_resize)
    notes = (*source.notes(given_by(recipe)), *plan.notes)
    return Segmenter(model, fitted, plan, report.model_copy(update={"notes": notes}))


def build_model(plan: Plan, backbone: HeadMaps, normalisation: Normalisation) -> Any:
    """Build mmseg's model around a backbone. Raises UserError where mmseg refuses what a config says.

    Nothing is registered: what gives the backbone stands in the dict itself.
    """
    with mmseg_scope():
        import mmseg.models  # noqa: F401 (fills mmseg's registry)
        from mmengine.config import ConfigDict
        from mmseg.registry import MODELS

        model = ConfigDict(plan.model)
        model["backbone"] = {"type": lambda: backbone}
        model["data_preprocessor"] = {
            "type": "SegDataPreProcessor",
            "mean": [255 * each for each in normalisation.mean],
            "std": [255 * each for each in normalisation.std],
            "bgr_to_rgb": True,
            "pad_val": 0,
            "seg_pad_val": 255,
            **plan.preprocessor,
        }
        try:
            built = MODELS.build(model)
        except (KeyError, TypeError, ValueError, AssertionError, AttributeError) as error:
            rule = f"what mmseg can build ({type(error).__name__}: {error})"
            raise UserError.about("model", model.get("type"), rule, "mend the config") from error
    _logits_in_fp32(built)
    return built


def _logits_in_fp32(model: Any) -> None:
    """Have heads give fp32 logits under autocast: at 8 bits, enlarged logits of two classes often tie."""
    for name, module in model.named_modules():
        if name.endswith("conv_seg"):
            module.register_forward_hook(lambda _module, _arguments, logits: logits.float())


def fit_batch_norms(model: Any, device: torch.device, images_per_process: int) -> Any:
    """Return the model with SyncBN where several GPUs train it, BN elsewhere.

    Raises UserError where BN would see one image: UPerNet pools to a single pixel.
    """
    if ranks.world_size() > 1 and device.type == "cuda":
        return model
    from mmengine.model import revert_sync_batchnorm

    model = revert_sync_batchnorm(model)
    # mmengine's reverted class has no base in common with BatchNorm2d but this one.
    has_norms = any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in model.modules())
    if images_per_process == 1 and has_norms:
        rule = "at least 2 images per process with batch normalisation"
        raise UserError.about("training.batch_size", ranks.world_size(), rule, "a larger training.batch_size")
    return model
