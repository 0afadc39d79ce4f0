"""What the tags of timm's pretrained models say about their training: `fcmae_ft_in22k_in1k`, `lvd142m`.

Source: timm's own registry, where a tag is put together from words: who trained, on what, and after `ft` on what again.
A tag with any word that does not stand here says nothing, for the word might name further data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.encoders import InitStage
from benchmarks.history import Labels, TrainingData, TrainingStage, find_data_set

_IMAGE_NET = {"in1k": "ImageNet-1K", "in12k": "ImageNet-12K", "in21k": "ImageNet-22K", "in22k": "ImageNet-22K"}
_WITHOUT_LABELS = {
    "lvd142m": "LVD-142M",
    "lvd1689m": "LVD-1689M",
    "sat493m": "SAT-493M",
    "m30m": "Merged-30M",
    "m38m": "Merged-38M",
}
_WITH_CAPTIONS = {
    "openai": "WIT-400M",
    "laion400m": "LAION-400M",
    "laion2b": "LAION-2B",
    "datacompxl": "DataComp-1B",
    "datacomp1b": "DataComp-1B",
    "dfn2b": "DFN-2B",
    "dfn5b": "DFN-5B",
    "webli": "WebLI",
    "merged2b": "Merged-2B",
    "yfcc15m": "YFCC-15M",
    "cc12m": "CC12M",
}
_METACLIP = {"400m": "MetaCLIP-400M", "2pt5b": "MetaCLIP-2.5B"}
_METHODS = {
    "mim": "masked images",
    "fcmae": "FCMAE",
    "mae": "MAE",
    "dino": "DINO",
    "dinov3": "DINOv3",
    "ijepa": "I-JEPA",
}
"""Methods without labels. Where such a tag names no data they are ImageNet-1K's, as in the papers: arXiv:2104.14294
(DINO), arXiv:2111.06377 (MAE), arXiv:2301.00808 (FCMAE)."""
_WORDS = """
    a1 a1h a2 a2h a3 aa ad agc ah am ap aug augreg augreg2 b1k b2k bd bt c1 c2 c2ns c3 ch clip cvnets d d1 d1h d2 deit
    dist distilled dm fb gluon goog idstcv ix lamb lion metaclip ms msft mx nadamuon nav naver nv orig paddle pycls ra
    ra2 ra3 ra4 racm ram rewind rmsp rsb rvgg sail sam sbb sbb2 snap soup sw swsl tf timm tv tv2 usi v2 wsl plus
"""
_SAYING_NOTHING = frozenset(_WORDS.split())
"""Who trained, and by which variant of a recipe."""
_LENGTH_OR_SIZE = re.compile(r"\d+|[ers]\d+|\d+ep?|s\d+b|patch\d+|lamb")
_IMAGE_TEXT = re.compile(r"clip|openai|laion|webli|dfn|datacomp|siglip|pali|merged2b|pe_core|pe_lang|pe_spatial")
"""Image-text training in the name or tag of a model, whatever is known of its data."""


def stage_of_tag(name: str, tag: str, num_classes: int) -> InitStage | None:
    """Return the stage that timm's tag shows: `_ft_` marks a second training, classes mark a training with labels.

    It is None for encoders of image-text training, which is none of the stages (their number of classes is the width of
    an embedding), and for those without classes whose tag states no training without labels: some lost the classifier
    of a supervised training (`orig_in21k`), some learnt from several teachers (`c_radio`).
    """
    if "_ft_" in tag:
        return "fine-tuned"
    if _IMAGE_TEXT.search(f"{name}.{tag}"):
        return None
    if num_classes:
        return "supervised"
    stated = stages_of_tag(name, tag) or ()
    return "self-supervised" if any(one.data is not None and one.data.labels == "none" for one in stated) else None


def stages_of_hub_name(reference: str) -> tuple[TrainingStage, ...] | None:
    """Return what `hf-hub:timm/MODEL.TAG` says; None where it says nothing, and for every other reference."""
    scheme, _, name = reference.partition(":timm/")
    return stages_of_tag(name, name.partition(".")[2]) if scheme == "hf-hub" else None


def stages_of_tag(name: str, tag: str) -> tuple[TrainingStage, ...] | None:
    """Return the trainings that the tag of timm's model `name` states, the first one first; None where it says nothing.

    timm's tags state no epochs.
    """
    first, *later = tag.removeprefix(f"{name}.").split("_ft_")
    words = first.split("_")
    if len(later) > 1 or name.startswith("beit3_") or {"miil", "in21k"} <= {*words}:  # other data are behind these
        return None
    beit = name.startswith(("beit_", "beitv2_")) and bool(later)
    began = _first(words, beit)
    after = [one for part in later for one in _labelled(part.split("_"))]
    found = [*began, *after] if began and all(after) and (after or not later) else []
    return tuple(one for one in found if one is not None) or None


def _first(words: Sequence[str], without_labels: bool) -> list[TrainingStage]:
    """Return the first training, on one data set or on several in turn; none where a word is unknown."""
    methods = [_METHODS[word] for word in words if word in _METHODS]
    found: list[TrainingStage] = []
    for word in words:
        if word in _WITH_CAPTIONS or ("metaclip" in words and word in _METACLIP):
            found.append(_stage("image-text", (_WITH_CAPTIONS | _METACLIP)[word], "captions"))
        elif word in _WITHOUT_LABELS:
            found.append(_stage("".join(methods) or "self-supervised", _WITHOUT_LABELS[word], "none"))
        elif word == "ig1b" and ({"wsl", "swsl"} & {*words}):
            found.append(_stage("supervised", "IG-1B", "hashtags"))
        elif word in _IMAGE_NET:
            own = methods or (["masked images"] if without_labels else [])
            found.append(_stage(own[0] if own else "supervised", _IMAGE_NET[word], "none" if own else "labels"))
        elif not (word in _METHODS or word in _SAYING_NOTHING or _LENGTH_OR_SIZE.fullmatch(word)):
            return []
    if not found and methods:
        return [_stage(methods[0], "ImageNet-1K", "none")]
    return found if len(found) == 1 else []


def _labelled(words: Sequence[str]) -> list[TrainingStage | None]:
    """Return the trainings after `ft`, all with labels; None for a word that is unknown."""
    return [
        _stage("supervised", _IMAGE_NET[word], "labels") if word in _IMAGE_NET else None
        for word in words
        if word not in _SAYING_NOTHING and not _LENGTH_OR_SIZE.fullmatch(word)
    ]


def _stage(method: str, data: str, labels: Labels) -> TrainingStage:
    known = find_data_set(data)
    return TrainingStage(
        method=method, data=TrainingData(name=data, images=known.images if known else None, labels=labels)
    )
