"""The verbs of this room: `mimbench transfer`, `mimbench checkpoint` and `mimbench list formats`."""
