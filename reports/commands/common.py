"""What the verbs of `mimbench report` share: how they are added, where they write, what they print."""

from __future__ import annotations

import argparse
import sys
from typing import TypeAlias

RAW = argparse.RawDescriptionHelpFormatter
RUNS_HELP = "run folders, folders of runs, globs, announcement files or folders of those"
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def say(text: str) -> None:
    """Print `text`, with escapes for what a terminal without UTF-8 cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
