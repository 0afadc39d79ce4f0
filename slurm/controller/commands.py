"""Every call of a Slurm command: in which environment it runs, and what is reported when it does not answer.

Every variable of a person's shell that a Slurm command reads as an option would change what is asked: SQUEUE_STATES
hides live jobs, SBATCH_PARTITION beats the cluster file, and the variables of a job around the shell are taken for
those of the job that is submitted. None of them is passed on, except those that name the cluster and its keys.
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
"""How the names of variables begin that Slurm's commands read as options, or set for the processes of a job."""
RANK = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun sets for the processes that it starts: a stage sets its own."""
ACCESS = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_SACK_KEY", "SLURM_SACK_JWKS")
"""What names the cluster and proves who asks; munge's own variables have other names."""


def environment(around: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of Slurm's commands, and so of the jobs that they submit."""
    return {name: value for name, value in around.items() if name in ACCESS or not _is_option(name)}


def ignored_options(around: Mapping[str, str] = os.environ) -> list[str]:
    """Return the variables that a person may have set to choose sbatch's options, and that have no effect here."""
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
        problem = f"`{command[0]}` did not answer within {patience_s:.0f} seconds"
        raise WorkFailed(f"{problem}\n  remedy: {REMEDY}") from None


def ask(command: Sequence[str], remedy: str = REMEDY, patience_s: float = PATIENCE_S) -> str:
    """Return what a command of Slurm writes. Raises WorkFailed, with Slurm's own words, where it fails."""
    done = run(command, patience_s)
    if done.returncode:
        raise WorkFailed(f"`{command[0]}` failed: {errors_of(done)}\n  remedy: {remedy}")
    return done.stdout


def errors_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return in one line those lines of a command's output that speak of errors, or else all of them."""
    output = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
    errors = [line.strip() for line in output if "error" in line.lower()]
    return "; ".join(errors or [line.strip() for line in output])
