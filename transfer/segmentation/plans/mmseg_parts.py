"""Which parts of others' mmsegmentation configs are built, and with which values. This module is light to import.

mmengine's registry imports whatever module a `type` names, backbones fetch the checkpoints that `init_cfg` names, and
losses unpickle files of class weights. So only these parts are built, by these names, and nothing that has to do with
training reaches mmseg.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from benchmarks.errors import UserError, did_you_mean

_PARTS = {
    "segmentors": "EncoderDecoder CascadeEncoderDecoder",
    "backbones": """
        BEiT BiSeNetV1 BiSeNetV2 CGNet DDRNet ERFNet FastSCNN HRNet ICNet MAE MSCAN MixVisionTransformer MobileNetV2
        MobileNetV3 PCPVT PIDNet ResNeSt ResNeXt ResNet ResNetV1c ResNetV1d STDCContextPathNet STDCNet SVT
        SwinTransformer UNet VisionTransformer
    """,
    "necks": "FPN Feature2Pyramid ICNeck JPU MLANeck MultiLevelNeck",
    "heads": """
        ANNHead APCHead ASPPHead DAHead DDRHead DMHead DNLHead DPTHead DepthwiseSeparableASPPHead
        DepthwiseSeparableFCNHead EMAHead EncHead FCNHead FPNHead GCHead ISAHead IterativeDecodeHead KernelUpdateHead
        KernelUpdator LRASPPHead LightHamHead NLHead OCRHead PIDHead PSPHead SETRMLAHead SETRUPHead STDCHead
        SegformerHead SegmenterMaskTransformerHead UPerHead
    """,
    "layers": """
        BN BN1d BN2d SyncBN IN IN1d IN2d GN LN Conv Conv1d Conv2d ConvWS ConvAWS Conv2dAdaptivePadding deconv
        InterpConv DeconvModule pixel_shuffle nearest bilinear zero reflect replicate Dropout DropPath FFN
        MultiheadAttention ContextBlock NonLocal2d GeneralizedAttention Clamp Clip ELU GELU HSigmoid HSwish LeakyReLU
        PReLU RReLU ReLU ReLU6 SiLU Sigmoid Swish Tanh
    """,
    "preprocessor": "SegDataPreProcessor",
}
"""Types of mmseg 1.x and mmcv that need no compiled code, no other library and no file."""
BUILT = frozenset(name for names in _PARTS.values() for name in names.split())
RESIZES = ("Resize", "ResizeShortestEdge", "ResizeToMultiple")
TRANSFORMS = frozenset({*RESIZES, "Pad", "LoadImageFromFile", "LoadAnnotations", "PackSegInputs"})
"""Steps of test pipelines. Loading and packing are this program's, whatever their arguments."""
_OF_TRAINING = ("pretrained", "init_cfg", "train_cfg", "sampler", "batch_augments")
_TUPLE = "tuple"
_PAIRS = ("scale", "size", "max_size")
LARGEST, DEEPEST, LONGEST = 2**16, 20, 256


def checked_model(model: Any) -> dict[str, JsonValue]:
    """Return the dict of a segmentor without what concerns its training, as JSON (`restored` gives it back).

    Raises UserError, naming the field, for a part that is not built here and for values that no model has.
    """
    if not isinstance(model, dict) or "backbone" not in model or "decode_head" not in model:
        rule = "the dict of a segmentor of mmsegmentation 1.x, with backbone and decode_head"
        raise UserError.about("model", repr(model)[:80], rule, "give the config that the model was trained with")
    found: Any = _checked(model, "model", 1)
    return {"data_preprocessor": {"type": "SegDataPreProcessor"}, **found}


def checked_pipeline(pipeline: Any) -> tuple[dict[str, JsonValue], ...]:
    """Return the steps of a test pipeline, as JSON. Raises UserError for steps that are not among the `TRANSFORMS`."""
    steps = pipeline if isinstance(pipeline, list | tuple) else []
    for number, step in enumerate(steps):
        name = step.get("type") if isinstance(step, dict) else step
        if name not in TRANSFORMS:
            rule = f"one of {', '.join(sorted(TRANSFORMS))}"
            raise UserError.about(f"test_pipeline[{number}]", repr(name)[:80], rule, "score it with mmsegmentation")
    found: Any = [_checked(step, f"test_pipeline[{at}]", 1, TRANSFORMS) for at, step in enumerate(steps)]
    if not any(step["type"] in RESIZES for step in found):
        rule = f"a pipeline that resizes the image ({', '.join(RESIZES)})"
        raise UserError.about("test_pipeline", f"{len(found)} steps", rule, "add the config's test_pipeline")
    return tuple(found)


def own_steps(pipeline: Sequence[Mapping[str, JsonValue]]) -> list[dict[str, Any]]:
    """Return the steps between loading and packing, with pairs as the tuples that mmcv asks for."""
    kept = [restored(step) for step in pipeline if step["type"] in RESIZES or step["type"] == "Pad"]
    return [
        {name: tuple(value) if name in _PAIRS and isinstance(value, list) else value for name, value in step.items()}
        for step in kept
    ]


def restored(value: Any) -> Any:
    """Return what `checked_model` or `checked_pipeline` was given, without what it left out.

    Tuples, which mmseg tells from lists, are `{"tuple": [...]}` in JSON.
    """
    if isinstance(value, Mapping):
        if value.keys() == {_TUPLE}:
            return tuple(map(restored, value[_TUPLE]))
        return {name: restored(inner) for name, inner in value.items()}
    return list(map(restored, value)) if isinstance(value, list | tuple) else value


def _checked(value: Any, where: str, depth: int, types: frozenset[str] = BUILT) -> Any:
    if depth > DEEPEST:
        raise UserError.about(where, "(nested)", f"at most {DEEPEST} levels", "give the model's own config")
    if isinstance(value, Mapping):
        return _checked_dict(value, where, depth, types)
    if isinstance(value, list | tuple) and len(value) <= LONGEST:
        items = [_checked(each, f"{where}[{at}]", depth + 1, types) for at, each in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool) or (isinstance(value, str) and len(value) <= LONGEST):
        return value
    if isinstance(value, int | float) and abs(value) <= LARGEST:
        return value
    rule = f"a number up to {LARGEST}, a name, true, false, none, or at most {LONGEST} of them"
    raise UserError.about(where, repr(value)[:80], rule, "correct the config")


def _checked_dict(value: Mapping[Any, Any], where: str, depth: int, types: frozenset[str]) -> dict[str, JsonValue]:
    for name in value:
        if not isinstance(name, str) or name.startswith("_"):
            rule = "the name of an argument: no other registry is asked (_scope_)"
            raise UserError.about(where, repr(name)[:80], rule, "remove it")
    if "type" in value and value["type"] not in types:
        remedy = did_you_mean(str(value["type"])[:80], types).split("Known:")[0]
        rule = "a part of mmsegmentation that this program builds: nothing else that a config names is imported"
        raise UserError.about(f"{where}.type", repr(value["type"])[:80], rule, f"{remedy}Score it with mmsegmentation")
    kept = {name: inner for name, inner in value.items() if name not in _OF_TRAINING and not name.startswith("loss")}
    return {name: _checked(inner, f"{where}.{name}", depth + 1, types) for name, inner in kept.items()}
