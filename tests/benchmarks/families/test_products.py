"""Products by oneDNN against the same layer in fp64, forwards and backwards; and where it is asked for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.families import products
from benchmarks.families.products import LinearByOneDNN, faster_by_onednn, multiply_by_onednn

ROWS = 37


def run_of(layer: nn.Linear, dtype: torch.dtype) -> tuple[list[Tensor], dict[str, int]]:
    """Output and gradients of a layer, and how often each operator of products was called."""
    torch.manual_seed(1)
    tokens = torch.randn(2, ROWS, layer.in_features).to(dtype).requires_grad_()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        found = layer(tokens)
        (found * torch.randn(found.shape).to(dtype)).sum().backward()
    counts = {each.key: each.count for each in seen.key_averages() if "linear_pointwise" in each.key}
    gradients = [each.grad for each in (tokens, *layer.parameters())]
    return [found.detach(), *(each for each in gradients if each is not None)], counts


def layer_of(takes: int, gives: int, bias: bool, dtype: torch.dtype) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(takes, gives, bias=bias).to(dtype)


@pytest.mark.skipif(products.ONEDNN is None, reason="a torch that was built with oneDNN")
@pytest.mark.parametrize(("takes", "gives"), [(24, 40), (40, 24), (32, 32)])
@pytest.mark.parametrize("bias", [True, False])
def test_output_and_gradients_are_those_of_fp64(takes: int, gives: int, bias: bool) -> None:
    exact, _ = run_of(layer_of(takes, gives, bias, torch.float64), torch.float64)
    layer = layer_of(takes, gives, bias, torch.float32)
    multiply_by_onednn(layer)
    found, counts = run_of(layer, torch.float32)
    assert counts == {"mkldnn::_linear_pointwise": 3}, "one product forwards, two backwards"
    assert len(found) == len(exact) == 3 + bias
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_in_fp64_it_is_torchs_own_layer() -> None:
    plain, layer = (layer_of(24, 40, True, torch.float64) for _ in range(2))
    multiply_by_onednn(layer)
    (expected, _), (found, counts) = (run_of(each, torch.float64) for each in (plain, layer))
    assert not counts
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_layers_that_are_more_than_a_product_stay_as_they_are() -> None:
    class Scaled(nn.Linear):
        def forward(self, tokens: Tensor) -> Tensor:
            return 2 * super().forward(tokens)

    model = nn.Sequential(nn.Linear(4, 4), Scaled(4, 4), nn.MultiheadAttention(4, 1), nn.Conv2d(3, 4, 1))
    names = list(model.state_dict())
    multiply_by_onednn(model)
    assert [type(each) for each in model[:2]] == [LinearByOneDNN, Scaled]
    assert not any(isinstance(each, LinearByOneDNN) for each in model[2:].modules())
    assert list(model.state_dict()) == names


@pytest.mark.parametrize(("make", "amd"), [("GenuineIntel", False), ("AuthenticAMD", True)])
def test_the_make_of_the_processor_decides(
    make: str, amd: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpus = tmp_path / "cpuinfo"
    cpus.write_text(f"processor\t: 0\nvendor_id\t: {make}\nmodel name\t: some\n", encoding="utf-8")
    monkeypatch.setattr(products, "CPUS", cpus)
    monkeypatch.setattr(products, "ONEDNN", object())
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert faster_by_onednn() == amd
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not faster_by_onednn(), "nothing was measured there"
    monkeypatch.setattr(products, "CPUS", tmp_path / "nowhere")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert not faster_by_onednn()
