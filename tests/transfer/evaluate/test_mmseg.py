"""mmsegmentation's models with their own heads: the scores are mmsegmentation's own, and nothing of a file runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mimbench
from benchmarks.errors import UserError
from tests.support.libraries import library
from tests.support.runs import only_run, record_of
from tests.transfer.evaluate.mmseg_models import SLIDE, cgnet, own_scores, saved, segformer, upernet_swin
from tests.transfer.kinds import cut_scenes, rows_of
from transfer.segmentation.plans.literals import parse_config, read_config, require_values
from transfer.segmentation.plans.user_config import pipeline_of

library("mmseg", "onedl-mmsegmentation")
WHOLE = {"mode": "whole"}


@pytest.fixture(scope="module")
def data(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_scenes(scenes, tmp_path_factory.mktemp("scored") / "scenes")


def evaluate(model: Path, data: Path, runs: Path, *more: str) -> int:
    command = ["evaluate", "digit_scenes", "--model", str(model), f"data.root={data}", "--runs", str(runs)]
    return mimbench.main([*command, *more])


@pytest.mark.parametrize(
    ("config", "suffix"),
    [(upernet_swin(WHOLE), None), (upernet_swin(SLIDE), ".py"), (segformer(WHOLE), ".json"), (cgnet(WHOLE), None)],
    ids=["upernet_swin", "slide", "segformer", "cgnet"],
)
def test_scores_are_mmsegmentations_own(config: dict[str, Any], suffix: str | None, data: Path, tmp_path: Path) -> None:
    model = saved(config, tmp_path, suffix or ".py")
    given = [] if suffix is None else ["--config", str(model.config)]
    assert evaluate(model.checkpoint, data, tmp_path / "runs", *given) == 0
    run = only_run(tmp_path / "runs")
    record = record_of(run)
    expected, by_class = own_scores(model.model, config, data)
    assert {name: value.last for name, value in record.metrics.items()} == pytest.approx(expected, rel=1e-6)
    rows = rows_of(run / "classes.csv")
    assert [float(row["iou_percent"] or "nan") for row in rows] == pytest.approx(by_class, rel=1e-6, nan_ok=True)
    assert sum(value > 0 for value in by_class) >= 2, "several classes are found, or nothing would be compared"
    report = record.load_report
    assert report is not None
    assert report.complete
    assert (report.loaded, report.coverage_percent) == (report.expected, 100.0)
    assert record.encoder is not None
    assert (record.encoder.method, record.encoder.init_stage) == ("mmsegmentation", "fine-tuned")


def test_a_swin_goes_by_its_own_name_and_the_same_command_does_nothing_twice(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(upernet_swin(WHOLE), tmp_path)
    assert evaluate(model.checkpoint, data, tmp_path / "runs") == 0
    encoder = record_of(only_run(tmp_path / "runs")).encoder
    assert encoder is not None
    assert encoder.architecture.name.startswith("swin_")
    assert encoder.architecture.arguments["embed_dim"] == 24
    assert evaluate(model.checkpoint, data, tmp_path / "runs") == 0
    assert "already done" in capsys.readouterr().out
    # Windows are a part of the protocol, and so of the run's identity.
    assert (
        evaluate(
            model.checkpoint,
            data,
            tmp_path / "runs",
            "mmseg.model.test_cfg.mode=slide",
            "mmseg.model.test_cfg.crop_size=[64,64]",
            "mmseg.model.test_cfg.stride=[42,42]",
        )
        == 0
    )
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == 2


def refused(capsys: pytest.CaptureFixture[str], model: Path, data: Path, *more: str) -> str:
    capsys.readouterr()
    runs = model.parent / "refused"
    assert evaluate(model, data, runs, *more) == mimbench.WRONG
    said = capsys.readouterr().err
    assert "rule:" in said
    assert "remedy:" in said
    return said


def altered(model: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = torch.load(model, weights_only=True)
    change(content)
    torch.save(content, model.with_name("altered.pth"))
    return model.with_name("altered.pth")


def test_no_code_of_a_config_runs(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(upernet_swin(WHOLE), tmp_path)
    hit = tmp_path / "hit"
    call = f"__import__('os').system('touch {hit}')"
    texts = {
        "import os": "line 1: import os",
        f"x = {call}": "line 1: __import__",
        f"{call}": "line 1: __import__",
        f"model = dict(type={call})": "line 1",
        f"model = [{call} for _ in (1,)]": "line 1",
        f"def f():\n    {call}": "line 1: def f",
        f"model: {call} = 1": "line 1",
        f"with open('{hit}', 'w'): pass": "line 1",
        f"model = dict(**{{'a': 1}}, b=f'{{{call}}}')": "line 1",
        "a = b = 1": "line 1",
        "a.b = 1": "line 1",
        "_base_ = './config.py'\n": "none of which is based on itself",
        "(" * 5000: "config =",
        "a = [1] * 9\n" + "".join(f"a = [{'a, ' * 9}]\n" for _ in range(9)): "at most 100,000 values",
        "model = 2 * 3": "model = (an expression in",
    }
    for text, words in texts.items():
        config = tmp_path / "config.py"
        config.write_text(text)
        assert words in refused(capsys, model.checkpoint, data, "--config", str(config)), text
        if not text.startswith("_base_"):
            inside = altered(model.checkpoint, lambda content, text=text: content["meta"].update(cfg=text))
            assert words in refused(capsys, inside, data), text
    assert not hit.exists()


def test_only_known_parts_are_built(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(upernet_swin(WHOLE), tmp_path)
    hit = tmp_path / "hit"

    def said(*path: str, value: Any) -> str:
        config = json.loads(json.dumps(upernet_swin(WHOLE)))
        inner = config
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        (tmp_path / "config.json").write_text(json.dumps(config))
        return refused(capsys, model.checkpoint, data, "--config", str(tmp_path / "config.json"))

    system = {"type": "os.system", "command": f"touch {hit}"}
    assert "model.backbone.type = 'os.system'" in said("model", "backbone", value=system)
    assert "model.decode_head.act_cfg.type" in said("model", "decode_head", "act_cfg", value=system)
    assert "TIMMBackbone" in said("model", "backbone", value={"type": "TIMMBackbone", "checkpoint_path": "x.pth"})
    assert "subprocess.run" in said("model", "type", value="subprocess.run")
    assert "_scope_" in said("model", "backbone", "_scope_", value="antigravity")
    assert "model.backbone.embed_dims" in said("model", "backbone", "embed_dims", value=2**40)
    assert "mmpretrain.ConvNeXt" in said("model", "backbone", value={"type": "mmpretrain.ConvNeXt"})
    assert "what mmseg can build" in said("model", "backbone", value={"type": "SwinTransformer", "wings": 2})
    assert "classes of the head = 12" in said("model", "decode_head", "num_classes", value=12)
    assert "as many as the test set has (11" in said("model", "decode_head", "num_classes", value=150)
    loader = ["test_dataloader", "dataset", "pipeline"]
    assert "test_pipeline[0]" in said(*loader, value=[{"type": "Albu", "transforms": []}])
    assert "a pipeline that resizes" in said(*loader, value=[{"type": "PackSegInputs"}])
    assert not hit.exists()
    assert not (tmp_path / "refused").exists() or not list((tmp_path / "refused").glob("*/record.json"))


def test_a_file_that_is_not_the_configs_model_fails_the_run(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(segformer(WHOLE), tmp_path)
    name = "decode_head.fusion_conv.conv.weight"

    def transpose(content: dict[str, Any]) -> None:
        content["state_dict"][name] = content["state_dict"][name].transpose(0, 1).contiguous()

    def lose(content: dict[str, Any]) -> None:
        del content["state_dict"]["backbone.layers.0.0.projection.weight"]

    def rename(content: dict[str, Any]) -> None:
        content["state_dict"]["decode_head.conv_seg.extra"] = torch.zeros(3)

    for change, words in (
        (transpose, f"of another shape: {name}: found [64, 16, 1, 1], expected [16, 64, 1, 1]"),
        (lose, "missing from the checkpoint: backbone.layers.0.0.projection.weight"),
        (rename, "without a place in the encoder: decode_head.conv_seg.extra"),
    ):
        capsys.readouterr()
        assert evaluate(altered(model.checkpoint, change), data, tmp_path / change.__name__) == mimbench.FAILED
        assert words in capsys.readouterr().err
        assert record_of(only_run(tmp_path / change.__name__)).status == "failed"

    def swap(content: dict[str, Any]) -> None:
        names = [f"class {at}" for at in (2, 1, *range(3, 12))]
        content["meta"]["dataset_meta"]["classes"] = names

    assert "in the order of the masks' values" in refused(capsys, altered(model.checkpoint, swap), data)
    assert "--head-classes = imagenet1k" in refused(capsys, model.checkpoint, data, "--head-classes", "imagenet1k")
    bare = altered(model.checkpoint, lambda content: content.pop("meta"))
    assert "--config = (not given)" in refused(capsys, bare, data)
    assert "a model's tensors" in refused(capsys, altered(model.checkpoint, lambda c: c.pop("state_dict")), data)


CONFIGS = (
    "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py",
    "beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py",
    "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py",
    "mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py",
    "vit/vit_deit-b16_mln_upernet_8xb2-160k_ade20k-512x512.py",
    "deeplabv3plus/deeplabv3plus_r50-d8_4xb4-160k_ade20k-512x512.py",
)


@pytest.mark.parametrize("name", CONFIGS)
def test_published_configs_mean_what_mmengine_makes_of_them(name: str) -> None:
    from mmengine.config import Config

    path = Path(library("mmseg", "onedl-mmsegmentation").__file__).parent / ".mim" / "configs" / name
    if not path.exists():
        pytest.skip("this build of mmsegmentation comes without its configs")
    theirs, ours = Config.fromfile(path).to_dict(), read_config(path)
    for config in (ours, parse_config(Config.fromfile(path).pretty_text, name)):
        for found, expected in (
            (config["model"], theirs["model"]),
            (pipeline_of(config, "test_pipeline"), theirs["test_dataloader"]["dataset"]["pipeline"]),
        ):
            require_values(found, name)
            assert found == expected


def test_a_value_that_is_no_literal_is_named_where_it_is_needed() -> None:
    config = parse_config("size = 512\nmodel = dict(a=size, b=[size * 2])", "x.py")
    assert config["model"]["a"] == 512
    with pytest.raises(UserError, match=r"model\.b\[0\] = \(an expression in x\.py, line 2\)"):
        require_values(config["model"], "model")
