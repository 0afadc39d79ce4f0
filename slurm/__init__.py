"""Pipelines: a graph of stages, launched on a laptop or a Slurm cluster."""
