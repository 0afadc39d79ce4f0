"""A real Slurm of two virtual nodes on this machine, for one test session: no accounting, no privileges, own ports."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
INSTALL = "apt-get install -y slurmctld slurmd slurm-client munge"
SYSTEM_FOLDERS = "/usr/sbin:/sbin"
PATIENCE_S = 30.0

CONFIG = """
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
KillWait=3
SlurmdTimeout=10
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=0
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=1000"


def why_not() -> str | None:
    """Return why there can be no cluster here, with the command that mends it; None when there can."""
    missing = [name for name in PROGRAMS if _find(name) is None]
    return f"{', '.join(missing)} not installed: {INSTALL}" if missing else None


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}")


@contextlib.contextmanager
def throwaway_cluster() -> Iterator[dict[str, str]]:
    """Start a cluster and yield the environment variables that lead to it; stop it by process id at the end."""
    folder = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))  # short: a socket's path has at most 107 bytes
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        environment = {**os.environ, "SLURM_CONF": str(_configure(folder))}
        _start_munge(folder, daemons)
        daemons.append(_start([_path("slurmctld"), "-D", "-i"], folder, "slurmctld", environment))
        for name in ("n1", "n2"):
            daemons.append(_start([_path("slurmd"), "-D", "-N", name], folder, name, environment))
        _wait_for_nodes(folder, environment)
        yield {"SLURM_CONF": environment["SLURM_CONF"]}
    finally:
        for daemon in reversed(daemons):
            _end(daemon)
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path) -> Path:
    for name in ("munge", "state", "spool", "spool/n1", "spool/n2"):
        (folder / name).mkdir(mode=0o755)
    host = socket.gethostname().split(".")[0]
    ports = _free_ports(3)
    nodes = [NODE.format(name=f"n{n}", host=host, port=ports[n]) for n in (1, 2)]
    config = folder / "slurm.conf"
    user = pwd.getpwuid(os.getuid()).pw_name
    config.write_text(
        CONFIG.format(folder=folder, host=host, user=user, controller_port=ports[0], nodes="\n".join(nodes))
    )
    return config


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        return [found.getsockname()[1] for found in sockets]


def _start_munge(folder: Path, daemons: list[subprocess.Popen[bytes]]) -> None:
    own = folder / "munge"
    key = own / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    command = [_path("munged"), "--foreground", "--force", f"--socket={own}/socket", f"--key-file={key}"]
    files = [f"--pid-file={own}/pid", f"--log-file={own}/log", f"--seed-file={own}/seed"]
    daemons.append(_start([*command, *files], folder, "munged", dict(os.environ)))
    _wait(lambda: (own / "socket").exists(), folder, "munged opens its socket")


def _start(command: list[str], folder: Path, name: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with open(folder / f"{name}.out", "wb") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)


def _path(program: str) -> str:
    found = _find(program)
    assert found is not None
    return found


def _wait_for_nodes(folder: Path, environment: dict[str, str]) -> None:
    def both_idle() -> bool:
        command = [_path("sinfo"), "--noheader", "--Node", "--format=%N %T"]
        lines = subprocess.run(command, env=environment, capture_output=True, text=True).stdout.split("\n")
        return {line.strip() for line in lines if line} == {"n1 idle", "n2 idle"}

    _wait(both_idle, folder, "both nodes are idle")


def _wait(condition: object, folder: Path, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            logs = [f"{log.name}:\n{log.read_text(errors='replace')[-1500:]}" for log in folder.glob("*.[lo][ou][gt]")]
            raise TimeoutError(f"waited in vain: {what}\n" + "\n".join(logs))
        time.sleep(0.1)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    if daemon.poll() is None:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(5)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
