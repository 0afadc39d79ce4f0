"""Devices by the names that drivers give them, and rates beside trainings whose time was published."""

from __future__ import annotations

import pytest

from benchmarks.encoders import Architecture
from slurm.plan.estimate.devices import devices, find_devices, rate, unknown_device, utilisation
from slurm.plan.estimate.encoders import EncoderCost, Volume, encoder_cost

IMAGENET, HOUR = 1_281_167, 3600


def cost(name: str) -> EncoderCost:
    found = encoder_cost(Architecture(name=name), Volume(224, 224))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("NVIDIA H100 80GB HBM3", ["H100 SXM"]),
        ("NVIDIA H100 PCIe", ["H100 PCIe"]),
        ("h100", ["H100 SXM", "H100 PCIe"]),
        ("NVIDIA A100-SXM4-40GB", ["A100 40GB"]),
        ("NVIDIA A100 80GB PCIe", ["A100 80GB"]),
        ("A100", ["A100 40GB", "A100 80GB"]),
        ("NVIDIA A10", ["A10"]),
        ("Tesla T4", ["T4"]),
        ("Tesla V100-SXM2-32GB", ["V100 SXM2 32GB"]),
        ("NVIDIA H200", ["H200"]),
        ("AMD Instinct MI300X", ["MI300X"]),
        ("AMD Instinct MI250X", ["MI250X (one of two dies)"]),
        ("A1000", []),
        ("Quadro RTX 6000", []),
        ("", []),
    ],
)
def test_a_device_is_found_by_what_drivers_and_people_call_it(name: str, meant: list[str]) -> None:
    assert [each.device for each in find_devices(name)] == meant


def test_an_unknown_device_is_named_with_what_is_known() -> None:
    assert "Did you mean H100" in unknown_device("H1000 SXM")


def test_no_training_is_taken_to_be_faster_than_a_device() -> None:
    for device in devices():
        for name in ("swin_base_patch4_window7_224", "vit_base_patch16_224", "swinv2_base_window8_256"):
            for precision in ("bf16", "fp16", "fp32"):
                share = utilisation(cost(name).shape, device, precision)
                assert 0.01 < share.low < share.high < 1


@pytest.mark.parametrize(
    ("name", "device", "precision", "gpus", "images", "seconds"),
    [
        # arXiv:2012.12877, section 5.6: DeiT-B, 300 epochs in 53 hours on 8 V100
        ("vit_base_patch16_224", "V100 SXM2 32GB", "fp16", 8, 300 * IMAGENET, 53 * HOUR),
        # microsoft/Swin-Transformer, issue 68, one of the authors: an epoch in 12 minutes on 16 V100
        ("swin_base_patch4_window7_224", "V100 SXM2 16GB", "fp16", 16, IMAGENET, 720),
    ],
)
def test_trainings_whose_time_was_published_lie_in_the_span(
    name: str, device: str, precision: str, gpus: int, images: int, seconds: float
) -> None:
    encoder = cost(name)
    span = rate(encoder.shape, find_devices(device), precision)
    assert span.low <= 3 * encoder.flops * images / seconds / gpus <= span.high


def test_nvidias_own_training_of_a_larger_vit_lies_in_the_span_of_two_devices() -> None:
    """docs.nvidia.com, NeMo, ViT performance: ViT-g/14 at 224 px, 693 images a second on 8 A100 80GB, 1428 on 8 H100.

    It has 40 blocks 1408 wide on 256 patches and a token, its MLP 6144 wide (arXiv:2106.04560, table 2).
    """
    tokens, width, inner = 257, 1408, 6144
    block = 4 * width**2 * tokens + 2 * tokens**2 * width + 2 * width * inner * tokens
    for device, images_per_second in (("A100 80GB", 693), ("H100 SXM", 1428)):
        reached = 3 * 2 * 40 * block * images_per_second / 8
        span = rate(cost("vit_large_patch16_224").shape, find_devices(device), "bf16")
        assert span.low <= reached <= span.high
