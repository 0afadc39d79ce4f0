"""Frozen protocols against what the code of their authors computed from the same inputs (original/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from benchmarks.config import load_recipe
from benchmarks.engine.optim import build_optimizer
from transfer.classification.frozen.few_shot import prepared
from transfer.classification.frozen.logistic import fit
from transfer.classification.frozen.recipe import FewShotRecipe, LogisticRecipe
from transfer.classification.grid import members_of
from transfer.classification.knn import Neighbours
from transfer.classification.linear import LinearProbe
from transfer.classification.recipe import KnnRecipe, LinearRecipe
from transfer.encoder.features import FrozenEncoder, every_layer
from transfer.predictions.held_out import HeldOut
from transfer.predictions.metrics import top_k

FOLDER = Path(__file__).parent / "original"
THERE: dict[str, Any] = json.loads((FOLDER / "results.json").read_text())
FEATURES = load_file(FOLDER / "features.safetensors")
STORED = load_file(FOLDER / "vit.safetensors")
CLASSES, TRAIN = 5, 32
"""Of the images in vit.safetensors the first were trained on, eight at a time, and the others were held out."""
IMAGES, LABELS = STORED["images"].float() / 127.5 - 1, STORED["labels"]


def top1(logits: Tensor, labels: Tensor) -> float:
    return top_k(logits, labels, 1)


def test_neighbours_score_as_dinos() -> None:
    recipe = load_recipe(KnnRecipe, "transfer", "imagenet1k_knn").config
    neighbours = Neighbours(normalize(FEATURES["test"], dim=1), 200)
    neighbours.add(normalize(FEATURES["train"], dim=1), FEATURES["train_labels"])
    for k, (first, among_five) in THERE["knn"].items():
        votes = neighbours.logits(int(k), recipe.temperature, CLASSES)
        assert top1(votes, FEATURES["test_labels"]) == pytest.approx(first, abs=1e-9)
        if int(k) >= CLASSES:
            # Of five classes each is among the best five there; here a class without a vote never is.
            assert top_k(votes, FEATURES["test_labels"], 5) <= among_five
    assert (recipe.k, *recipe.other_k) == (20, 10, 100, 200)
    assert recipe.inference.precision == "fp32"


def test_logistic_regression_is_dinov2s_at_every_strength() -> None:
    recipe = load_recipe(LogisticRecipe, "transfer", "imagenet1k_logistic_dinov2").config
    there, features, labels = THERE["logistic"], FEATURES["train"].double(), FEATURES["train_labels"]
    assert recipe.grid.values == pytest.approx(there["C"], rel=1e-5)
    found = []
    for strength in recipe.grid.values:
        fitted = fit(features[:200], labels[:200], CLASSES, strength, tolerance=recipe.tolerance)
        found.append(top1(fitted.logits(features[200:]), labels[200:]))
    assert found == pytest.approx(there["held_out_top1"], abs=1e-9)
    chosen = recipe.grid.values[max(range(len(found)), key=found.__getitem__)]
    assert chosen == pytest.approx(there["best_C"], rel=1e-5)
    whole = fit(features, labels, CLASSES, chosen, tolerance=recipe.tolerance)
    torch.testing.assert_close(whole.weights, torch.tensor(there["weights"], dtype=torch.float64), atol=1e-5, rtol=0)
    logits = whole.logits(FEATURES["test"])
    assert top1(logits, FEATURES["test_labels"]) == pytest.approx(there["test_top1"], abs=1e-4)


def test_few_shot_is_msns() -> None:
    recipe, there = load_recipe(FewShotRecipe, "transfer", "imagenet1k_few_shot_msn").config, THERE["few_shot"]
    few = FEATURES["train"][: there["images"]]
    expected = torch.tensor(there["prepared"], dtype=torch.float64)
    torch.testing.assert_close(prepared(few), expected, atol=1e-12, rtol=0)
    fitted = fit(prepared(few), FEATURES["train_labels"][: len(few)], CLASSES, recipe.strength, intercept=False)
    logits = fitted.logits(prepared(FEATURES["test"]))
    assert logits.argmax(dim=1).tolist() == there["converged"]["predicted"]
    # Its own solver stops at a relative duality gap of 1e-3: one of 120 predictions differs.
    assert top1(logits, FEATURES["test_labels"]) == pytest.approx(there["as_published"]["test_top1"], abs=1)


def probe(name: str, *overrides: str) -> tuple[LinearProbe, LinearRecipe, nn.Module]:
    recipe = load_recipe(LinearRecipe, "transfer", name, ["training.batch_size=8", *overrides]).config
    sizes: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2}
    vit: nn.Module = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes)
    vit.load_state_dict({name[4:]: tensor for name, tensor in STORED.items() if name.startswith("vit.")})
    encoder = FrozenEncoder(vit.eval(), every_layer(vit), 16, 3)
    return LinearProbe(encoder, members_of(recipe, vit), recipe, CLASSES), recipe, vit


def linears(model: LinearProbe) -> list[nn.Linear]:
    return [module for head in model.heads for module in head.modules() if isinstance(module, nn.Linear)]


def trained(model: LinearProbe, recipe: LinearRecipe, whose: str, steps: int) -> None:
    """Train from the original's weights with the recipe's optimiser and schedule, on the batches in their order."""
    several = len(linears(model)) > 1
    for at, linear in enumerate(linears(model)):
        before = STORED[f"{whose}.before.{at}.weight" if several else f"{whose}.before.weight"]
        linear.weight.data.copy_(before)
    optimizer = build_optimizer(model.groups(recipe), recipe.training)
    schedule = recipe.training.schedule.build(optimizer, 8, steps, TRAIN // 8)
    model.train()
    for step in range(steps):
        schedule.step_update(step)
        rows = slice(step * 8 % TRAIN, step * 8 % TRAIN + 8)
        loss = torch.stack([cross_entropy(logits, LABELS[rows]) for logits in model(IMAGES[rows])]).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()


def largest_difference(model: LinearProbe, whose: str) -> float:
    """Return how far the weights are from the original's, as a share of its largest weight, at most."""
    found = []
    for at, linear in enumerate(linears(model)):
        name = f"{whose}.after.{at}" if len(linears(model)) > 1 else f"{whose}.after"
        for part in ("weight", "bias"):
            there = STORED[f"{name}.{part}"]
            found.append(((getattr(linear, part) - there).abs().max() / there.abs().max()).item())
    return max(found)


