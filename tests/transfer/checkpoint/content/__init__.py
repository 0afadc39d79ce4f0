"""Pickles, and what a file's content says."""
