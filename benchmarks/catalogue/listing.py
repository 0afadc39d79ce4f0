"""`mimbench list`: what there is to run, and the published numbers it can be held against."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import plugins
from benchmarks.catalogue.checkpoints import Checkpoint, load_checkpoints
from benchmarks.catalogue.protocols import Protocol, load_protocols
from benchmarks.catalogue.published import Reference, load_references, metrics_of
from benchmarks.catalogue.tasks import TASKS, find_task
from benchmarks.config import RECIPES, recipe_names
from benchmarks.encoders import find_architecture
from benchmarks.errors import UserError, require_word
from benchmarks.text.tables import aligned

KINDS = {
    "tasks": "what is measured: mimbench transfer TASK --encoder REF",
    "recipes": "how it is trained: mimbench pretrain RECIPE, mimbench transfer TASK --recipe RECIPE",
    "protocols": "how encoders are measured: paper, code, what ours equals there by which test, what differs",
    "encoders": "architectures with a name of their own; any timm model name works too: --encoder random:NAME",
    "checkpoints": "encoders that others published: mimbench transfer TASK --encoder NAME fetches and checks one",
    "formats": "checkpoints that can be read, and written with mimbench checkpoint convert",
    "pipelines": "the demo, and the paper's studies and ablations: mimbench pipeline plan NAME",
    "plugins": "what other packages add to mimbench, and whether it works",
    "references": "published numbers, each with the place where it stands",
}


REFERENCE_COLUMNS = (
    *("task", "protocol", "method", "backbone", "epochs", "image px", "started from"),
    *("number", "verified", "variant", "source"),
)


def main(argv: Sequence[str]) -> int:
    """Print one list; return the exit code. Raises UserError for an unknown list or task."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.what is None:
        print(parser.format_help(), end="")
        return 0
    require_word("list", arguments.what, KINDS, "one of the lists")
    if arguments.unverified and arguments.what != "references":
        raise UserError.about("--unverified", "(given)", f"for references, not for {arguments.what}", "leave it out")
    if arguments.task is not None:
        if arguments.what not in ("tasks", "references"):
            raise UserError.about("--task", arguments.task, "for the lists tasks and references", "leave it out")
        find_task(arguments.task)
    for option in ("method", "json"):
        if getattr(arguments, option) and arguments.what != "checkpoints":
            raise UserError.about(
                f"--{option}", "(given)", f"for checkpoints, not for {arguments.what}", "leave it out"
            )
    if arguments.json:
        print(json.dumps([_as_json(each) for each in _of_method(arguments.method)], indent=2))
        return 0
    listed = LISTS[arguments.what](arguments)
    print(f"{arguments.what}: {KINDS[arguments.what]}\n")
    print(listed)
    return 0


def _parser() -> argparse.ArgumentParser:
    lists = "\n".join(f"  {kind:11}  {text}" for kind, text in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="mimbench list",
        description=f"List what there is.\n\nlists:\n{lists}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", metavar="LIST", help="one of the lists above")
    parser.add_argument("--task", metavar="TASK", help="only this task (tasks, references)")
    parser.add_argument("--unverified", action="store_true", help="also references that were not read in their source")
    parser.add_argument(
        "--method", metavar="METHOD", help="only encoders of this method: mae, simmim, ... (checkpoints)"
    )
    parser.add_argument("--json", action="store_true", help="everything that is known, as JSON (checkpoints)")
    return parser


def _tasks(arguments: argparse.Namespace) -> str:
    rows = [("task", "version", "kind", "score", "default recipe", "data set")]
    added = {plugin.name: plugin.where for plugin in plugins.installed("tasks")}
    for task in TASKS.values():
        if arguments.task in (None, task.name):
            score = f"{task.primary_metric} {task.metric(task.primary_metric).unit}"
            old = f" (superseded by {task.superseded_by})" if task.superseded_by else ""
            by = f" ({added[task.name]})" if task.name not in TASKS.own else ""
            rows.append((task.name, str(task.version), task.kind, score, task.recipe, task.dataset + old + by))
    return aligned(rows)


def _plugins(_: argparse.Namespace) -> str:
    rows = [("group", "name", "package", "version", "state")]
    for plugin in plugins.every():
        state = plugins.state_of(plugin, TASKS.own if plugin.group == "tasks" else ())
        rows.append((plugin.group, plugin.name, plugin.package, plugin.version, " ".join(state.split())))
    rows += plugins.strays()
    return aligned(rows) if len(rows) > 1 else "none is installed"


