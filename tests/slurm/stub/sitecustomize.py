"""With this folder on PYTHONPATH, training verbs are stages that cost milliseconds: tests.slurm.stub.cheap_stage.

Everything around them is real: the launcher, submitit, the processes, the records, the report, of which only the text
is written.
"""

import os
import time

import mimbench

if os.environ.get("SLURM_NODEID", "none") == os.environ.get("SLOW_CLOCK"):
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() - 3600
    time.time_ns = lambda: _time_ns() - 3600 * 10**9

mimbench.VERBS["pretrain"] = ("tests.slurm.stub.cheap_pretrain", "")
mimbench.VERBS["transfer"] = ("tests.slurm.stub.cheap_transfer", "")
mimbench.VERBS["report"] = ("tests.slurm.stub.cheap_report", "")
