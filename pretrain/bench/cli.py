"""`mimbench bench`: how fast pretraining is here, beside other programs, in one run."""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.config import Recipe, load_recipe
from benchmarks.errors import UserError, require_word
from benchmarks.files.atomic import make_folder
from benchmarks.runs.bench_record import BenchRecord, Timed
from benchmarks.runs.environment import describe
from benchmarks.runs.record import RecipeUse, now
from benchmarks.text.tables import aligned
from benchmarks.verbs.command import RECIPE_HELP
from pretrain.bench.child import OWN, Order
from pretrain.bench.pictures import write_pictures
from pretrain.recipe import PretrainRecipe

PEERS = {"step": ("timm", "huggingface", "simmim"), "loader": ("torchvision",), "scale": (), "start": ()}
MOST_PROCESSES = 64
PASSES = 3
"""A training step in forward passes: backwards, each matrix is multiplied twice (Kaplan et al. 2020, section 2.1)."""

EPILOG = """examples:
  mimbench bench simmim_swin_base_192_100ep --peer huggingface --peer simmim=../SimMIM training.precision=bf16

  mimbench bench simmim_swin_base_192_100ep --part loader --images /data/imagenet/train

  mimbench bench simmim_swin_base_192_100ep --part scale --processes 1,2,4 --threads 1

A whole step is timed: gradients set to nothing, forward, backward, clipping, optimiser. Every program has a process of
its own, and they take turns, so that what else the machine does slows all of them; a ratio is that of rounds side by
side. On a GPU, rounds are timed by its own events. "peak MB" is all memory of a program's process, or of its GPU;
"training MB" what it takes beyond torch and timm themselves. The record goes to RUNS/bench/, where `pipeline plan`
finds it.
"""


def main(argv: Sequence[str]) -> int:
    """Run the verb; return the exit code."""
    args = _parser().parse_intermixed_args(argv)
    for name, least in (("batch", 1), ("rounds", 1), ("warm_up", 0), ("threads", 1)):
        if (given := getattr(args, name)) < least:
            field = f"--{name.replace('_', '-')}"
            raise UserError.about(field, given, f"{least} or more", "leave it out for the default")
    set_for_bench = [f"training.batch_size={args.batch}", "training.accumulate=1", "training.workers=0"]
    recipe = load_recipe(PretrainRecipe, "pretrain", args.recipe, [*set_for_bench, *args.overrides])
    make_folder(args.runs)  # before minutes of measuring
    with tempfile.TemporaryDirectory() as folder:
        record = _measured(args, recipe, Path(folder))
    print(record.model_dump_json(indent=2) if args.json else _text(record), flush=True)
    path = record.write(args.runs)
    if not args.json:
        print(f"written to {path}")
    return 0


def _measured(args: argparse.Namespace, recipe: Recipe[PretrainRecipe], folder: Path) -> BenchRecord:
    from pretrain.bench.measure import in_turn, starts

    orders = _orders(args, recipe, folder)
    if args.part == "start":
        timed, about = starts(orders[0], args.rounds)
        programs, rate = [timed], None
    else:
        programs, about, rate = in_turn(orders, args.rounds, args.warm_up)
    one = about["flops_per_image"] if args.part == "step" else None
    return BenchRecord(
        recipe=RecipeUse(
            name=recipe.name,
            overrides=recipe.overrides,
            digest=recipe.config.identity_digest(),
            resolved=recipe.config.model_dump(mode="json"),
            placement=recipe.config.placement_fields(),
        ),
        part=args.part,
        batch_size=recipe.config.training.batch_size,
        threads=args.threads,
        environment=describe(about["device"]),
        programs=tuple(programs),
        matrix_flops_per_second=rate,
        step_flops=None if one is None else PASSES * one * recipe.config.training.batch_size,
        measured_at=now(),
    )


def _orders(args: argparse.Namespace, recipe: Recipe[PretrainRecipe], folder: Path) -> list[Order]:
    """Return what is timed; pictures are written to `folder` where they are needed and none are given."""
    images = args.images
    if args.part in ("loader", "start") and images is None:
        write_pictures(folder, recipe.config.training.batch_size)
        images = folder
    orders = [
        Order(
            part=args.part,
            name=name,
            path=str(path) if path else str(images) if images else None,
            recipe_name=recipe.name,
            recipe=config,
            threads=args.threads,
        )
        for name, path, config in [*_own(args.part, recipe.config), *((*peer, recipe.config) for peer in _peers(args))]
    ]
    return list(_teams(orders[0], _numbers(args.processes))) if args.part == "scale" else orders


def _numbers(text: str) -> list[int]:
    """Return the numbers of processes, the smallest first. Raises UserError for what is none."""
    words = {word.strip() for word in text.split(",")}
    if not all(word.isdecimal() and 0 < int(word) <= MOST_PROCESSES for word in words):
        rule = f"whole numbers from 1 to {MOST_PROCESSES}, with commas between"
        raise UserError.about("--processes", text, rule, "--processes 1,2,4")
    return sorted(map(int, words))


def _teams(order: Order, numbers: Sequence[int]) -> Iterator[Order]:
    """Yield the same training in so many processes, the model copied to each, and divided between them."""
    for count in numbers:
        for sharded in (False, True)[: 1 if count == 1 else 2]:
            training = order.recipe.training
            changed = {"batch_size": count * training.batch_size, "sharded": sharded}
            recipe = order.recipe.model_copy(update={"training": training.model_copy(update=changed)})
            name = f"{count} x {'FSDP2' if sharded else 'DDP'}" if count > 1 else "1 process"
            yield order.model_copy(update={"recipe": recipe, "processes": count, "name": "mimbench", "shown": name})


