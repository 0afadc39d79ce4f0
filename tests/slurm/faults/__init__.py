"""Faults injected into pipelines on a real Slurm."""
