"""With this folder on PYTHONPATH, a test can hold a pretraining, which really trains: tests.slurm.held_pretrain."""

import mimbench

mimbench.VERBS["pretrain"] = ("tests.slurm.held_pretrain", "")
