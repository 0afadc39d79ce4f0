"""Pickles carried out without running code."""
