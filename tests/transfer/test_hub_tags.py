"""What is known of the data behind timm's pretrained models, against their papers and timm's own registry."""

from __future__ import annotations

import pytest
import timm

from benchmarks.errors import UserError
from benchmarks.history import find_data_set, name_of_folder
from benchmarks.verbs.statement import EncoderStatement
from transfer.sources.hub_tags import stages_of_hub_name, stages_of_tag
from transfer.sources.references import resolve
from transfer.sources.source import stated_history


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("swin_base_patch4_window7_224.ms_in1k", ["ImageNet-1K labels"]),
        ("swin_base_patch4_window7_224.ms_in22k_ft_in1k", ["ImageNet-22K labels", "ImageNet-1K labels"]),
        ("swin_base_patch4_window7_224.ms_in22k", ["ImageNet-22K labels"]),
        (
            "convnextv2_base.fcmae_ft_in22k_in1k",
            ["ImageNet-1K none", "ImageNet-22K labels", "ImageNet-1K labels"],
        ),
        ("convnextv2_base.fcmae", ["ImageNet-1K none"]),
        ("vit_base_patch14_dinov2.lvd142m", ["LVD-142M none"]),
        ("vit_base_patch16_224.mae", ["ImageNet-1K none"]),
        ("vit_base_patch16_224.dino", ["ImageNet-1K none"]),
        ("vit_base_patch16_clip_224.openai", ["WIT-400M captions"]),
        (
            "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k",
            ["LAION-2B captions", "ImageNet-12K labels", "ImageNet-1K labels"],
        ),
        (
            "beit_base_patch16_224.in22k_ft_in22k_in1k",
            ["ImageNet-22K none", "ImageNet-22K labels", "ImageNet-1K labels"],
        ),
        ("eva02_base_patch14_224.mim_in22k", ["ImageNet-22K none"]),
        ("resnext101_32x8d.fb_wsl_ig1b_ft_in1k", ["IG-1B hashtags", "ImageNet-1K labels"]),
        ("tf_efficientnet_b0.ns_jft_in1k", None),
        ("regnety_320.seer_ft_in1k", None),
        ("tresnet_l.miil_in21k_ft_in1k", None),
        ("beit3_base_patch16_224.in22k_ft_in1k", None),
        ("made_up.with_other_words_in1k", None),
        ("made_up.", None),
        ("made_up.ft_in1k", None),
        ("made_up.in1k_ft_", None),
        ("made_up.in1k_ft_in1k_ft_in1k", None),
    ],
)
def test_tags_say_which_data(model: str, expected: list[str] | None) -> None:
    name, _, tag = model.partition(".")
    found = stages_of_tag(name, tag)
    assert (found and [f"{one.data.name} {one.data.labels}" for one in found if one.data]) == expected
    assert stages_of_hub_name(f"hf-hub:timm/{model}") == found
    assert stages_of_hub_name(f"hf-hub:someone/{model}") is None


def test_labels_agree_with_the_registry() -> None:
    """Models of timm with a classifier learnt from labels last, and those of its methods without labels did not."""
    known = 0
    for model in timm.list_pretrained():
        config = timm.get_pretrained_cfg(model)
        assert config is not None
        found = stages_of_tag(model.partition(".")[0], config.tag)
        if found is None or config.tag == "fb_dino":  # timm gives these a classifier, for DINO's features
            continue
        known += 1
        last = found[-1].data
        assert last is not None
        if config.num_classes in (1000, 11821, 21841):
            assert last.labels == "labels", model
        if "_ft_" in config.tag:
            assert len(found) > 1, model
    assert known > 1400


def test_names_of_folders() -> None:
    assert name_of_folder("/data/imagenet/train", 1_281_167) == "ImageNet-1K"
    assert name_of_folder("/data/ILSVRC-2012/train", 12_811) == "ImageNet-1K"
    assert name_of_folder("/data/imagenet", 14_197_122) == "imagenet"
    assert name_of_folder("data/flowers", 10) == "flowers"
    assert name_of_folder("/", None) == "unknown"
    assert find_data_set("in-22k") == find_data_set("ImageNet 21K")


def test_a_person_states_the_data() -> None:
    (known,) = stated_history("timm", "imagenet", "self-supervised", 800)
    assert known.data is not None
    assert (known.data.name, known.data.images, known.data.labels) == ("ImageNet-1K", 1_281_167, "none")
    assert known.images_seen == 800 * 1_281_167
    (own,) = stated_history("timm", "Own scans", "fine-tuned", None)
    assert own.data is not None
    assert (own.data.name, own.data.images, own.data.labels) == ("Own scans", None, None)
    (unknown,) = stated_history("timm", None, "supervised", None)
    assert unknown.data is None


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, "\x1b[2J"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="--pretrained-on"):
        stated_history("timm", name, "supervised", None)


def test_what_is_on_record_is_not_stated_again() -> None:
    with pytest.raises(UserError, match="--pretrained-on"):
        resolve("random:digits_swin", EncoderStatement(pretrained_on="ImageNet-1K"))
