"""With this folder on PYTHONPATH, a test can hold a real pretraining in a step: tests.slurm.held.held_pretrain."""

import mimbench

mimbench.VERBS["pretrain"] = ("tests.slurm.held.held_pretrain", "")
