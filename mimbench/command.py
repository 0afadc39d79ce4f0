"""The one console command. It only names the verbs; a verb's room is imported when the verb is used."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOMS = ("benchmarks", "pretrain", "transfer", "slurm", "reports")


def _is_program() -> bool:
    """Tell whether Python was started as this command, by its script or as `python -m mimbench`."""
    started = Path(sys.argv[0]).with_suffix("")
    return started.name == "mimbench" or started.parts[-2:] == ("mimbench", "__main__")


def _require_own_rooms() -> None:
    """Refuse to start where another package that has the name of one of ours would be imported in its place.

    Raises ImportError; the command ends with the message alone.
    """
    here = Path(__file__).resolve().parents[1]
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin is not None else None
        if found != here / room / "__init__.py":
            folders = [] if spec is None else spec.submodule_search_locations or []
            place = found or next(iter(folders), "nothing")
            rule = f"the package at {here / room}, which another of this name hides"
            remedy = "start `mimbench` in another folder, or take the other package off PYTHONPATH"
            message = f"error: import {room} = {place}\n  rule:   {rule}\n  remedy: {remedy}"
            if not _is_program():
                raise ImportError(message)
            print(message, file=sys.stderr)
            raise SystemExit(2)


_require_own_rooms()
from benchmarks.errors import DONE_CODE, FAILED_CODE, MACHINE_CODE, STOPPED_CODE, WRONG_CODE  # noqa: E402 (of ours)

VERBS = {
    "demo": ("slurm.demo", "everything on a laptop: digits -> SimMIM -> transfer -> report"),
    "pretrain": ("pretrain.cli", "pretrain an encoder by SimMIM"),
    "rung": ("pretrain.rung_cli", "compare pretrainings at a share of their training, and say which of them go on"),
    "palette": ("pretrain.show.palette_cli", "fit the colours of images by k-means, as a target for pretraining"),
    "reconstruct": ("pretrain.show.reconstruct_cli", "draw what a pretraining run predicts for hidden patches"),
    "masking": (
        "pretrain.show.masking_cli",
        "how far the masks of every strategy hide pixels, as a table and a figure",
    ),
    "data": ("benchmarks.data.cli", "a data set looked through once, for all runs on it; packed into tar shards"),
    "bench": ("pretrain.bench.cli", "how fast pretraining is here, side by side with other programs"),
    "transfer": ("transfer.commands.transfer", "fine-tune an encoder on a task and measure it"),
    "evaluate": ("transfer.commands.evaluate", "score a trained model on further test sets, without training"),
    "show": ("transfer.commands.show", "draw what encoders predict for the same test images, beside the truth"),
    "pipeline": ("slurm.cli", "plan, submit, status, logs, cancel, resume: a graph of stages, on a laptop or on Slurm"),
    "checkpoint": ("transfer.commands.checkpoint", "look into any checkpoint; carry encoders into other tools"),
    "report": ("reports.cli", "leaderboards and comparisons from run records"),
    "list": (
        "benchmarks.catalogue.listing",
        "tasks, recipes, protocols, encoders, checkpoints, formats, pipelines, plugins, published references",
    ),
    "doctor": ("benchmarks.doctor", "what is missing on this machine, and the command that fixes it"),
}

# Words after a verb that belong to another room than the verb's own, which may not import it.
ELSEWHERE: dict[tuple[str, ...], str] = {
    ("data", "pack"): "transfer.commands.pack",
    ("list", "formats"): "transfer.commands.formats",
    ("list", "pipelines"): "slurm.listing",
    ("doctor", "--cluster"): "slurm.doctor",
}

# A function of another room that a verb's main takes beside its arguments, under the function's own name, since its own
# room may not import it.
LENT = {"pretrain": ("transfer.encoder.initial", "find_initial")}

DONE, FAILED, WRONG, MACHINE, INTERRUPTED = DONE_CODE, FAILED_CODE, WRONG_CODE, MACHINE_CODE, STOPPED_CODE

HELP = """usage: mimbench VERB [arguments]

