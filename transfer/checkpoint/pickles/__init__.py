"""Pickles, read by Python's unpickler under rules that let it run no code, and turned into plain data and tensors."""
