"""SimMIM's parameter groups, the optimiser over them, and its schedules.

Source: microsoft/SimMIM `optimizer.py` (rules re-stated here, checked against it in the tests).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.errors import UserError
from benchmarks.training.training import Training

NEVER_DECAYED = re.compile(
    r"(layers|features)\..*relative_position_bias_table"  # Swin's and Video Swin's; SimMIM's ViT and BEiT decay theirs
    r"|cpb_mlp|logit_scale"  # SwinV2
    r"|(^|\.)(absolute_pos_embed|pos_embed|cls_token|mask_token)$"
)

CLIP_EPS = 1e-6
"""What torch adds to the norm that it divides the limit by."""

LayerOf = Callable[[str], int]


def decays(name: str, parameter: Tensor) -> bool:
    """Tell whether weight decay applies: not to vectors, biases, Swin's position tables, position embeddings, tokens.

    This is the rule SimMIM states and applies in fine-tuning. In its pretraining the keyword for Swin's tables carries
    a prefix (`encoder.relative_position_bias_table`) that no parameter's name contains, so that there they do decay.
    """
    return parameter.ndim > 1 and not name.endswith(".bias") and not NEVER_DECAYED.search(name)


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    layer_of: LayerOf | None = None,
    layers: int = 1,
    layer_decay: float = 1.0,
    decays: Callable[[str, Tensor], bool] = decays,
) -> list[dict[str, Any]]:
    """Group trainable parameters by decay and, with `layer_of`, by layer.

    A group's `lr_scale` is layer_decay ** (layers - 1 - layer): 1 for the head, smallest for the patch embedding.
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer, decayed = layer_of(name) if layer_of else layers - 1, decays(name, parameter)
        group = groups.setdefault(
            (layer, decayed),
            {
                "params": [],
                "names": [],
                "weight_decay": weight_decay if decayed else 0.0,
                "lr_scale": layer_decay ** (layers - 1 - layer),
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def build_optimizer(groups: list[dict[str, Any]], training: Training) -> Optimizer:
    """Return the recipe's optimiser over the groups; the rates themselves are set by the schedule before every step."""
    fused = getattr(training, "fast_step", False)  # pretraining's alone
    return training.optimizer.build(groups, training.schedule.peak_lr(training.batch_size), fused)


def clip(model: nn.Module, limit: float | None) -> Tensor:
    """Scale gradients down to the norm `limit`, None being no limit; return the norm that they had.

    Where the host need not wait for the norm, gradients below the limit are not multiplied by 1: the bits are the same.
    """
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    at_hand = type(norm) is Tensor and norm.device.type == "cpu"
    if limit is not None and not (at_hand and limit / (norm + CLIP_EPS) >= 1):
        nn.utils.clip_grads_with_norm_(model.parameters(), limit, norm)
    return norm


class Schedules:
    """The learning rates and the weight decay of every step of a training."""

    def __init__(self, optimizer: Optimizer, training: Training, total_steps: int, steps_per_epoch: int) -> None:
        """Raises UserError for a warm-up that the training does not outlast."""
        warmup = training.schedule.warmup_steps_of(steps_per_epoch)
        if warmup >= total_steps:
            rule = f"a warm-up shorter than the training ({total_steps} steps)"
            raise UserError.about("training.schedule", f"warm-up of {warmup} steps", rule, "a shorter warm-up")
        self._optimizer, self._total_steps = optimizer, total_steps
        self._rates = training.schedule.build(optimizer, training.batch_size, total_steps, steps_per_epoch)
        self._ahead = int(training.schedules_ahead)
        self._first, self._last = training.weight_decay, training.final_weight_decay
        # By position: a resumed optimiser has other groups, in the same order.
        self._decayed = [at for at, group in enumerate(optimizer.param_groups) if group["weight_decay"] > 0]

    def step_update(self, step: int) -> None:
        """Set the rates and the weight decay of a step (0-based)."""
        at = step + self._ahead
        self._rates.step_update(at)
        if self._last is None:
            return
        decay = self._last + (self._first - self._last) * 0.5 * (1 + math.cos(math.pi * at / self._total_steps))
        for group in self._decayed:
            self._optimizer.param_groups[group]["weight_decay"] = decay
