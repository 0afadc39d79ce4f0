"""The batch script of a job: what it asks for, its `setup`, Python on every node, and its last line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from submitit.slurm.slurm import _make_sbatch_string

from slurm.graph.resources import Allocation
from slurm.launch.container import inside, python, pyxis_options
from slurm.launch.snapshot import exports


def script(
    resources: Allocation,
    code: Path,
    logs: Path,
    *,
    name: str,
    command: str,
    options: Mapping[str, Any],
    tasks: int = 1,
    after: str | None = None,
) -> str:
    """Return a batch script that runs Python with the arguments `command` on every node, as `resources` ask.

    `options` are sbatch's own and take precedence over those of `resources`; those that are empty are left out.
    `after` is the script's last line, with `{}` where the command's exit code belongs. Where `setup` fails, the script
    ends there, with the same line and `setup:` before the code.
    """
    place = str(logs).replace("%", "%%")  # Slurm replaces %j, %a, %x and more in the paths of logs, whole folders too
    job = "%j" if tasks == 1 else "%A_%a"
    sizes = _sizes(resources)
    more = {"kill-on-invalid-dep": "yes", "requeue": True, "export": "ALL", **resources.sbatch, **options}
    # srun does not inherit the CPUs since Slurm 22.05, nor, where the job was submitted without the environment,
    # what this script exports. Where the task of one node is lost, the others cannot go on.
    srun = ["--export=ALL", f"--cpus-per-task={sizes['cpus_per_task']}", "--kill-on-bad-exit=1"]
    text: str = _make_sbatch_string(
        command=f"{inside(resources)}{python(resources)} -u {command}",
        folder=logs,
        job_name=name,
        map_count=tasks if tasks > 1 else None,
        array_parallelism=tasks,
        setup=[*_checked(resources.setup, code, after), *exports(code)],
        teardown=[after.replace("{}", "$?", 1)] if after is not None else [],
        additional_parameters={
            "output": f"{place}/{job}_0_log.out",
            **{name: value for name, value in more.items() if value != ""},
        },
        srun_args=[f"--output={place}/{job}_%t_log.out", *srun, *pyxis_options(resources)],
        **sizes,
    )
    return text


def _checked(setup: Sequence[str], code: Path, after: str | None) -> list[str]:
    """Return a cluster file's `setup` as lines that end the batch script at the first of them that fails."""
    if not setup:
        return []
    end = "exit 1" if after is None else "; ".join([*exports(code), after.replace("{}", "setup:$failed", 1)])
    return [f"trap {shlex.quote(f'failed=$?; {end}')} EXIT", "set -e", *setup, "set +e", "trap - EXIT"]


def _sizes(resources: Allocation) -> dict[str, Any]:
    """Return submitit's parameters for a job's place, sizes and time limit."""
    return {
        "partition": resources.partition or None,
        "account": resources.account or None,
        "qos": resources.qos or None,
        "constraint": resources.constraint or None,
        "time": resources.time_limit_minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": resources.cpus_per_node,
        "gpus_per_node": resources.gpus_per_node or None,
        "mem": resources.memory,
        "signal_delay_s": resources.stop_notice_s,
        "stderr_to_stdout": True,
        "wckey": None,
    }
