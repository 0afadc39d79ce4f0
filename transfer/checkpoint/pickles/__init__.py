"""Pickles, followed before they are read, and then read by torch's or Python's unpickler without running code."""
