"""The attentive probe's pooler against V-JEPA's and V-JEPA 2's own code.

`fixtures/attentive_jepa.safetensors` and `attentive_vjepa2.safetensors` hold what `AttentiveClassifier` of
facebookresearch/jepa at 51c59d5 (depth 1) and of facebookresearch/vjepa2 at c2963a4 (depth 4) computed, of width 16
with 2 heads and 5 classes: its weights, all drawn anew; tokens [3, 7, 16]; their logits; the gradient of the query for
the cross-entropy of labels 0, 3, 1; and the standard deviations of the initial weights at width 256 with 8 heads.
The first also holds `training_tokens` and `training_labels` of four batches, and under `trained/` the weights after
two epochs on them of evals/image_classification_frozen/eval.py, `run_one_epoch` and `init_opt` (lr 0.01, wd 1.0).
`attentive_vjepa2_grid.safetensors` holds the same of facebookresearch/vjepa2's for four probes of depth 2 at once: of
rates 0.01 and 0.001 and decays 0.1 and 0.8 (`members`), the weights after the training under `trained0/` to
`trained3/`.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mimbench
from benchmarks.config import load_recipe
from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.optim import Schedules, build_optimizer, decays, parameter_groups
from tests.support.runs import record_of, trained
from transfer.classification.attentive import AttentiveProbe, QueryPooler, members_of
from transfer.classification.frozen.recipe import AttentiveRecipe
from transfer.encoder.features import OUTPUT, FrozenEncoder
from transfer.predictions.held_out import bounded

FIXTURES = Path(__file__).parent / "fixtures"
SHORT = ["training.epochs=1", "training.schedule.warmup_epochs=0", "training.batch_size=20"]
OFFICIAL = {1: "attentive_jepa", 4: "attentive_vjepa2"}
"""The fixture by the depth of the pooler."""
NAMES = (
    ("pooler.query_tokens", "0.query"),
    ("pooler.cross_attention_block.xattn.", "0."),
    ("pooler.cross_attention_block.", "0."),
    ("pooler.blocks.", "0.blocks."),
    ("linear.", "1."),
)


def official(depth: int) -> dict[str, Tensor]:
    return load_file(FIXTURES / f"{OFFICIAL[depth]}.safetensors")


def part(found: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return one part of a fixture under our names, without `xattn.proj`, which V-JEPA's forward pass does not use."""
    renamed = {}
    for key, tensor in found.items():
        if not key.startswith(f"{name}/") or "xattn.proj" in key:
            continue
        theirs = key.removeprefix(f"{name}/")
        beginning, ours = next(pair for pair in NAMES if theirs.startswith(pair[0]))
        renamed[ours + theirs.removeprefix(beginning)] = tensor
    return renamed


def head(depth: int, width: int, heads: int) -> nn.Sequential:
    recipe = load_recipe(AttentiveRecipe, "transfer", "imagenet1k_attentive_vjepa", [f"depth={depth}"]).config
    return nn.Sequential(QueryPooler(width, heads, recipe), nn.Linear(width, 5))


def require_trained_as(ours: nn.Module, theirs: dict[str, Tensor]) -> None:
    """Hold all weights to the official ones but the biases of keys, which add the same to all logits of a query.

    Their gradient is therefore rounding alone, another on every CPU, and Adam divides it by its own size.
    """
    mine = ours.state_dict()
    assert theirs.keys() == mine.keys()
    for name, tensor in mine.items():
        apart = 3 if name.endswith("qkv.bias") else 2 if name.endswith("kv.bias") else 1
        for at, (our, their) in enumerate(zip(tensor.chunk(apart), theirs[name].chunk(apart), strict=True)):
            if apart == 1 or at != apart - 2:  # the keys stand before the values
                torch.testing.assert_close(our, their, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("depth", OFFICIAL)
def test_logits_and_gradients_are_those_of_the_official_code(depth: int) -> None:
    found, ours = official(depth), head(depth, 16, 2)
    ours.load_state_dict(part(found, "weights"))
    logits = ours(found["tokens"])
    torch.testing.assert_close(logits, found["logits"], rtol=0, atol=2e-6)
    cross_entropy(logits, torch.tensor([0, 3, 1])).backward()
    torch.testing.assert_close(ours[0].query.grad, found["query_gradient"], rtol=0, atol=2e-6)


def test_a_training_ends_with_the_weights_of_the_official_code() -> None:
    """The rate falls to 0 and the decay to 1e-6 along cosines, of which the last step has the end."""
    found, ours = official(1), head(1, 16, 2)
    ours.load_state_dict(part(found, "weights"))
    overrides = ["training.epochs=2", "training.batch_size=6", "training.weight_decay=1.0"]
    overrides += ["training.schedule={base_lr: 0.01, warmup_lr: 0.01, min_lr: 0, warmup_epochs: 0, per_images: 6}"]
    training = load_recipe(AttentiveRecipe, "transfer", "imagenet1k_attentive_vjepa", overrides).config.training
    optimizer = build_optimizer(parameter_groups(ours, training.weight_decay), training)
    schedules = Schedules(optimizer, training, 8, 4)
    for step in range(8):
        schedules.step_update(step)
        optimizer.zero_grad()
        loss = cross_entropy(ours(found["training_tokens"][step % 4]), found["training_labels"][step % 4])
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(ours.parameters(), training.clip_grad_norm or math.inf)
        optimizer.step()
    require_trained_as(ours, part(found, "trained"))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 1e-6}


