"""The ways in which a command can end, its exit codes, and its errors in words for the person who typed it.

`UserError` is a wrong request, `WorkFailed` is right work that did not finish (`MachineFailed` where it is worth
another try), `Stopped` is work that saved its state because it was asked to. Anything else that escapes a verb is our
own bug and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence

DONE_CODE = 0
FAILED_CODE = 1
"""The exit code of right work that could not be finished, for a reason that it named."""
WRONG_CODE = 2
"""The exit code of a wrong request."""
CRASHED_CODE = 70
"""The exit code of a stage that broke off with a traceback, or never began; EX_SOFTWARE of sysexits.h."""
MACHINE_CODE = 71
"""The exit code where a part of the machine failed and the same command may go on; EX_OSERR of sysexits.h."""
BUSY_CODE = 75
"""The exit code of a stage that another process is at work on; EX_TEMPFAIL of sysexits.h."""
STOPPED_CODE = 130
"""The exit code of work that saved its state because it was asked to stop."""
NAMES_SHOWN = 24
"""How many known names a message lists where a word is none of them."""
FATAL_CODES = (FAILED_CODE, WRONG_CODE)
"""The exit codes after which another start would end the same way."""


class UserError(ValueError):
    """What was asked for is wrong. The message names the field, the value, the rule and the remedy."""

    parts: tuple[str, object, str, str] | None = None
    """Field, value, rule and remedy, where the error is about one mistake."""

    @classmethod
    def about(cls, field: str, value: object, rule: str, remedy: str) -> UserError:
        """Return the error for one mistake, in the four parts that every message of this program has."""
        error = cls(four_parts(field, value, rule, remedy))
        error.parts = field, value, rule, remedy
        return error


@contextlib.contextmanager
def retold(field: str, tell: Callable[[object, str, str], UserError]) -> Iterator[None]:
    """Let whoever knows more tell of a mistake that the block raises about `field`.

    `tell` makes another error of its value, rule and remedy: that which names the option or the file a person gave.
    """
    try:
        yield
    except UserError as error:
        if error.parts is None or error.parts[0] != field:
            raise
        raise tell(*error.parts[1:]) from None


class WorkFailed(RuntimeError):
    """The request was right, but the work could not be finished."""


class MachineFailed(WorkFailed):
    """A part of the machine failed, not the work: the same command may well go on."""


class Stopped(RuntimeError):
    """A stop was requested (Ctrl-C, SIGTERM, SIGUSR2) and the state is saved."""


class Paused(Stopped):
    """The work came to where it was asked to pause, and the state is saved."""


def four_parts(field: str, value: object, rule: str, remedy: str) -> str:
    """Return a mistake in four parts; what would act on the terminal is escaped in each."""
    shown = printable(value) or "(empty)" if isinstance(value, str) else repr(value)
    return f"{printable(field)} = {shown}\n  rule:   {printable_lines(rule)}\n  remedy: {printable_lines(remedy)}"


def require_word(field: str, word: object, known: Iterable[str], rule: str) -> None:
    """Raise UserError, with the nearest guess, unless `word` is one of `known`."""
    names = list(known)
    if word not in names:
        raise UserError.about(field, word, rule, did_you_mean(word, names))


def require_text(field: str, value: object) -> None:
    """Raise UserError for what is neither text nor None."""
    if not isinstance(value, str | None):
        raise UserError.about(field, value, "text", f"for example {field}={str(value)!r}")


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return `Did you mean X? Known: ...` for a misspelt `word`; the guess is left out when nothing is near.

    Of many names the nearest are shown. They may come out of files: control characters are escaped, so that none
    reaches the terminal.
    """
    word, names = str(word), sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    guess = f"Did you mean {printable(near[0])}? " if near else ""
    if len(names) > NAMES_SHOWN:
        names = difflib.get_close_matches(word, names, n=len(names), cutoff=0.0)
    return f"{guess}Known: {first_of([printable(name) for name in names], NAMES_SHOWN) or 'none'}"


def first_of(texts: Sequence[str], limit: int, between: str = ", ") -> str:
    """Return the first texts as one, and how many more there are: "a, b and 3 more", or "a; b; and 3 more"."""
    more = f"{between.strip(', ')} and {len(texts) - limit} more" if len(texts) > limit else ""
    return between.join(texts[:limit]) + more


def printable(text: str, kept: str = "") -> str:
    """Return `text` with escapes, as in Python's repr, for the characters that do not print and are not `kept`."""
    return "".join(char if char.isprintable() or char in kept else repr(char)[1:-1] for char in text)


def printable_lines(text: str) -> str:
    """Return the text of a log with escapes for what would act on the terminal; its lines and tabs stay."""
    return printable(text, kept="\n\t")
