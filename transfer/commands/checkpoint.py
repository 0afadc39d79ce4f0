"""`mimbench checkpoint`: look into any checkpoint, and carry encoders into other tools."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from benchmarks.catalogue.checkpoints import find_checkpoint
from benchmarks.errors import WRONG_CODE, printable, require_word
from benchmarks.text.tables import aligned
from benchmarks.verbs.statement import add_statement_arguments
from transfer.checkpoint.content.selection import Selection
from transfer.commands.destination import check_destination
from transfer.publish.arguments import add_arguments, check_arguments
from transfer.sources.references import locate, scheme_of

EXAMPLES = """examples:
  mimbench checkpoint inspect simmim_pretrain__swin_base.pth
  mimbench checkpoint inspect runs/RUN_ID --json
  mimbench checkpoint convert runs/RUN_ID --to mmseg --out swin_for_mmseg.pth
  mimbench checkpoint verify dinov2_vitb14.pth --against hf:dinov2-base
  mimbench checkpoint publish runs/RUN_ID --license apache-2.0 --runs runs --out my_encoder
  mimbench checkpoint fetch mae:vit_base
  mimbench checkpoint tensors encoder.pkl --out dvae.safetensors

The format is found by content, never by the file's name, and no code in a file ever runs.
"""
AGAINST_HELP = "timm:NAME, hf:FOLDER (a model of transformers with its config.json), or an npz file"
ENCODER = "a run, an export, any checkpoint, timm:NAME, hf-hub:NAME or a name of `mimbench list checkpoints`"
ACTIONS = {
    "inspect": "format, architecture, stage, statistics, what each task would load",
    "convert": "write the encoder in another tool's layout",
    "verify": "compare an encoder's features with those of another library, and keep the result for reports",
    "publish": "write a Hugging Face repository that timm loads, with a card of the measured scores",
    "fetch": "download a published checkpoint, verify it, and say where it lies",
    "tensors": "write the weights of any checkpoint, an encoder's or not, as safetensors under their own names",
}
TARGET_NAMES = ("timm", "simmim", "mmseg", "detectron2", "torchvision", "huggingface")


def main(argv: Sequence[str]) -> int:
    """Run the verb; return the exit code."""
    if argv and not argv[0].startswith("-"):
        require_word("action", argv[0], ACTIONS, "an action of `mimbench checkpoint`")
    parser = _parser()
    args = parser.parse_args(argv)
    if args.action is None:
        parser.print_help()
        return WRONG_CODE
    if args.action == "fetch":
        return _fetch(args.name)
    if args.action == "publish":
        return _publish(args)
    selection = Selection(args.weights, args.prefix)
    if args.action == "tensors":
        return _tensors(args.file, selection, args.out)
    if args.action == "convert":
        check_destination(args.out, Path(args.encoder))
    if scheme_of(args.encoder) is None:
        locate(args.encoder)  # a path that is wrong is said before torch is imported
    if args.action == "convert":
        return _convert(args.encoder, args.architecture, selection, args.to, args.out)
    if args.action == "verify":
        return _verify(args.encoder, args.against, args.architecture, selection, args.tolerance)
    return _inspect(args.encoder, args.architecture, selection, args.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench checkpoint",
        description="Look into a checkpoint, or write its encoder in another tool's layout.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    of = {name: actions.add_parser(name, help=text) for name, text in ACTIONS.items()}
    for name in ("inspect", "convert", "verify", "publish"):
        of[name].add_argument("encoder", metavar="ENCODER", help=ENCODER)
    of["inspect"].add_argument("--json", action="store_true", help="print everything as JSON")
    of["convert"].add_argument("--to", required=True, choices=TARGET_NAMES, help="whose layout")
    of["convert"].add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="safetensors, or a torch file for .pth, .pt, .bin"
    )
    of["verify"].add_argument("--against", required=True, metavar="WITNESS", help=AGAINST_HELP)
    of["verify"].add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        metavar="X",
        help="the largest difference that counts as equal, in units of the features' root mean square (default 1e-4)",
    )
    add_arguments(of["publish"])
    of["fetch"].add_argument("name", metavar="NAME", help="a name of `mimbench list checkpoints`")
    of["tensors"].add_argument("file", metavar="FILE", type=Path, help="a checkpoint of torch.save or safetensors")
    of["tensors"].add_argument("--out", required=True, type=Path, metavar="FILE", help="the safetensors file to write")
    for name in ("inspect", "convert", "verify"):
        add_statement_arguments(of[name], names=("architecture", "weights", "prefix"))
    add_statement_arguments(of["publish"], names=("stage", "pretrained_on", "architecture", "weights", "prefix"))
    add_statement_arguments(of["tensors"], "the weights", names=("weights", "prefix"))
    return parser


def _fetch(name: str) -> int:
    from transfer.sources.published.fetched import fetched

    path, use = fetched(find_checkpoint(name))
    print(f"{path}\n{use.in_words()}, {use.bytes:,} bytes")
    return 0


def _publish(args: argparse.Namespace) -> int:
    check_arguments(args)
    if scheme_of(args.encoder) is None:
        locate(args.encoder)
    from transfer.publish.publish import publish

    print(publish(args))
    return 0


def _verify(reference: str, against: str, architecture: str | None, selection: Selection, tolerance: float) -> int:
    from transfer.commands.verify import verify

    print(verify(reference, against, architecture, selection, tolerance))
    return 0


def _tensors(path: Path, selection: Selection, out: Path) -> int:
    from transfer.commands.tensors import write_tensors

    print(f"written: {out} ({write_tensors(path, out, selection)} tensors)")
    return 0


def _convert(reference: str, architecture: str | None, selection: Selection, target: str, out: Path) -> int:
    from transfer.commands.convert import convert
    from transfer.sources.opened import open_encoder

    about = convert(open_encoder(reference, architecture, selection), target, out)
    print(f"written: {out} ({about['tensors']} tensors, {about['layout']}) and {out}.json")
    return 0


def _inspect(reference: str, architecture: str | None, selection: Selection, as_json: bool) -> int:
    from transfer.commands.inspection import inspect
    from transfer.sources.opened import open_encoder

    found = inspect(open_encoder(reference, architecture, selection))
    print(json.dumps(found, indent=2) if as_json else describe(found))
    return 0


def describe(found: dict[str, Any]) -> str:
    """Return an inspection as text for people."""
    arguments = ", ".join(f"{name}={value}" for name, value in found["arguments"].items())
    head = [
        ("format", f"{found['format']} ({found['container']})"),
        ("architecture", f"{found['architecture']}{f' with {arguments}' if arguments else ''}"),
        (
            "image, patch, window",
            f"{_px(found['image_size_px'])}, {found['patch_size_px']} px, {_window(found['window_size'])}",
        ),
        ("stage", found["stage"] or "unknown: nothing in the file shows it; a transfer asks for --stage"),
        ("epochs", found["epochs"] if found["epochs"] is not None else "unknown"),
        ("normalisation", _normalisation(found["mean"], found["std"])),
        *([("normalisation is", stated)] if (stated := found["normalisation_stated_by"]) else []),
        ("tensors", f"{found['tensors']} ({found['parameters'] / 1e6:.1f} M parameters)"),
        ("sha256", found["sha256"]),
        *([("parity", found["parity"])] if found["parity"] else []),
        *(("note", note) for note in found["remarks"]),
        *(("implausible", odd) for odd in found["implausible"][:8]),
        *(("assumed", note) for note in found["assumed"].values()),
    ]
    lines = [f"{title:22}{value}" for title, value in head]
    lines += [
        "",
        "what each task's own recipe would load:",
        _tasks(found["tasks"], found["implausible"]),
        *_faults(found),
    ]
    lines += ["", "layers:", _layers(found["layers"], found["in_the_file"])]
    return "\n".join(lines)


def _px(size: int | None) -> str:
    return f"{size} px" if size is not None else "any size"


def _window(window: int | Sequence[int] | None) -> str:
    if window is None:
        return "no windows"
    return str(window) if isinstance(window, int) else f"{window[0]} x {window[1]}"


def _normalisation(mean: Sequence[float] | None, std: Sequence[float] | None) -> str:
    if mean is None or std is None:
        return "unknown; a transfer takes ImageNet's (0.5 for other than three channels)"
    first, second = (", ".join(f"{value:.3f}" for value in values) for values in (mean, std))
    return f"mean {first}; std {second}"


def _tasks(tasks: dict[str, dict[str, Any]], implausible: Sequence[str]) -> str:
    from transfer.encoder.proof.loading import ALLOW_IMPLAUSIBLE, percent

    rows = [("task", "recipe", "loaded", "how")]
    for name, report in tasks.items():
        if "error" in report:
            rows.append((name, report["recipe"], "nothing", report["error"]))
            continue
        faults = [f"{len(report[kind])} {kind}" for kind in ("resized", "missing", "mismatched", "unexpected")]
        faults += [f"{len(implausible)} implausible, stops without {ALLOW_IMPLAUSIBLE}"]
        words = ", ".join(fault for fault in faults if not fault.startswith("0 "))
        rows.append((name, report["recipe"], percent(report["coverage_percent"]), words or "as it is"))
    return aligned(rows)


def _faults(found: dict[str, Any], limit: int = 8) -> list[str]:
    """Return a line for each kind of fault: what a damaged file lacks or has too much, named once for all tasks."""
    from transfer.commands.inspection import FAULTS

    lines = []
    for kind in FAULTS:
        names = list(dict.fromkeys(name for report in found["tasks"].values() for name in report.get(kind, ())))
        own = [found["in_the_file"].get(name.split(":")[0], ()) for name in names[:limit]]
        shown = [f"{name} (in the file: {', '.join(o)})" if o else name for name, o in zip(names, own, strict=False)]
        more = f" and {len(names) - limit} more" if len(names) > limit else ""
        lines += [printable(f"{kind}: {'; '.join(shown)}{more}")] if names else []
    return lines


def _layers(layers: dict[str, dict[str, Any]], in_the_file: dict[str, list[str]]) -> str:
    own = _own_layers(in_the_file)
    rows = [("layer", *(["in the file"] if own else []), "parameters", "mean", "std", "largest", "not finite")]
    rows += [
        (
            printable(name),
            *([printable(own.get(name, name))] if own else []),
            f"{layer['parameters']:,}",
            f"{layer['mean']:+.4f}",
            f"{layer['std']:.4f}",
            f"{layer['max_abs']:.3f}",
            str(layer["not_finite"] or ""),
        )
        for name, layer in layers.items()
    ]
    return aligned(rows)


def _own_layers(in_the_file: dict[str, list[str]]) -> dict[str, str]:
    """Return, by layer, the beginning that the file's own names of the layer's tensors share."""
    from transfer.commands.inspection import layer_of

    parts: dict[str, list[list[str]]] = defaultdict(list)
    for name, own in in_the_file.items():
        parts[layer_of(name)] += [each.split(".")[: None if layer_of(name) == name else -1] for each in own]
    return {layer: ".".join(_common_beginning(names)) or "(several)" for layer, names in parts.items()}


def _common_beginning(names: list[list[str]]) -> list[str]:
    levels = zip(*names, strict=False)
    return [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]
