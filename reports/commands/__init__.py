"""The verbs of `mimbench report`."""
