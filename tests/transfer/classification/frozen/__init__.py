"""Features that are computed once, and protocols that need nothing else."""
