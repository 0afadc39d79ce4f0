"""The one door to Slurm's commands: in which environment they run, and what is said when they do not answer.

Every variable of a person's shell that a Slurm command reads as an option would change what is asked: SQUEUE_STATES
hides live jobs, SBATCH_PARTITION beats the cluster file, and the variables of a job around the shell are taken for
those of the job that is submitted. None of them is passed on; only what leads to the cluster and its keys is.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from benchmarks.errors import WorkFailed

PATIENCE_S = 60
REMEDY = "run this on a login node of the cluster, when its controller answers."
OPTIONS = (
    *("SLURM_", "SLURMD_", "SBATCH_", "SALLOC_", "SRUN_", "SQUEUE_", "SCANCEL_", "SINFO_", "SACCT_", "SCONTROL_"),
    *("SSTAT_", "SPRIO_", "SPANK_", "_SLURM_", "PMI_", "PMIX_", "SUBMITIT_"),
)
"""Beginnings of the names that Slurm's commands read as options, or leave to the processes of a job."""
RANK = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells the processes that it starts: a stage has its own."""
WAY = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_SACK_KEY", "SLURM_SACK_JWKS")
"""What leads to the cluster and proves who asks; munge's own variables have other names."""


def environment(around: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of Slurm's commands, and so of the jobs that they submit."""
    return {name: value for name, value in around.items() if name in WAY or not _is_option(name)}


def unheeded(around: Mapping[str, str] = os.environ) -> list[str]:
    """Return the variables by which a person may have meant to choose how jobs are submitted, and which do not."""
    return sorted(name for name in around if name.startswith("SBATCH_"))


def _is_option(name: str) -> bool:
    return name.startswith(OPTIONS) or name in RANK


def run(command: Sequence[str], patience_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm to its end, however it ends. Raises WorkFailed where it is missing or does not answer."""
    try:
        return subprocess.run(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience_s,
        )
    except (FileNotFoundError, PermissionError):  # the second, where a folder of PATH is closed to us
        raise WorkFailed(f"Slurm is not on this machine: no `{command[0]}`\n  remedy: {REMEDY}") from None
    except subprocess.TimeoutExpired:
        told = f"`{command[0]}` did not answer within {patience_s:.0f} seconds"
        raise WorkFailed(f"{told}\n  remedy: {REMEDY}") from None


def ask(command: Sequence[str], remedy: str = REMEDY, patience_s: float = PATIENCE_S) -> str:
    """Return what a command of Slurm writes. Raises WorkFailed, with Slurm's own words, where it fails."""
    done = run(command, patience_s)
    if done.returncode:
        raise WorkFailed(f"`{command[0]}` failed: {errors_of(done)}\n  remedy: {remedy}")
    return done.stdout


def errors_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the lines in which a command speaks of errors, in one, or else all that it wrote."""
    said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
    errors = [line.strip() for line in said if "error" in line.lower()]
    return "; ".join(errors or [line.strip() for line in said])
