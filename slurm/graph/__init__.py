"""A pipeline file as a checked graph of stages, and the cluster that it is for."""
