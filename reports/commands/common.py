"""What the verbs of `mimbench report` share: how they are added, where they write, what they print."""

from __future__ import annotations

import argparse
import sys
from typing import TypeAlias

from benchmarks.errors import printable

RAW = argparse.RawDescriptionHelpFormatter
RUNS_HELP = "run folders, folders of runs, globs, announcement files or folders of those"
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def say(text: str) -> None:
    """Print `text`, with escapes for what would act on a terminal, and for what one without UTF-8 cannot show."""
    from benchmarks.text.markup import FIRST_STRONG_ISOLATE, POP_ISOLATE

    kept = f"\n{FIRST_STRONG_ISOLATE}{POP_ISOLATE}"  # which names have only from us
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(text, kept).encode(encoding, "backslashreplace").decode(encoding))
