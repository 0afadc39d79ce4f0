"""Models of all kinds that timm has, small and with random weights: what is said of each is what timm itself does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmarks.errors import UserError
from benchmarks.families.family import Family
from benchmarks.families.parts import BLOCKS, LAYERS, MAPS, PYRAMID
from benchmarks.families.table import family_of
from benchmarks.families.timm_model import built_for
from tests.support.timm_models import MODELS


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Iterator[Any]:
    """One of the models, with a classifier of five classes."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = timm.create_model(request.param, num_classes=5, **MODELS[request.param][0]).eval()
    found.requested = request.param
    built_for(found, MODELS[request.param][0].get("img_size"))
    return found


def size_of(model: Any) -> int:
    return family_of(model).built_px if model.pretrained_cfg.get("fixed_input_size") else 64


def classifiers(model: Any) -> list[nn.Module]:
    found = model.get_classifier()
    return list(found) if isinstance(found, list | tuple | nn.ModuleList) else [found]


def test_the_own_feature_is_what_timms_classifier_takes(model: Any) -> None:
    """Of blocks, too: each that is named runs once, in the order in which it is named."""
    family, side = family_of(model), size_of(model)
    taken: list[Tensor] = []
    ran: list[nn.Module] = []
    blocks = family.blocks() if family.can(BLOCKS) else []
    hooks = [
        one.register_forward_pre_hook(lambda _module, inputs: taken.append(inputs[0])) for one in classifiers(model)
    ]
    hooks += [block.register_forward_pre_hook(lambda block, _inputs: ran.append(block)) for block in blocks]
    with torch.no_grad():
        images = torch.randn(2, 3, side, side)
        features = model.forward_features(images)
        model.forward_head(features)
        own = family.own_feature(features)
    for hook in hooks:
        hook.remove()
    assert own.shape == (2, family.own_width)
    witness = [each if each.ndim == 2 else each.flatten(1) for each in taken]
    if model.requested == "volo_d1_224":
        witness = witness[:1]
    if model.requested == "samvit_base_patch16_224":  # timm calls the whole head its classifier, and it pools
        witness = [taken[0].mean(dim=(2, 3))]
    if len({each.shape for each in witness}) == 1:  # a distilled one's two classifiers take different tokens
        witness = [torch.stack(witness).mean(dim=0)] if "distilled" in model.requested else witness[:1]
    torch.testing.assert_close(own, torch.cat(witness, dim=1))
    assert ran == blocks


def test_the_head_is_what_a_model_without_classes_lacks(model: Any) -> None:
    with torch.device("meta"):
        headless = timm.create_model(model.requested, num_classes=0, **MODELS[model.requested][0])
    assert set(model.state_dict()) - family_of(model).head_names() == set(headless.state_dict())


def test_layers_hold_every_parameter(model: Any) -> None:
    """The kernel that sees the image is of the first layer, the classifier of the last, and none is empty."""
    family = family_of(model)
    if not family.can(LAYERS):
        assert not hasattr(model, "group_matcher")
        with pytest.raises(UserError, match="layer_decay"):
            family.layers()
        return
    layers, names = family.layers(), [name for name, _ in model.named_parameters()]
    assert {layers.of(name) for name in names} == set(range(layers.count))
    first = model.pretrained_cfg["first_conv"]
    assert {layers.of(f"{name}.weight") for name in ([first] if isinstance(first, str) else first)} == {0}
    assert {layers.of(name) for name in family.head_names() if name in names} == {layers.count - 1}


def test_maps_have_the_strides_that_are_declared(model: Any) -> None:
    """Of images of the sizes that are declared, too; computed by shapes alone."""
    family, expected = family_of(model), MODELS[model.requested][1]
    if expected is None:
        assert not family.can(MAPS)
        with pytest.raises(UserError, match="strides 4, 8, 16 and 32"):
            family.map_sizes()
        return
    assert family.map_sizes() == expected
    levels = family.levels()
    assert tuple(level.stride_px for level in levels) in (PYRAMID, PYRAMID[2:3])
    with torch.no_grad():
        images = expected.padded(torch.randn(1, 3, 64, 64))
        maps = family.maps(images, shift_single_windows=False, table_mode="geometric-cubic")
    if family.after_maps:
        assert family.beside_maps() - family.head_names() == family.found_beside_maps() - family.head_names()
    sides = [tuple(side // level.stride_px for side in images.shape[2:]) for level in levels]
    assert [tuple(each.shape) for each in maps] == [
        (1, level.channels, *side) for level, side in zip(levels, sides, strict=True)
    ]


def test_a_model_of_no_family_is_a_plain_one() -> None:
    with torch.device("meta"):
        assert type(family_of(timm.create_model("efficientnet_b0"))) is Family