def _recipes(_: argparse.Namespace) -> str:
    rows = [("verb", "recipe", "what it is")]
    for verb in ("pretrain", "transfer"):
        rows += [(verb, path.stem, describe(path)) for path in sorted((RECIPES / verb).glob("*.yaml"))]
    return aligned(rows)


def _protocols(_: argparse.Namespace) -> str:
    return "\n\n".join(_protocol_lines(protocol) for protocol in load_protocols())


def _protocol_lines(protocol: Protocol) -> str:
    recipes = [name for name in recipe_names("transfer") if protocol.has(name)]
    lines = {
        "family": protocol.family,
        "paper": protocol.paper,
        "code": protocol.code,
        "equals": protocol.equals,
        "test": protocol.test,
        "differs": "; ".join(protocol.differs) or "nothing that is known",
        "recipes": ", ".join(recipes),
    }
    return "\n".join([protocol.name, *(f"  {name:8} {text}" for name, text in lines.items())])


def _encoders(_: argparse.Namespace) -> str:
    rows = [("encoder", "timm model", "what it is")]
    for path in sorted((RECIPES / "encoders").glob("*.yaml")):
        rows.append((path.stem, find_architecture(path.stem).name, describe(path)))
    return aligned(rows)


def _of_method(method: str | None) -> list[Checkpoint]:
    """Return the checkpoints of a method, or all. Raises UserError for a method that none has."""
    known = load_checkpoints().values()
    if method is not None:
        require_word("--method", method, {each.method for each in known}, "the method of a checkpoint")
    return [each for each in known if method in (None, each.method)]


def _checkpoints(arguments: argparse.Namespace) -> str:
    rows = [("checkpoint", "method", "architecture", "trained on", "epochs", "published", "digest", "licence", "page")]
    for each in _of_method(arguments.method):
        digest = "-" if each.digest is None else f"{each.digest.algorithm} {each.digest.digits[:8]}"
        digest += " ..." if each.digest is not None and each.digest.whole else ""
        known = (each.data or "-", "-" if each.epochs is None else str(each.epochs))
        rows.append((each.name, each.method, each.architecture, *known, _scores(each), digest, each.licence, each.page))
    return aligned(rows)


def _scores(checkpoint: Checkpoint) -> str:
    """Return what a checkpoint's authors report: `imagenet1k finetune 83.57, linear 67.8`."""
    by_task: dict[str, list[str]] = {}
    for each in checkpoint.published:
        px = f" at {each.image_size_px} px" if each.image_size_px and each.protocol == "finetune" else ""
        by_task.setdefault(each.task, []).append(f"{each.protocol} {each.value}{px}")
    return "; ".join(f"{task} {', '.join(scores)}" for task, scores in by_task.items()) or "-"


def _as_json(checkpoint: Checkpoint) -> dict[str, object]:
    scores = [each.model_dump(mode="json", exclude_defaults=True) for each in checkpoint.published]
    return checkpoint.model_dump(mode="json", exclude_none=True) | {"file": checkpoint.file_name, "published": scores}


def _references(arguments: argparse.Namespace) -> str:
    known = [each for each in load_references() if arguments.task in (None, each.task)]
    shown = [each for each in known if each.verified or arguments.unverified]
    text = aligned([REFERENCE_COLUMNS, *map(_reference_row, shown)]) if shown else "none is known"
    hidden = len(known) - len(shown)
    return text + (f"\n\n{hidden} more were not read in their source: add --unverified." if hidden else "")


def _reference_row(reference: Reference) -> tuple[str, ...]:
    return (
        reference.task,
        reference.protocol,
        reference.method,
        reference.backbone,
        "-" if reference.pretrain_epochs is None else str(reference.pretrain_epochs),
        "-" if reference.image_size_px is None else str(reference.image_size_px),
        reference.init_stage or "-",
        f"{reference.metric} {reference.value} {metrics_of(reference.task)[reference.metric].unit}".rstrip(),
        "yes" if reference.verified else "no",
        reference.variant or "-",
        f"{reference.source} ({reference.locator})",
    )


def describe(recipe: Path) -> str:
    """Return the comment that a recipe file begins with, as one line; empty when there is none."""
    words = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words += line.lstrip("#").split()
    return " ".join(words)


LISTS: dict[str, Callable[[argparse.Namespace], str]] = {
    "tasks": _tasks,
    "recipes": _recipes,
    "protocols": _protocols,
    "encoders": _encoders,
    "checkpoints": _checkpoints,
    "plugins": _plugins,
    "references": _references,
}
