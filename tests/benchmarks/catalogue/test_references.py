"""Published numbers: every shipped row is sound, and a broken row is refused with file, line, field and rule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.catalogue.published import load_references
from benchmarks.errors import UserError

HEADER = "task,protocol,method,backbone,pretrain_epochs,image_size_px,init_stage,variant,metric,value,source,locator,"
HEADER += "verified"
ROW = 'imagenet1k,finetune,simmim,Swin-B,100,192,self-supervised,,top1,82.8,https://x.org/x,"Table 1, row 2",true'


def write(folder: Path, *lines: str) -> Path:
    path = folder / "paper.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def found(backbone: str, epochs: int | None, image_size_px: int, source: str) -> list[float]:
    return [
        float(each.value)
        for each in load_references()
        if each.metric == "top1"
        and (each.backbone, each.pretrain_epochs, each.image_size_px) == (backbone, epochs, image_size_px)
        and source in each.source
        and each.verified
    ]


@pytest.mark.parametrize(
    ("backbone", "epochs", "image_size_px", "top1"),
    [
        ("Swin-B", 100, 192, 82.8),
        ("Swin-B", 100, 224, 83.5),
        ("Swin-B", 800, 224, 84.0),
        ("Swin-L", 800, 224, 85.4),
        ("SwinV2-H", 800, 224, 85.7),
        ("SwinV2-H", 800, 512, 87.1),
        ("ViT-B", 800, 224, 83.8),
    ],
)
def test_simmims_own_table_is_shipped(backbone: str, epochs: int, image_size_px: int, top1: float) -> None:
    assert found(backbone, epochs, image_size_px, "microsoft/SimMIM") == [top1]


def test_torchvision_itself_confirms_its_row() -> None:
    from torchvision.models import Swin_B_Weights

    published = Swin_B_Weights.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert found("Swin-B", None, 224, "pytorch.org") == [published]


def test_the_model_hub_is_shipped_whole() -> None:
    """63 runs, each with its loss and its accuracy; ends of the table and an odd place as its page shows them."""
    hub = [each for each in load_references() if "MODELHUB.md, Simmim" in each.locator]
    by_metric = Counter((each.backbone, each.metric) for each in hub if each.metric != "parameters_millions")
    sizes = {"SwinV2-S": 12, "SwinV2-B": 15, "SwinV2-L": 15, "SwinV2-H": 12, "SwinV2-g": 9}
    assert by_metric == {(name, metric): n for name, n in sizes.items() for metric in ("masked_loss", "top1")}
    shown = {(each.backbone, each.variant, each.metric): str(each.value) for each in hub}
    for backbone, data, iterations, loss, top1 in (
        ("SwinV2-S", "ImageNet-1K 10%", "125k", "0.4820", "82.69"),
        ("SwinV2-H", "ImageNet-1K 20%", "500k", "0.5071", "83.44"),
        ("SwinV2-g", "ImageNet-22K", "500k", "0.4416", "86.53"),
    ):
        variant = f"pretrained on {data}, {iterations} iterations of 2048"
        assert (shown[backbone, variant, "masked_loss"], shown[backbone, variant, "top1"]) == (loss, top1)


@pytest.mark.parametrize(
    ("task", "method", "backbone", "metric", "value", "verified"),
    [
        ("imagenet1k", "mae", "ViT-H", "top1", "77.2", True),
        ("imagenet1k", "dino", "ViT-B", "top1", "78.2", False),
        ("imagenet1k", "simmim", "ViT-B", "top1", "56.7", False),
        ("coco", "simmim", "Swin-B", "mask_ap", "46.4", True),
        ("coco", "simmim", "SwinV2-G", "box_ap", "63.1", True),
        ("ade20k", "supervised", "Swin-B", "mIoU_ms", "49.72", True),
        ("ade20k", "capi", "ViT-L", "mIoU", "29.2", True),
        ("kinetics400", "supervised", "Swin-B", "top1", "82.7", True),
        ("imagenet1k", "simmim", "Swin-B", "parameters_millions", "174.8", True),
        ("imagenet1k", "simmim", "SwinV2-H", "parameters_millions", "658", True),
        ("imagenet1k", "simmim", "SwinV2-H", "parameters_millions", "655", True),
        ("imagenet1k", "simmim", "SwinV2-G", "parameters_millions", "3000", True),
        ("imagenet1k", "simmim", "SwinV2-G", "times_less_data", "40", True),
    ],
)
def test_every_kind_of_number_is_there(
    task: str, method: str, backbone: str, metric: str, value: str, verified: bool
) -> None:
    about = [each for each in load_references() if (each.task, each.method, each.backbone) == (task, method, backbone)]
    assert (value, verified) in {(str(each.value), each.verified) for each in about if each.metric == metric}


def test_row_is_read_field_by_field(tmp_path: Path) -> None:
    write(tmp_path, HEADER, ROW, ROW.replace("100", "").replace("true", "false"))
    first, second = load_references(tmp_path)
    assert (first.task, first.backbone, first.pretrain_epochs, first.image_size_px) == (
        "imagenet1k",
        "Swin-B",
        100,
        192,
    )
    assert (first.metric, str(first.value), first.locator, first.verified) == ("top1", "82.8", "Table 1, row 2", True)
    assert (second.pretrain_epochs, second.verified) == (None, False)


@pytest.mark.parametrize(
    ("cell", "broken", "field", "rule"),
    [
        ("imagenet1k", "imagenet", "task = imagenet", "a task of the catalogue. Did you mean imagenet1k?"),
        ("top1", "top10", "metric = top10", "a metric of task imagenet1k: masked_loss, "),
        ("finetune", "tuned", "protocol = tuned", "'pretrain', 'finetune', 'linear' or 'knn'"),
        ("82.8", "828", "value = 828", "0 to 100 %"),
        ("82.8", "nan", "value = nan", "a finite number"),
        ("82.8", "", "value = (empty)", "Field required"),
        ("100", "1e2", "pretrain_epochs = 1e2", "a valid integer"),
        ("192", "0", "image_size_px = 0", "greater than or equal to 1"),
        ("self-supervised", "ssl", "init_stage = ssl", "'random', 'self-supervised', 'supervised' or 'fine-tuned'"),
        ("https://x.org/x", "the paper", "source = the paper", "an address that starts with https://"),
        ("true", "maybe", "verified = maybe", "a valid boolean"),
    ],
)
def test_broken_cell_is_named(tmp_path: Path, cell: str, broken: str, field: str, rule: str) -> None:
    assert ROW.count(cell) == 1
    path = write(tmp_path, HEADER, ROW, ROW.replace(cell, broken))
    with pytest.raises(UserError) as caught:
        load_references(tmp_path)
    first, second, third = str(caught.value).splitlines()
    assert first == f"{path}, line 3, {field}"
    assert second.startswith(f"  rule:   {rule}")
    assert third.startswith("  remedy: ")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER.replace("value", "score"), ROW], "line 1 = task,"),
        ([], "line 1 = "),
        ([HEADER, ROW + ",extra"], "line 2 = another number of cells"),
        ([HEADER, "imagenet1k,simmim"], "line 2 = another number of cells"),
        ([HEADER, ROW, ROW], "line 3 = a row given twice\n  rule:   given once (line 2 says the same)"),
        ([HEADER, ROW.replace('row 2"', "row 2")], "line 2 = (unreadable)"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(UserError) as caught:
        load_references(tmp_path)
    assert str(caught.value).startswith(f"{path}, {message}")