def _own(part: str, config: PretrainRecipe) -> Iterator[tuple[str, None, PretrainRecipe]]:
    """Yield mimbench as the recipe has it; of the loader, also its other mode, where its library is installed."""
    yield OWN, None, config
    if part == "loader":
        other = "exact" if config.data.decode == "fast" else "fast"
        if other == "fast" and importlib.util.find_spec("simplejpeg") is None:
            print("data.decode=fast is not measured: pip install 'mimbench[jpeg]'", file=sys.stderr)
            return
        data = config.data.model_copy(update={"decode": other})
        yield f"{OWN} {other}", None, config.model_copy(update={"data": data})


def _peers(args: argparse.Namespace) -> list[tuple[str, Path | None]]:
    """Return the programs to compare with. Raises UserError for one that the part does not have."""
    found: list[tuple[str, Path | None]] = []
    for text in args.peer or []:
        name, _, path = text.partition("=")
        require_word("--peer", name, PEERS[args.part], f"a program that --part {args.part} is compared with")
        if (name == "simmim") != bool(path):
            rule = "simmim=FOLDER, a checkout of microsoft/SimMIM; the others without a folder"
            raise UserError.about("--peer", text, rule, "for example --peer simmim=../SimMIM")
        if path and not (Path(path) / "models" / "simmim.py").is_file():
            rule = "simmim=FOLDER, a checkout of microsoft/SimMIM (models/simmim.py)"
            raise UserError.about("--peer", text, rule, "git clone it, and name its folder")
        found.append((name, Path(path).resolve() if path else None))
    return found


def _text(record: BenchRecord) -> str:
    what = f"{record.part} of {record.recipe.name}, {record.batch_size} images, {record.environment.device}"
    header = ("program", "s", "images/s", "x", "95 %", "x cpu", "95 %", "peak MB", "training MB", "built s", "first s")
    if record.part == "scale":
        return _scale_text(what, record)
    lines = [what, aligned([header, *(_row(timed) for timed in record.programs)], right=[False] + [True] * 10)]
    if record.utilisation is not None and record.matrix_flops_per_second is not None:
        rate = record.matrix_flops_per_second / 1e9
        lines.append(f"{record.utilisation:.0%} of what matrix products reach here ({rate:.0f} GFLOP/s)")
    if parts := record.programs[0].parts_s:
        lines.append(
            "of the seconds until the first step: " + ", ".join(f"{name} {s:.1f}" for name, s in parts.items())
        )
    lines.append(f"mimbench's ways: {', '.join(record.programs[0].ways) or 'plain'}")
    return "\n".join(lines)


def _scale_text(what: str, record: BenchRecord) -> str:
    header = ("processes", "step s", "x", "95 %", "x cpu", "images/s", "peak MB each", "sent MB each")
    rows = [
        (
            timed.name,
            f"{statistics.median(timed.seconds):.3f}",
            f"{timed.ratio.median:.2f}",
            f"{timed.ratio.low:.2f}-{timed.ratio.high:.2f}",
            f"{timed.cpu_ratio.median:.2f}",
            f"{timed.per_second:.1f}",
            f"{timed.peak_memory_mb:.0f}",
            f"{timed.sent_mb or 0:.0f}",
        )
        for timed in record.programs
    ]
    cores = len(os.sched_getaffinity(0))
    few = f"{cores} cores: more processes than that share them" if record.environment.device.startswith("cpu") else ""
    return "\n".join(
        [f"{what}, each process", aligned([header, *rows], right=[False] + [True] * 7), *filter(None, [few])]
    )


def _row(timed: Timed) -> tuple[str, ...]:
    spans = [
        cell
        for ratio in (timed.ratio, timed.cpu_ratio)
        for cell in (f"{ratio.median:.2f}", f"{ratio.low:.2f}-{ratio.high:.2f}")
    ]
    times = (f"{statistics.median(timed.seconds):.3f}", f"{timed.per_second:.1f}")
    return (
        timed.name,
        *times,
        *spans,
        f"{timed.peak_memory_mb:.0f}",
        "" if timed.training_memory_mb is None else f"{timed.training_memory_mb:.0f}",
        f"{timed.start_s:.1f}",
        f"{timed.first_step_s:.1f}",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench bench",
        description="Time pretraining on this machine, side by side with other programs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="set any field of the recipe")
    parser.add_argument(
        "--part",
        choices=tuple(PEERS),
        default="step",
        help="whole steps; images from file to batch; steps in several processes; a start up to its first step",
    )
    parser.add_argument(
        "--peer",
        action="append",
        metavar="NAME[=FOLDER]",
        help="timm, huggingface, simmim=FOLDER; torchvision (loader)",
    )
    parser.add_argument(
        "--processes", default="1,2,4", metavar="N,N", help="scale: how many train together (default 1,2,4)"
    )
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="images per step (default 8)")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="rounds of each program (default 10)")
    parser.add_argument("--warm-up", type=int, default=2, metavar="N", help="rounds before these (default 2)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="threads on a CPU (default: all)"
    )
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="images to load (default: made ones, 500x375)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default runs/)")
    parser.add_argument("--json", action="store_true", help="print the record instead of a table")
    return parser
