"""With this folder on PYTHONPATH, a pretraining really trains and can be held: see tests.slurm.held_pretrain.

What is measured of its encoder costs milliseconds.
"""

import mimbench

mimbench.VERBS["pretrain"] = ("tests.slurm.held_pretrain", "")
mimbench.VERBS["transfer"] = ("tests.slurm.cheap_transfer", "")