def held_out(model: LinearProbe) -> list[Tensor]:
    with torch.no_grad():
        return list(model(IMAGES[TRAIN:]))


def test_the_grid_is_dinov2s() -> None:
    there = THERE["linear_grid"]
    model, recipe, vit = probe("imagenet1k_linear_grid_dinov2", f"grid.learning_rates={there['rates']}")
    trained(model, recipe, "dinov2", there["steps"])
    assert largest_difference(model, "dinov2") < 3e-5  # at a rate of 50 a CPU's rounding moves a bias by 1e-5
    scores = [top1(logits, LABELS[TRAIN:]) for logits in held_out(model)]
    losses = [cross_entropy(logits, LABELS[TRAIN:]).item() for logits in held_out(model)]
    found = HeldOut(members_of(recipe, vit), scores, losses, len(IMAGES) - TRAIN)
    assert found.top1[found.chosen] == there["held_out_top1"]
    assert found.chosen == there["best"]
    assert len(there["names"]) == len(found.members)


def test_every_layers_probe_is_beits_and_the_best_is_chosen() -> None:
    there = THERE["best_layer"]
    model, recipe, vit = probe("imagenet1k_linear_best_layer_beit", "grid.learning_rates=[4.0]")
    trained(model, recipe, "beit", there["steps"])
    assert largest_difference(model, "beit") < 1e-4
    scores = [top1(logits, LABELS[TRAIN:]) for logits in held_out(model)]
    assert scores == there["top1"]
    found = HeldOut(members_of(recipe, vit), scores, [0.0] * 4, len(IMAGES) - TRAIN)
    assert found.members[found.chosen].feature.layers == (1 + max(range(4), key=there["top1"].__getitem__),)


def test_the_probe_is_maes() -> None:
    there = THERE["linear"]
    shorter = [f"training.epochs={there['epochs']}", f"training.schedule.warmup_epochs={there['warmup_epochs']}"]
    model, recipe, _ = probe("imagenet1k_linear_mae", *shorter, f"training.schedule.base_lr={there['base_lr']}")
    trained(model, recipe, "mae", there["epochs"] * TRAIN // 8)
    assert largest_difference(model, "mae") < 1e-5
    (norm,) = (module for module in model.modules() if isinstance(module, nn.BatchNorm1d))
    torch.testing.assert_close(norm.running_mean, STORED["mae.after.mean"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.running_var, STORED["mae.after.var"], atol=1e-5, rtol=1e-5)
