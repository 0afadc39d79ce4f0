"""What a person uses from Python, and the console command; a name's room is imported when the name is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.errors import MachineFailed, Stopped, UserError, WorkFailed
    from benchmarks.overrides import Overrides
    from benchmarks.runs.record import RunRecord
    from benchmarks.runs.result import RunResult
    from benchmarks.version import __version__
    from mimbench.command import main
    from mimbench.pretraining import pretrain
    from reports.api import leaderboard, records
    from transfer.api.evaluate import evaluate
    from transfer.api.load import Encoder, load
    from transfer.api.transfer import transfer

__all__ = [
    "Encoder",
    "MachineFailed",
    "Overrides",
    "RunRecord",
    "RunResult",
    "Stopped",
    "UserError",
    "WorkFailed",
    "__version__",
    "evaluate",
    "leaderboard",
    "load",
    "main",
    "pretrain",
    "records",
    "transfer",
]

_PLACES = {
    "RunResult": "benchmarks.runs.result",
    "Encoder": "transfer.api.load",
    "MachineFailed": "benchmarks.errors",
    "Overrides": "benchmarks.overrides",
    "RunRecord": "benchmarks.runs.record",
    "Stopped": "benchmarks.errors",
    "UserError": "benchmarks.errors",
    "WorkFailed": "benchmarks.errors",
    "evaluate": "transfer.api.evaluate",
    "leaderboard": "reports.api",
    "load": "transfer.api.load",
    "pretrain": "mimbench.pretraining",
    "records": "reports.api",
    "transfer": "transfer.api.transfer",
}


def __getattr__(name: str) -> Any:
    """Return a name of this package, whose module is imported now; the command's own names are there as well."""
    command = import_module("mimbench.command")  # which refuses packages that hide our rooms
    if name == "__version__":
        return import_module("benchmarks.version").__version__
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if name in vars(command):
        return getattr(command, name)
    raise AttributeError(f"module 'mimbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