Pretrain vision encoders by SimMIM, transfer them, and compare them with like-for-like baselines.

verbs:
{verbs}

examples:
  mimbench demo
  mimbench pretrain simmim_swin_base_192_100ep data.root=/data/imagenet
  mimbench transfer imagenet1k --encoder runs/RUN_ID data.root=/data/imagenet
  mimbench evaluate imagenet1k --model runs/RUN_ID data.test_sets.imagenet_v2.root=/data/imagenetv2
  mimbench pipeline submit pipeline.yaml --cluster my_cluster.yaml
  mimbench report leaderboard runs --baseline supervised --out report

`mimbench VERB --help` explains one verb, `mimbench --version` says which mimbench this is.
Exit codes: 0 done, 1 the work failed, 2 what was asked for was wrong, 71 the machine failed and the same command may go
on, 130 stopped on request with the state saved.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code. A user's mistake prints four lines, never a traceback."""
    arguments = _typed() if argv is None else list(argv)
    if arguments == ["--version"]:
        return _print_version()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = max(map(len, VERBS))
        print(HELP.format(verbs="\n".join(f"  {verb:{width}}  {text}" for verb, (_, text) in VERBS.items())), end="")
        return DONE if arguments else WRONG
    from benchmarks import huge_pages, ranks
    from benchmarks.errors import MachineFailed, Stopped, UserError, WorkFailed

    if arguments[0] != "bench":  # whose programs each have their own way
        huge_pages.ask()
    try:
        with contextlib.nullcontext() if ranks.is_main() else contextlib.redirect_stdout(None):
            return _run_verb(arguments[0], arguments[1:])
    except UserError as error:
        return _say(f"error: {error}", WRONG)
    except MachineFailed as error:
        return _say(f"failed: {error}", MACHINE)
    except WorkFailed as error:
        return _say(f"failed: {error}", FAILED)
    except Stopped as error:
        return _say(f"stopped: {error}", INTERRUPTED)
    except KeyboardInterrupt:
        return _say("interrupted; what was saved before is kept, and the same command goes on from there", INTERRUPTED)
    except BrokenPipeError:  # `mimbench ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _typed() -> list[str]:
    """Return the arguments of the process; where the shell asks how a line may go on, answer it and end."""
    if "_ARGCOMPLETE" in os.environ:
        from mimbench.completion import complete

        complete(VERBS, _run_verb)
    return sys.argv[1:]


def _print_version() -> int:
    from benchmarks.version import __version__, git_commit

    commit = git_commit()
    print(f"mimbench {__version__}" + (f" (commit {commit})" if commit else ""))
    return DONE


def _run_verb(verb: str, arguments: list[str]) -> int:
    from benchmarks.errors import require_word

    require_word("verb", verb, VERBS, "a verb of mimbench")
    room = ELSEWHERE.get((verb, *arguments[:1]))
    module = importlib.import_module(room or VERBS[verb][0])
    lent = {} if room or verb not in LENT else {LENT[verb][1]: when_called(*LENT[verb])}
    code: int = module.main(arguments[1:] if room else arguments, **lent)
    return code


def import_for(arguments: Sequence[str]) -> None:
    """Import what these arguments, or the first two of them, will need once there is work.

    A process that is forked from this one then has it. What a verb needs is said by the function `imports` of its
    module, which returns the names of modules; one without needs nothing more.
    """
    module = importlib.import_module(VERBS[arguments[0]][0])
    for name in getattr(module, "imports", lambda _: ())(arguments[1:]):
        importlib.import_module(name)


def when_called(module: str, name: str) -> Callable[..., Any]:
    """Return a function whose module is imported when the function is called."""
    return lambda *args, **named: getattr(importlib.import_module(module), name)(*args, **named)


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code
