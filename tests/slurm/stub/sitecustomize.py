"""With this folder on PYTHONPATH, the training verbs are stages that cost milliseconds: see tests.slurm.cheap_stage.

Everything around them is real: the launcher, submitit, the processes, the records, the report.
"""

import mimbench

mimbench.VERBS["pretrain"] = ("tests.slurm.cheap_pretrain", "")
mimbench.VERBS["transfer"] = ("tests.slurm.cheap_transfer", "")
