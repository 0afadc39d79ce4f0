"""Toy additions to the program: for each, the files that it adds or edits, and a command that needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """Text that is put into a file of the program, in front of the first line that begins with `before`."""

    before: str
    text: str


@dataclass(frozen=True)
class Toy:
    """Something that a contributor could add."""

    row: str
    """What the first column of CONTRIBUTING.md's table calls it."""
    files: dict[str, str | list[Edit]]
    """By path: the whole text of a new file, or edits of one that is there."""
    arguments: list[str]
    """Of Python, in the folder of the program: fails without the toy."""
    shows: tuple[str, ...]
    """What its output then has."""

    def add_to(self, program: Path) -> None:
        """Write the toy into a copy of the program."""
        for name, change in self.files.items():
            path = program / name
            if isinstance(change, str):
                assert not path.exists(), f"{name} is there already"
                path.write_text(change)
                continue
            for edit in change:
                lines = path.read_text().splitlines(keepends=True)
                place = next(number for number, line in enumerate(lines) if line.startswith(edit.before))
                path.write_text("".join([*lines[:place], edit.text, *lines[place:]]))


STUDY = """# Do doodles help?
name: doodles
encoders: {a: {ref: "random:digits_swin"}}
tasks: [digits]
baseline: a
"""
MASKING = '''class CheckerboardMask(PatchMask):
    """Every other square."""

    kind: Literal["checkerboard"] = "checkerboard"

    def hidden_cells(self, side: int) -> int:
        """Return half of the squares."""
        return side * side // 2

    def cells(self, batch: int, side: int, generator: Generator) -> Tensor:
        """Hide the squares whose row and column have an odd sum."""
        import torch

        place = torch.arange(side, device=generator.device)
        return ((place[:, None] + place) % 2 == 1).expand(batch, -1, -1)


'''

HEAD = '''class ConstantHead(Head):
    """The same prediction everywhere."""

    kind: Literal["constant"] = "constant"

    def build(self, frame: Frame, resolution_px: int, outputs: int) -> nn.Module:
        from torch import nn

        return nn.Sequential(LinearHead().build(frame, resolution_px, outputs), nn.AdaptiveAvgPool2d(1))


'''

TASK = """        Task(
            name="doodles",
            version=1,
            kind="classification",
            dataset="drawings made in a minute",
            num_classes=7,
            metrics=(TOP1,),
            primary_metric="top1",
            recipe="doodles_finetune",
            source="https://example.org/doodles",
        ),
"""

REFERENCE = """task,protocol,method,backbone,pretrain_epochs,image_size_px,init_stage,variant,metric,value,source,\
locator,verified
doodles,finetune,supervised,Swin-T,,224,random,,top1,71.5,https://example.org/doodles,table 1,false
"""

RECIPE = """# Another training of the digits' recipe.
image_size_px: 32
data: {train_split: train, test_split: test}
training:
  epochs: 123
  batch_size: 50
  schedule: {base_lr: 1e-2, warmup_lr: 1e-5, min_lr: 1e-5, warmup_epochs: 5}
"""

ASK_ABOUT_A_TASK = """
import sys, mimbench
codes = [
    mimbench.main(["list", "references", "--task", "doodles", "--unverified"]),
    mimbench.main(["transfer", "doodles", "--encoder", "random:digits_swin", "--print"]),
]
sys.exit(max(codes))
"""

LAYOUT = '''"""ViT of a library that calls its blocks `units`."""

from __future__ import annotations

from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights


def _recognises(shapes: Shapes) -> bool:
    return "units.0.attn.qkv.weight" in shapes


def _to_timm(weights: Weights) -> Weights:
    return {name.replace("units.", "blocks."): tensor for name, tensor in weights.items()}


VIT_UNITS = Layout("units-vit", "vit", "ViT whose blocks are called units", _recognises, _to_timm)
'''

WRITE_UNITS = """
import sys, timm, torch, mimbench
model = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=0)
torch.save({name.replace("blocks.", "units."): each for name, each in model.state_dict().items()}, "units.pth")
sys.exit(mimbench.main(["checkpoint", "inspect", "units.pth"]))
"""

DRAW_MASKS = """
import torch
from benchmarks.config import load_recipe
from pretrain.recipe import PretrainRecipe
masking = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", ["masking.kind=checkerboard"]).config.masking
hidden = masking.sample(2, 32, 4, torch.Generator())
print("hidden:", hidden.float().mean().item())
"""

LOSS_OF_A_HEAD = """
import torch
from benchmarks.config import load_recipe
from pretrain.method.simmim import build_method
from pretrain.recipe import PretrainRecipe
recipe = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", ["head.kind=constant"]).config
print(build_method(recipe, torch.device("cpu")).model)
"""

TOYS = (
    Toy(
        "a masking strategy",
        {
            "pretrain/method/masking.py": [
                Edit("Masking = ", MASKING),
                Edit("    | Annotated[SquareMask", '    | Annotated[CheckerboardMask, Tag("checkerboard")]\n'),
            ]
        },
        ["-c", DRAW_MASKS],
        ("hidden: 0.5",),
    ),
    Toy(
        "a head",
        {
            "pretrain/method/heads.py": [
                Edit("Heads = ", HEAD),
                Edit("    | Annotated[MlpHead", '    | Annotated[ConstantHead, Tag("constant")]\n'),
            ]
        },
        ["-c", LOSS_OF_A_HEAD],
        ("AdaptiveAvgPool2d",),
    ),
    Toy(
        "a task",
        {
            "benchmarks/catalogue/tasks.py": [Edit("        Task(", TASK)],
            "benchmarks/recipes/transfer/doodles_finetune.yaml": RECIPE,
            "benchmarks/references/doodles.csv": REFERENCE,
        },
        ["-c", ASK_ABOUT_A_TASK],
        ("71.5", "epochs: 123"),
    ),
    Toy(
        "a checkpoint format",
        {
            "transfer/checkpoint/layouts/vit_units.py": LAYOUT,
            "transfer/checkpoint/layouts/plain/vit.py": [
                Edit("HEADS = ", "from transfer.checkpoint.layouts.vit_units import VIT_UNITS\n\n"),
                Edit("    DINOV2,", "    VIT_UNITS,\n"),
            ],
        },
        ["-c", WRITE_UNITS],
        ("units-vit",),
    ),
    Toy(
        "a report column",
        {
            "reports/tables/columns.py": [
                Edit(
                    '    row_column("Runs"',
                    '    row_column("Letters", Field("encoder_letters"), lambda row: str(len(row.encoder.label))),\n',
                )
            ]
        },
        ["-m", "mimbench", "report", "leaderboard", "records", "--out", "report", "--baseline", "simmim"],
        ("encoder_letters",),
    ),
    Toy(
        "a cluster",
        {"slurm/clusters/doodle.yaml": "executor: slurm\npartition: doodles\ntime_limit: 2h\n"},
        ["-c", "from slurm.graph.cluster import load_cluster; print(load_cluster('doodle').partition)"],
        ("doodles",),
    ),
    Toy(
        "a study",
        {
            "slurm/pipelines/doodles.yaml": STUDY,
            "slurm/pipelines/shortened/doodles.yaml": "seeds: [0]\n",
        },
        ["-m", "mimbench", "list", "pipelines"],
        ("Do doodles help?", "demo --study doodles"),
    ),
)
