"""What a person uses from Python: the one list of names, for type checkers and for `__init__.py`, which reads it."""

from benchmarks.errors import MachineFailed as MachineFailed
from benchmarks.errors import Stopped as Stopped
from benchmarks.errors import UserError as UserError
from benchmarks.errors import WorkFailed as WorkFailed
from benchmarks.runs.record import RunRecord as RunRecord
from benchmarks.verbs.overrides import Overrides as Overrides
from benchmarks.verbs.result import RunResult as RunResult
from benchmarks.version import __version__ as __version__
from mimbench.command import main as main
from mimbench.pretraining import pretrain as pretrain
from reports.api import leaderboard as leaderboard
from reports.api import records as records
from transfer.api.evaluate import evaluate as evaluate
from transfer.api.load import Encoder as Encoder
from transfer.api.load import load as load
from transfer.api.transfer import transfer as transfer
