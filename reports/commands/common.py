"""What the verbs of `mimbench report` share: how they are added, where they write, what they print."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TypeAlias

from benchmarks.errors import UserError

RAW = argparse.RawDescriptionHelpFormatter
RUNS_HELP = "run folders, folders of runs, globs, announcement files or folders of those"
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def prepare(out: Path) -> None:
    """Make the folder that is written to. Raises UserError where that is not possible."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = f"a folder that can be made ({error.strerror})"
        raise UserError.about("--out", str(out), rule, "name another folder") from None


def say(text: str) -> None:
    """Print `text`, with escapes for what a terminal without UTF-8 cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
