"""Encoders of clips, V-JEPA 2 and VideoMAE: the authors' and transformers' own code as witness, on every protocol.

`fixtures/clip_encoders.json` holds every fifth token that facebookresearch/vjepa2 (commit c2963a4) and MCG-NJU/VideoMAE
(commit 14ef8d8) make of a clip of 6 frames, V-JEPA 2's of pictures that are not square.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import mimbench
from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from benchmarks.families.parts import Weights
from benchmarks.families.table import family_of
from benchmarks.verbs.statement import EncoderStatement
from tests.support.runs import record_of, trained
from tests.support.waves import fill
from tests.transfer.checkpoint.library_zoo import VIDEOMAE, VJEPA2, of_clips
from tests.transfer.checkpoint.official.files import OFFICIAL
from tests.transfer.video.models import recipe
from transfer.checkpoint.content.selection import Selection
from transfer.checkpoint.foreign import read_foreign
from transfer.encoder.features import OUTPUT
from transfer.encoder.proof.loading import load_encoder
from transfer.sources.references import resolve
from transfer.video.attentive import FrozenFrames, time_embedding
from transfer.video.model import build_video_model

WITNESS = json.loads((Path(__file__).parent / "fixtures" / "clip_encoders.json").read_text())
TINY = {"embed_dim": 64, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}
FRAMES = 8
LIBRARY: dict[str, Callable[[Path], Any]] = {
    "V-JEPA 2": of_clips(
        *("huggingface-vjepa2", "VJEPA2Model"), inner="encoder", pixels="pixel_values_videos", **VJEPA2
    ),
    "V-JEPA 2, classifier": of_clips(
        *("huggingface-vjepa2", "VJEPA2ForVideoClassification"),
        inner="vjepa2.encoder",
        pixels="pixel_values_videos",
        **VJEPA2,
    ),
    **{
        f"VideoMAE, {name}": of_clips("huggingface-videomae", kind, inner=inner, **{**VIDEOMAE, **own})
        for name, kind, inner, own in (
            ("normed", "VideoMAEModel", "", {"num_frames": FRAMES}),
            ("masked modelling", "VideoMAEForPreTraining", "videomae", {"num_frames": FRAMES}),
            ("classifier", "VideoMAEForVideoClassification", "videomae", {"num_frames": 4, "use_mean_pooling": True}),
        )
    },
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def built(name: str, **arguments: Any) -> Any:
    found = build_backbone(Architecture(name=name, arguments={**TINY, **arguments}), 32).eval()
    fill(found)
    return found


def waves(frames: int, height: int, width: int, clips: int = 1) -> Tensor:
    count = clips * 3 * frames * height * width
    return torch.sin(torch.arange(count, dtype=torch.float64) * 0.37).float().reshape(clips, 3, frames, height, width)


@pytest.mark.parametrize("name", WITNESS)
@torch.no_grad()
def test_tokens_are_those_of_the_authors_code(name: str) -> None:
    expected = WITNESS[name]
    tokens = built(name).forward_features(waves(*expected["size"]))
    assert list(tokens.shape) == expected["shape"]
    assert tokens[:, ::5].flatten().tolist() == pytest.approx(expected["tokens"], abs=5e-6)


@pytest.mark.parametrize("name", LIBRARY)
@torch.no_grad()
def test_tokens_of_clips_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    """A classifier's file holds the norm that its model has after the mean."""
    foreign = LIBRARY[name](tmp_path)
    read = read_foreign(foreign.save(tmp_path))
    model: Any = build_backbone(read.inferred.architecture, 64).eval()
    assert load_encoder(model, read.weights, read.layout.name).complete
    clips = torch.randn(2, 3, foreign.config.get("num_frames", FRAMES), 64, 64)
    theirs = foreign.dense(clips)
    assert (model.forward_features(clips) - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_the_target_encoder_is_taken_and_what_helps_a_training_is_named(tmp_path: Path) -> None:
    """The authors' configurations for evaluation say `checkpoint_key: target_encoder`; `src/hub/backbones.py` says that
    their files have a table of positions, which rotations replace."""
    table = {"module.backbone.pos_embed": torch.randn(1, 2048, 128)}
    one, two = (OFFICIAL["V-JEPA 2"].file() | table for _ in range(2))
    predictor = {"module.backbone.predictor_embed.weight": torch.randn(4, 128)}
    torch.save({"encoder": one, "predictor": predictor, "target_encoder": two, "epoch": 3}, tmp_path / "vitl.pt")
    read = read_foreign(tmp_path / "vitl.pt")
    assert read.weights["norm.weight"].equal(two["module.backbone.norm.weight"])
    assert read.found.remarks == (
        "weights: target_encoder; the file holds encoder, predictor as well (--weights takes another)",
    )
    assert read.stage == "self-supervised"
    assert "pos_embed" not in read.weights
    other = read_foreign(tmp_path / "vitl.pt", selection=Selection(weights="encoder"))
    assert other.weights["norm.weight"].equal(one["module.backbone.norm.weight"])

    torch.save({"model": OFFICIAL["VideoMAE"].file()}, tmp_path / "videomae.pth")
    masked = read_foreign(tmp_path / "videomae.pth")
    assert masked.stage == "self-supervised"
    assert masked.found.facts["dropped_prefixes"] == {"decoder": 8, "encoder_to_decoder": 1, "mask_token": 1}


def test_the_rest_of_a_model_beside_its_encoder_is_named(tmp_path: Path) -> None:
    read = read_foreign(LIBRARY["V-JEPA 2, classifier"](tmp_path).save(tmp_path))
    dropped = read.found.facts["dropped_prefixes"]
    assert isinstance(dropped, dict)
    assert dropped.keys() == {"classifier", "pooler", "vjepa2.predictor"}
    assert read.stage is None  # its authors' encoders were frozen; others' need not be


def damaged(tensors: Weights, name: str, change: Callable[[Weights], Weights], folder: Path) -> Path:
    path = folder / f"{name}.pth"
    torch.save({"model": change(tensors)}, path)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: {n: t for n, t in w.items() if not n.startswith("encoder.")}, "an encoder in a known layout"),
        (lambda w: {**w, "encoder.pos_embed": torch.zeros(1, 4, 128)}, "without a place in the encoder: pos_embed"),
        (lambda w: {n: t for n, t in w.items() if "blocks.1.mlp.fc2" not in n}, "missing.*blocks.1.mlp.fc2.weight"),
        (
            lambda w: {n: torch.zeros_like(t) if "fc1.weight" in n else t for n, t in w.items()},
            "all 49152 numbers are 0",
        ),
        (
            lambda w: {n: t.flatten(1) if n == "encoder.patch_embed.proj.weight" else t for n, t in w.items()},
            "patch_embed.proj.weight",
        ),
    ],
)
def test_what_is_no_whole_encoder_stops_before_training(
    change: Callable[[Weights], Weights],
    words: str,
    tmp_path: Path,
    motion: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = damaged(OFFICIAL["VideoMAE"].file(), "videomae", change, tmp_path)
    command = ["transfer", "digit_motion", "--encoder", str(path), f"data.root={motion}", "--runs", str(tmp_path / "r")]
    assert mimbench.main([*command, "--stage", "self-supervised"]) in (1, 2)
    found = " ".join(capfd.readouterr().err.split())
    assert re.search(words, found), found


def test_a_configuration_that_the_kernel_contradicts_is_refused(tmp_path: Path) -> None:
    foreign = LIBRARY["VideoMAE, normed"](tmp_path)
    foreign.config["tubelet_size"] = 4
    with pytest.raises(UserError, match=r"tubelet_size in config.json = 4\n.*2, as the weights have"):
        read_foreign(foreign.save(tmp_path))


def test_the_first_v_jepa_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = {**OFFICIAL["V-JEPA 2"].file(), "module.backbone.pos_embed": torch.randn(1, 1568, 128)}
    torch.save({"target_encoder": file}, tmp_path / "vitl16.pth.tar")
    with pytest.raises(UserError, match="V-JEPA, the first"):
        read_foreign(tmp_path / "vitl16.pth.tar")


@pytest.mark.parametrize("name", WITNESS)
def test_layers_are_those_of_the_authors_layer_decay(name: str) -> None:
    """MCG-NJU/VideoMAE `optim_factory.py`: the embedding, every block, the rest."""
    layers = family_of(built(name)).layers()
    names = ("patch_embed.proj.weight", "blocks.0.norm1.bias", "blocks.1.attn.proj.weight", "norm.weight", "head.bias")
    assert (layers.count, [layers.of(each) for each in names]) == (4, [0, 1, 2, 3, 3])


def test_a_kernel_of_other_sizes_embeds_alike() -> None:
    """Larger patches of an enlarged constant picture, and one channel for three equal ones."""
    model, large = built("vjepa2_vit_large"), built("vjepa2_vit_large", patch_size=32, in_chans=1)
    report = load_encoder(large, dict(model.state_dict()), "test")
    assert report.complete
    assert [(each.name, each.mode) for each in report.resized] == [
        ("patch_embed.proj.weight", "channels-summed, pseudo-inverse")
    ]
    shade = torch.tensor([0.3, -0.7]).reshape(1, 1, 2, 1, 1)
    small = model.patch_embed(shade.expand(1, 3, 2, 16, 16))
    torch.testing.assert_close(large.patch_embed(shade.expand(1, 1, 2, 32, 32)), small, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_clips_are_seen_whole_by_fine_tuning(tmp_path: Path) -> None:
    """The order of frames is seen, unlike by frame pooling, which remains to be had."""
    foreign = LIBRARY["VideoMAE, normed"](tmp_path)
    source = resolve(str(foreign.save(tmp_path)), EncoderStatement(stage="self-supervised"))
    sizes = ("image_size_px=64", f"sampling.frames={FRAMES}")
    model = build_video_model(recipe(*sizes, "temporal=auto"), source, 5, 0).model.encoder.eval()
    clips = torch.randn(2, 3, FRAMES, 64, 64)
    theirs = foreign.pooled(clips)
    assert (model(clips) - theirs).abs().max() < 1e-5 * theirs.abs().max()
    assert not torch.allclose(model(clips), model(clips.flip(2)), atol=1e-3)
    frames = build_video_model(recipe(*sizes, "temporal=frame_pooling"), source, 5, 0).model.encoder.eval()
    torch.testing.assert_close(frames(clips), frames(clips.flip(2)), atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match=r"frames of a clip = 7\n.*a multiple of 2[^\n]*\n.*sampling.frames=8"):
        build_video_model(recipe("image_size_px=64", "sampling.frames=7", "temporal=clips"), source, 5, 0)
    with pytest.raises(UserError, match="clips for a video ViT"):
        build_video_model(recipe("temporal=clips"), resolve("random:digits_swin"), 5, 0)


@torch.no_grad()
def test_the_probe_sees_each_segment_as_a_clip() -> None:
    """facebookresearch/vjepa2 `vit_encoder_multiclip.py`: every clip by itself, tokens joined along time."""
    model = built("vjepa2_vit_large")
    frames = FrozenFrames(model, (OUTPUT,), 32, 3)
    frames.part_frames = 4
    clips = torch.randn(2, 3, 8, 32, 32)
    (tokens,) = frames.patches(clips)
    parts = [model.forward_features(part) for part in (clips[:, :, :4], clips[:, :, 4:])]
    torch.testing.assert_close(tokens, torch.cat(parts, dim=1))
    frames.time_embedding = True
    added = (frames.patches(clips)[0] - tokens).reshape(2, 4, 4, 64)
    torch.testing.assert_close(added, time_embedding(4, 64)[:, None].expand(2, 4, 4, 64), atol=1e-5, rtol=1e-4)


SMALL_STEPS = [
    "training.epochs=1",
    "training.schedule.warmup_epochs=0",
    "sampling.test_clips=1",
    "sampling.test_crops=1",
]
TINIEST = {"patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2, "mlp_ratio": 2.0}


@pytest.mark.parametrize("name", WITNESS)
def test_an_encoder_of_clips_is_fine_tuned_exported_and_used_again(
    name: str, video_command: list[str], motion: Path, tmp_path: Path
) -> None:
    """The order of frames is what digit_motion asks for; here it runs a step or two."""
    made = build_backbone(Architecture(name=name, arguments=TINIEST), 32)
    fill(made)
    save_file({n: t.contiguous() for n, t in made.state_dict().items()}, tmp_path / "encoder.safetensors")
    about = {"name": name, "arguments": TINIEST}
    (tmp_path / "tiny.yaml").write_text(json.dumps(about))
    foreign = ["--encoder", str(tmp_path / "encoder.safetensors"), "--architecture", str(tmp_path / "tiny.yaml")]
    foreign += ["--stage", "self-supervised"]
    folder = trained([*video_command, *foreign, *SMALL_STEPS, "layer_decay=0.75"], tmp_path / "runs")
    record = record_of(folder)
    assert record.load_report is not None
    assert (record.load_report.coverage_percent, record.load_report.complete) == (100, True)
    exported = load_file(folder / "encoder" / "encoder.safetensors")
    assert exported.keys() == made.state_dict().keys()
    assert not exported["blocks.0.mlp.fc1.weight"].equal(made.state_dict()["blocks.0.mlp.fc1.weight"])

    command = ["transfer", "digit_motion", "--recipe", "digit_motion_attentive", f"data.root={motion}", "layer=1"]
    again = trained([*command, "--encoder", str(folder), *SMALL_STEPS[:2], "heads=2"], tmp_path / "probes")
    used = record_of(again).encoder
    assert used is not None
    assert used.sha256 == record.exported_sha256
    assert record_of(again).exported_sha256 is None
