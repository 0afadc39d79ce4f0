"""Files: written whole or not at all, locked, read within bounds, and only where they are ordinary files."""
