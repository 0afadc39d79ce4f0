"""Bringing an encoder to tasks: proof of what was loaded, fine-tuning or probing, evaluation, export."""
