"""Scoring models that are already trained, without training: runs of ours that are finished, on further test sets."""
