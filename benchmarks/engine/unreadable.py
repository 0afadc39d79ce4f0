"""Files that could not be read: each is named once, and too many end the run."""

from __future__ import annotations

import sys

from benchmarks.errors import WorkFailed


class Unreadable:
    """The unreadable files met so far, as `path: error`, against the limit of the recipe."""

    def __init__(self, limit: int, names: list[str] | None = None) -> None:
        self.limit = limit
        self.names = list(names or [])

    def note(self, found: list[str]) -> None:
        """Warn about files not met before. Raises WorkFailed when there are more than the limit."""
        for text in found:
            if text not in self.names:
                self.names.append(text)
                print(f"warning: unreadable file skipped: {text}", file=sys.stderr, flush=True)
        if len(self.names) > self.limit:
            shown = "\n    ".join(self.names[:20])
            raise WorkFailed(
                f"{len(self.names)} unreadable files, and data.max_unreadable is {self.limit}:\n    {shown}\n"
                "  remedy: mend or remove the files, or allow more with data.max_unreadable=N"
            )
