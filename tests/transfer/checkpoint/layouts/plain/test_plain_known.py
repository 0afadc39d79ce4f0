"""The sizes by which encoders get timm's names are those that timm's own functions give their models."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import timm

from transfer.checkpoint.architecture.plain.plain_known import EVERY


class _Stated(Exception):
    pass


@pytest.mark.parametrize("known", EVERY, ids=lambda one: one.name)
def test_sizes_are_timms(known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's functions are stopped before they build: with what arguments they would is all that is asked."""
    given: dict[str, Any] = {}

    def stop(*_: Any, **arguments: Any) -> None:
        given.update(arguments)
        raise _Stated

    monkeypatch.setattr(sys.modules[timm.model_entrypoint(known.name).__module__], "build_model_with_cfg", stop)
    with pytest.raises(_Stated):
        timm.create_model(known.name)
    about: Any = timm.get_pretrained_cfg(known.name, allow_unregistered=True)
    shape = known.shape
    # timm's functions leave the class's own values out: a patch of 16 px, MLPs four times as wide.
    patch, ratio = given.get("patch_size", 16), given.get("mlp_ratio", 4.0)
    found = (given["embed_dim"], given["depth"], given["num_heads"], patch, int(given["embed_dim"] * ratio))
    assert found == (shape.embed_dim, shape.depth, shape.num_heads, shape.patch_size, shape.hidden)
    assert about.input_size[-1] == known.arguments["img_size"]
    if "act_layer" in known.arguments:
        assert given.get("act_layer", "gelu") == known.arguments["act_layer"]
