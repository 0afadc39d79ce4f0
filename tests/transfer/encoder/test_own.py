"""`--encoder python:MODULE:FACTORY`: a person's own code on every kind of task, and what is said of broken code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

import mimbench
from benchmarks.encoders import Architecture, read_manifest
from benchmarks.engine import own_code
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.own_code import build_own, trust
from benchmarks.families.sizes import MapSizes
from benchmarks.families.table import family_of
from benchmarks.verbs.statement import EncoderStatement
from tests.support import own_encoders
from tests.support.runs import only_run, record_of
from tests.transfer.kinds import CLASSIFICATION, DETECTION, KINDS, SEGMENTATION, VIDEO, Kind
from transfer.encoder.dense import Encoder
from transfer.sources.references import resolve

MODULE = "python:tests.support.own_encoders"
CNN = f"{MODULE}:tiny_cnn"
VJEPA = f"{MODULE}:vjepa2_of_transformers"


@pytest.fixture(autouse=True)
def _no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins as a new process does: no code was named."""
    monkeypatch.setattr(own_code, "_trusted", set())


def transfer(kind: Kind, encoder: str, tmp_path: Path, request: pytest.FixtureRequest, *more: str) -> int:
    kind.require()
    data = kind.cut(request.getfixturevalue(kind.whole), tmp_path / "data")
    where = ["--encoder", encoder, "--stage", "supervised", "--runs", str(tmp_path / "runs")]
    return mimbench.main([*kind.command(data), *where, *kind.shorter, *more])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_convnet_of_ones_own_is_trained_on_every_task(
    kind: Kind, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert transfer(kind, CNN, tmp_path, request, *kind.exporting) == mimbench.DONE
    source = Path(own_encoders.__file__)
    assert f"the code in {source} runs in this process" in capsys.readouterr().err
    record = record_of(only_run(tmp_path / "runs"))
    assert record.encoder is not None
    assert record.encoder.code is not None
    assert (record.encoder.code.module, record.encoder.code.factory) == ("tests.support.own_encoders", "tiny_cnn")
    assert record.encoder.code.source_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert record.encoder.sha256 is not None
    assert record.load_report is not None
    assert (record.load_report.coverage_percent, record.load_report.missing) == (100, ())


@pytest.mark.parametrize("kind", [SEGMENTATION, DETECTION], ids=str)
def test_a_plain_transformer_of_hugging_face_gets_a_pyramid(
    kind: Kind, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    more = ["layer_decay=1.0"]
    assert transfer(kind, f"{MODULE}:vit_of_transformers", tmp_path, request, *more) == mimbench.DONE


@pytest.mark.parametrize("encoder", ["swin_of_transformers", "vit_of_transformers"])
@pytest.mark.parametrize("recipe", ["digits_knn", "digits_linear"])
def test_frozen_features_of_hugging_face(
    encoder: str, recipe: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = CLASSIFICATION.cut(request.getfixturevalue("digits"), tmp_path / "data")
    command = ["transfer", "digits", "--recipe", recipe, "--encoder", f"{MODULE}:{encoder}", "--stage", "supervised"]
    command += [f"data.root={data}", "image_size_px=32", "--runs", str(tmp_path / "runs")]
    training = ["training.epochs=1", "training.batch_size=20", "training.schedule.warmup_epochs=0"]
    command += training if recipe == "digits_linear" else ["other_k=[5]"]
    assert mimbench.main(command) == mimbench.DONE


def test_a_transformer_of_videos_sees_images_as_still_clips(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    trust(VJEPA)
    model = build_own(Architecture(name=VJEPA), 32, 0, 0.0).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        steps = model.body(torch.stack([images] * 4, dim=1), skip_predictor=True).last_hidden_state
        torch.testing.assert_close(model.forward_features(images), (steps[:, :4] + steps[:, 4:]) / 2)
    assert transfer(CLASSIFICATION, VJEPA, tmp_path, request, "layer_decay=1.0", "adapters.rank=2") == mimbench.DONE


def test_maps_are_those_of_the_library_for_images_of_any_size() -> None:
    trust(f"{MODULE}:swin_of_transformers")
    model = build_own(Architecture(name=f"{MODULE}:swin_of_transformers"), 32, 0, 0.0).eval()
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = Encoder(model)(images), model.body(images).feature_maps
        assert [each.shape for each in ours] == [each.shape for each in theirs]
        assert all(one.equal(other) for one, other in zip(ours, theirs, strict=True))
        assert [tuple(each.shape[2:]) for each in Encoder(model)(images[:, :, :50, :70])] == [
            (13, 18), (7, 9), (4, 5), (2, 3)
        ]  # fmt: skip


def test_ones_own_model_is_asked_as_timms_are() -> None:
    trust(CNN)
    model = build_own(Architecture(name=CNN), 64, 10, 0.0).eval()
    family, images = family_of(model), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert family.head_names() == {"head.weight", "head.bias"} == family.beside_maps()
    assert (family.built_px, family.in_chans, family.patch_size_px) == (64, 3, 4)
    assert family.map_sizes() == MapSizes()
    with torch.no_grad():
        output = model.forward_features(images)
        assert family.own_feature(output).equal(model.body(images)[-1].mean(dim=(2, 3)))
    assert family.own_width == output.shape[1] == 64
    assert family.fit("body.stem.weight", torch.zeros(8, 3, 8, 8), "bicubic") is None


def test_tokens_become_a_map_row_by_row() -> None:
    trust(f"{MODULE}:vit_of_transformers")
    model = build_own(Architecture(name=f"{MODULE}:vit_of_transformers"), 32, 10, 0.0).eval()
    images = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = model.body(images, interpolate_pos_encoding=True).last_hidden_state
        (found,) = Encoder(model)(images)
        assert found[0, :, 1, 2].equal(tokens[0, 1 + 1 * 3 + 2])
        assert model(images).equal(model.head(tokens[:, 0]))
    assert family_of(model).prefix_tokens == 1


def test_an_export_is_used_again_only_where_its_code_is_named(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert transfer(CLASSIFICATION, CNN, tmp_path, request) == mimbench.DONE
    run = only_run(tmp_path / "runs")
    data = tmp_path / "data"
    again = [*CLASSIFICATION.command(data), "--encoder", str(run), "--runs", str(tmp_path / "again")]
    again += CLASSIFICATION.shorter
    monkeypatch.setattr(own_code, "_trusted", set())
    assert mimbench.main(again) == mimbench.WRONG
    assert f"if you trust it: --architecture {CNN}" in capsys.readouterr().err
    assert mimbench.main([*again, "--architecture", CNN]) == mimbench.DONE
    record = record_of(only_run(tmp_path / "again"))
    assert record.encoder is not None
    assert record.encoder.init_stage == "fine-tuned"
    assert mimbench.main(["checkpoint", "inspect", str(run), "--architecture", CNN]) == mimbench.DONE
    monkeypatch.setattr(own_code, "_trusted", set())
    evaluate = ["evaluate", "digits", "--model", str(run), f"data.test_sets.same.root={data / 'test'}"]
    assert mimbench.main(evaluate) == mimbench.WRONG
    assert mimbench.main([*evaluate, "--architecture", CNN]) == mimbench.DONE


def test_an_export_keeps_the_source_that_trained_it(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert transfer(CLASSIFICATION, CNN, tmp_path, request) == mimbench.DONE
    run = only_run(tmp_path / "runs")
    use, manifest = record_of(run).encoder, read_manifest(run / "encoder")
    assert use is not None
    assert use.code is not None
    source = resolve(str(run), EncoderStatement(architecture=CNN))
    assert manifest.code == source.use.code == use.code
    assert source.remarks == ()
    data = json.loads((run / "encoder" / "manifest.json").read_text())
    data["code"]["source_sha256"] = "0" * 64
    (run / "encoder" / "manifest.json").write_text(json.dumps(data))
    (said,) = resolve(str(run), EncoderStatement(architecture=CNN)).remarks
    assert "000000000000... then" in said
    assert resolve(str(run), EncoderStatement(architecture=CNN)).use.code == use.code


def test_a_manifest_of_others_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Architectures come in files as well; one that names code is refused before Python looks for it."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    entry = tmp_path / "encoder.yaml"
    entry.write_text("name: python:evil:main\n")
    for reference in (f"random:{entry}", "random:python:evil:main"):
        command = ["transfer", "digits", "--encoder", reference, f"data.root={tmp_path / 'd'}", "--runs", str(tmp_path)]
        assert mimbench.main(command) == mimbench.WRONG
        assert "named by yourself" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("pooled", ("Tensor [1, 64]", "tokens [1, 4, D] or a map [1, D, 2, 2]")),
        ("of_a_library", ("a BaseModelOutputWithPooling", "tokens [1, 5, D]")),
        ("without_normalisation", ("OwnEncoder.mean", "one number for each channel")),
        ("a_model_alone", ("a TinyCnn", "return OwnEncoder(model, strides=(16,)")),
        ("broken", ("raised FileNotFoundError: weights.pth", "own_encoders.py, line")),
        ("leaves", ("raised SystemExit: 3", "own_encoders.py, line")),
        ("of_no_numbers", ("numbers that are not finite",)),
        ("of_another_draw_each_time", ("the same for the same image",)),
        ("of_half_precision", ("of torch.bfloat16", "features.float()")),
        ("of_others_blocks", ("OwnEncoder.blocks", "parts of the model")),
        ("on_the_scale_of_bytes", ("OwnEncoder.mean", "on a scale from 0 to 1")),
        ("of_one_size", ("raised ValueError: images of 32 px",)),
        ("no_such", ("a function of tests.support.own_encoders",)),
        ("not a name", ("python:MODULE:FACTORY",)),
    ],
)
def test_broken_code_is_told_what_it_returned_and_what_is_expected(factory: str, words: tuple[str, ...]) -> None:
    name = f"{MODULE}:{factory}"
    trust(name)
    with pytest.raises((mimbench_error("UserError"), mimbench_error("WorkFailed"))) as error:
        build_own(Architecture(name=name), 32, 0, 0.0)
    assert all(each in str(error.value) for each in words), str(error.value)


def mimbench_error(name: str) -> type[Exception]:
    from benchmarks import errors

    found: type[Exception] = getattr(errors, name)
    return found


def test_a_module_that_python_does_not_find(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["transfer", "digits", "--encoder", "python:no_such_package.encoders:make", "--stage", "supervised"]
    assert mimbench.main([*command, "--runs", str(tmp_path)]) == mimbench.WRONG
    assert "No module named 'no_such_package'" in capsys.readouterr().err


def test_random_weights_of_ones_own_are_the_same_every_time_and_stop_the_run(
    tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    trust(f"{MODULE}:untrained")
    one, other = (build_backbone(Architecture(name=f"{MODULE}:untrained"), 32).state_dict() for _ in range(2))
    assert all(one[name].equal(other[name]) for name in one)
    assert transfer(CLASSIFICATION, f"{MODULE}:untrained", tmp_path, request, "layer_decay=1.0") == mimbench.FAILED
    assert "as a fresh initialisation makes it" in capsys.readouterr().err


def test_what_the_contract_leaves_out_is_refused_before_training(
    tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    swin = f"{MODULE}:swin_of_transformers"
    assert transfer(CLASSIFICATION, swin, tmp_path / "a", request, "layer_decay=0.9") == mimbench.WRONG
    assert "layer_decay" in capsys.readouterr().err
    assert transfer(VIDEO, CNN, tmp_path / "b", request, "temporal=swin3d") == mimbench.WRONG
    assert "temporal=frame_pooling" in capsys.readouterr().err
    assert transfer(CLASSIFICATION, CNN, tmp_path / "c", request, "patch_size_px=8") == mimbench.WRONG
    assert "as its factory makes it" in capsys.readouterr().err
    for number, (name, words) in enumerate((("of_no_gradient", "detach()"), ("of_odd_layers", "a whole number"))):
        command = (CLASSIFICATION, f"{MODULE}:{name}", tmp_path / str(number), request, "layer_decay=0.9")
        assert transfer(*command) == mimbench.WRONG
        assert words in capsys.readouterr().err


def test_code_that_fails_in_training_alone_is_named(
    tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{MODULE}:that_fails_in_training"
    assert transfer(CLASSIFICATION, name, tmp_path / "a", request, "layer_decay=1.0") == mimbench.FAILED
    assert "that_fails_in_training raised IndexError" in capsys.readouterr().err


def test_an_encoder_of_one_size_is_tried_at_that_size_alone(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name, own = f"{MODULE}:of_one_size", ("layer_decay=1.0", "image_size_px=64")
    assert transfer(CLASSIFICATION, name, tmp_path, request, *own) == 0


def test_other_code_is_another_run(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The same weights through other code are other features: the run's id knows the source."""
    assert transfer(CLASSIFICATION, f"{MODULE}:grey", tmp_path, request, "layer_decay=1.0") == mimbench.DONE
    record = record_of(only_run(tmp_path / "runs"))
    from benchmarks.runs.identity import recorded_transfer_id

    assert recorded_transfer_id(record) == record.run_id
    report = ["report", "leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]
    assert mimbench.main(report) == mimbench.DONE
    assert f"{MODULE}:grey" in (tmp_path / "report" / "leaderboard.csv").read_text()
    data = json.loads(record.model_dump_json())
    data["encoder"]["code"]["source_sha256"] = "0" * 64
    assert recorded_transfer_id(type(record).model_validate_json(json.dumps(data))) != record.run_id
