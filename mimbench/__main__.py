"""`python -m mimbench`."""

from __future__ import annotations

import sys

from mimbench.command import main

if __name__ == "__main__":
    sys.exit(main())
