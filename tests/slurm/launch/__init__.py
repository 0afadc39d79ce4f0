"""Pipelines run to their end, here and on a real Slurm."""
