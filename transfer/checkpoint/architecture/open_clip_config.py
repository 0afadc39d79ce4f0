"""What open_clip's `open_clip_config.json` beside the weights of a tower says that the tensors cannot show.

Source: mlfoundations/open_clip `model.py` (CLIPVisionCfg, `quick_gelu`), `transformer.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.errors import UserError
from transfer.checkpoint.architecture.beside import read_object

NAME: Final = "open_clip_config.json"
_HEAD_WIDTH, _WIDTH = 64, 768
_COMPUTED: Final = {"pool_type": "tok", "final_ln_after_pool": False}
"""What timm's tower of CLIP computes in one way only: its feature is the class token, normed."""


def read_open_clip(checkpoint: Path) -> dict[str, Any]:
    """Return what open_clip's configuration says of its own tower, in the terms of Hugging Face's.

    It is empty where there is none, and for a tower of timm's. Raises UserError where it asks for what timm's tower
    does not compute.
    """
    model = read_object(checkpoint.with_name(NAME)).get("model_cfg")
    vision = model.get("vision_cfg") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(vision, dict) or "timm_model_name" in vision:
        return {}
    for name, value in _COMPUTED.items():
        if vision.get(name, value) != value:
            remedy = "give it as a model of your own, which open_clip computes: --encoder python:MODULE:FACTORY"
            rule = f"{value}, as timm computes CLIP's towers; no tensor shows it"
            raise UserError.about(f"{name} in {NAME}", vision[name], rule, remedy)
    width, head = vision.get("width", _WIDTH), vision.get("head_width", _HEAD_WIDTH)
    whole = type(width) is int and type(head) is int and head > 0 and width % head == 0
    heads = {"num_attention_heads": width // head} if whole else {}
    return {"hidden_act": "quick_gelu" if model.get("quick_gelu") is True else "gelu", **heads}