def test_a_grids_training_ends_with_the_weights_of_v_jepa_2s_probes() -> None:
    """Each probe has a rate that falls to 0 and a decay that stays, which biases and norms have, too."""
    found = load_file(FIXTURES / "attentive_vjepa2_grid.safetensors")
    grid = "grid={learning_rates: [0.01, 0.001], weight_decays: [0.1, 0.8], decay_everything: true, "
    overrides = [f"{grid}held_out: {{per_class: 1}}}}", "depth=2", "heads=2", "training.epochs=2"]
    overrides += ["training.schedule={base_lr: 0.3, warmup_lr: 0.3, min_lr: 0, warmup_epochs: 0, per_images: 6}"]
    overrides += ["training.batch_size=6", "training.clip_grad_norm=null", "training.final_weight_decay=null"]
    recipe = load_recipe(AttentiveRecipe, "transfer", "imagenet1k_attentive_vjepa", overrides).config
    backbone = build_backbone(
        Architecture(name="vit_tiny_patch16_224", arguments={"embed_dim": 16, "num_heads": 2}), 224
    )
    probe = AttentiveProbe(FrozenEncoder(backbone, (OUTPUT,), 224, 3), recipe, 5)
    assert isinstance(probe.head, nn.ModuleList)
    values = [value for each in members_of(recipe.grid) for value in (each.learning_rate, each.weight_decay)]
    assert values == pytest.approx(found["members"].flatten().tolist())
    for one in probe.head:
        one.load_state_dict(part(found, "weights"))
    optimizer = build_optimizer(probe.groups(recipe.grid, recipe.training), recipe.training)
    schedules = Schedules(optimizer, recipe.training, 8, 4)
    for step in range(8):
        schedules.step_update(step)
        optimizer.zero_grad()
        tokens, labels = (found[name][step % 4] for name in ("tokens", "labels"))
        losses = [cross_entropy(bounded(logits), labels) for logits in probe(tokens.flatten(1))]
        sum(losses[1:], start=losses[0]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for at, one in enumerate(probe.head):
        require_trained_as(one, part(found, f"trained{at}"))


def test_a_member_of_a_grid_ends_as_it_does_in_a_grid_of_its_own(small_digits: Path, tmp_path: Path) -> None:
    """No probe influences another, and the held-out images choose: they are none of those that are trained on."""
    runs = {}
    for rates in ("[1e-3, 5e-3, 1e30]", "[5e-3]"):
        grid = f"grid={{learning_rates: {rates}, weight_decays: [0.1], held_out: {{per_class: 1}}}}"
        asked = [*digits_command(small_digits), "--recipe", "digits_attentive_grid", grid]
        runs[rates] = trained([*asked, "training.batch_size=10", "training.epochs=3"], tmp_path / rates)
    many, one = ([*csv.DictReader((folder / "grid.csv").open())] for folder in runs.values())
    assert [row["note"] for row in many][2] == "diverged"
    assert {key: many[1][key] for key in ("learning_rate", "held_out_top1", "held_out_loss")} == {
        key: one[0][key] for key in ("learning_rate", "held_out_top1", "held_out_loss")
    }
    record = record_of(runs["[1e-3, 5e-3, 1e30]"])
    assert record.choice is not None
    assert (record.choice.members, record.choice.held_out_images) == (3, 10)
    assert record.training_images == 30
    assert record.trained_parameters == 3 * (record_of(runs["[5e-3]"]).trained_parameters or 0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.clip_grad_norm=1.0", "clip_grad_norm must be null with a grid"),
        ("training.final_weight_decay=0.1", "final_weight_decay must be null with a grid"),
        ("grid.weight_decays=[0.1, 0.1]", "each value once"),
        ("grid.learning_rates=[]", "learning_rates"),
    ],
)
def test_what_a_grid_cannot_have_is_refused(
    small_digits: Path, capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    asked = [*digits_command(small_digits), "--recipe", "digits_attentive_grid", override]
    assert mimbench.main(asked) == 2
    assert words in capsys.readouterr().err


def digits_command(data: Path) -> list[str]:
    return ["transfer", "digits", f"data.root={data}", "--encoder", "random:digits_swin"]


@pytest.mark.parametrize("depth", OFFICIAL)
def test_initial_weights_are_as_wide_as_the_official_codes(depth: int) -> None:
    torch.manual_seed(1)
    ours = dict(head(depth, 256, 8).named_parameters())
    for name, expected in part(official(depth), "initial_std").items():
        rel = 4 / math.sqrt(ours[name].numel())
        assert ours[name].std(unbiased=False).item() == pytest.approx(expected.item(), rel=rel, abs=1e-12), name


def test_the_query_and_all_matrices_decay_as_in_the_official_code() -> None:
    """V-JEPA's `init_opt` spares what has `bias` in its name or one axis."""
    for name, parameter in head(4, 16, 2).named_parameters():
        assert decays(name, parameter) == ("bias" not in name and parameter.ndim != 1), name


@pytest.mark.parametrize(
    ("name", "arguments", "layer", "heads"),
    [
        ("vit_large_patch16_224", {"depth": 1}, OUTPUT, 16),
        ("swin_base_patch4_window7_224", {"depths": [1, 1, 1, 1]}, OUTPUT, 32),
        ("swin_base_patch4_window7_224", {"depths": [1, 1, 1, 1]}, 3, 16),
        ("beit_base_patch16_224", {"depth": 1}, OUTPUT, 12),
    ],
)
def test_heads_are_the_encoders_own(name: str, arguments: dict[str, object], layer: int, heads: int) -> None:
    """The numbers of heads are those of the papers: ViT-L 16, BEiT-B 12; Swin-B 4, 8, 16, 32 in its stages."""
    recipe = load_recipe(AttentiveRecipe, "transfer", "imagenet1k_attentive_vjepa").config
    with torch.device("meta"):
        backbone = build_backbone(Architecture(name=name, arguments=arguments), 224)
        probe = AttentiveProbe(FrozenEncoder(backbone, (layer,), 224, 3), recipe, 10)
        (logits,) = probe(torch.zeros(2, 3, 224, 224))
    assert logits.shape == (2, 10)
    assert isinstance(probe.head, nn.Sequential)
    assert probe.head[0].heads == heads


def test_an_encoder_without_attention_needs_a_number_of_heads(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["transfer", "digits", "--recipe", "digits_attentive", f"data.root={small_digits}"]
    command += ["--encoder", "random:convnext_atto", "--runs", str(tmp_path), "layer=null", *SHORT]
    assert mimbench.main(command) == mimbench.WRONG
    said = capsys.readouterr().err
    assert "heads = null" in said
    assert "blocks (ConvNeXtBlock) have no attention" in said


def test_a_run_of_before_the_pooler_was_a_field_keeps_its_id(small_digits: Path, tmp_path: Path) -> None:
    """`digits-digits_attentive-...` of these fields was made with timm's pooling, and is still the same work."""
    command = ["transfer", "digits", "--recipe", "digits_attentive", f"data.root={small_digits}", *SHORT]
    command += ["--encoder", "random:digits_swin", "--runs", str(tmp_path)]
    digests = set()
    for more in (["pooler=timm", "heads=4"], ["pooler=v-jepa", "heads=4"]):
        before = set(tmp_path.glob("*"))
        assert mimbench.main([*command, *more]) == 0
        (folder,) = set(tmp_path.glob("*")) - before
        record = record_of(folder)
        digests.add(record.recipe.digest)
        assert ("pooler" in (record.recipe.beside_digest or ())) == (more[0] == "pooler=timm")
    assert len(digests) == 2


def test_depth_needs_v_jepas_pooler(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["transfer", "digits", "--recipe", "digits_attentive", "--print", "pooler=timm", "depth=4"]
    assert mimbench.main(command) == mimbench.WRONG
    assert "depth above 1 needs pooler=v-jepa" in capsys.readouterr().err
