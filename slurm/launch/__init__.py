"""How stages are started, on this machine and on Slurm."""
