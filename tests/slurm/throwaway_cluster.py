"""A real Slurm of virtual nodes on this machine, for one test session: no privileges, own ports."""

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tests.support.ports import free_ports

SYSTEM_FOLDERS = "/usr/sbin:/sbin"
PATIENCE_S = 30.0
MARK = "THROWAWAY_NODE"
"""The variable by which the processes of one virtual node are distinguished from those of another."""

CONFIG = """
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
FirstJobId={controller_port}  # the ports of a job's ranks follow from its id: another cluster here has others
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
KillWait=10
SlurmdTimeout=10
ReturnToService=2
MinJobAge=4
JobAcctGatherType=jobacct_gather/none
{accounting}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=0
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
PartitionName=cpu Nodes={first} MaxTime=60
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=1000"


class Cluster:
    """A running cluster, whose parts a test may kill and start again. It keeps no accounts."""

    PROGRAMS: tuple[str, ...] = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
    PACKAGES: tuple[str, ...] = ("slurmctld", "slurmd", "slurm-client", "munge")

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder, self.nodes = folder, [f"n{number + 1}" for number in range(nodes)]
        self.environment = {"SLURM_CONF": str(_configure(folder, self.nodes, self.configure_accounting()))}
        """The variables that lead to it."""
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def why_not(cls) -> str | None:
        """Return why there can be no such cluster here, with the command that fixes it; None when there can."""
        missing = [name for name in cls.PROGRAMS if _find(name) is None]
        return f"{', '.join(missing)} not installed: apt-get install -y {' '.join(cls.PACKAGES)}" if missing else None

    def configure_accounting(self) -> str:
        """Return the lines of slurm.conf about accounting."""
        return "AccountingStorageType=accounting_storage/none"

    def start_accounting(self) -> None:
        """Start what the controller writes accounts to: nothing."""

    def start(self) -> None:
        self._daemons["munged"] = _start_munge(self.folder)
        self.start_accounting()
        self.start_controller()
        for name in self.nodes:
            self.start_node(name)
        self.wait_for_nodes()

    def start_controller(self) -> None:
        self._start("slurmctld", ["slurmctld", "-D", "-i"] if "slurmctld" not in self._daemons else ["slurmctld", "-D"])

    def start_node(self, name: str) -> None:
        self._start(name, ["slurmd", "-D", "-N", name], {MARK: name})

    def kill(self, daemon: str) -> None:
        """Kill one daemon, such as `slurmctld` or a node's slurmd, as a crash would. Jobs live on."""
        self._daemons[daemon].kill()
        self._daemons[daemon].wait()

    def lose_node(self, name: str) -> None:
        """Kill everything that runs on a node, as a power cut would."""
        self.kill(name)
        conf = f"SLURM_CONF={self.environment['SLURM_CONF']}"
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                variables = (process / "environ").read_text(errors="replace").split("\0")
                if conf in variables and {f"{MARK}={name}", f"SLURMD_NODENAME={name}"} & {*variables}:
                    os.kill(int(process.name), signal.SIGKILL)

    def wait_for_nodes(self) -> None:
        def all_idle() -> bool:
            lines = self.ask("sinfo", "--noheader", "--Node", "--format=%N %T").stdout.split("\n")
            return {line.strip() for line in lines if line} == {f"{name} idle" for name in self.nodes}

        wait_until(all_idle, self.folder, "all nodes are idle")

    def ask(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a client of the cluster to its end, however it ends."""
        environment = {**os.environ, **self.environment}
        return subprocess.run([path_of(program), *arguments], env=environment, capture_output=True, text=True)

    def stop(self) -> None:
        for daemon in reversed(self._daemons.values()):
            _end(daemon)

    def _start(self, name: str, command: list[str], marks: dict[str, str] | None = None) -> None:
        environment = {**os.environ, **self.environment, **(marks or {})}
        self._daemons[name] = _start([path_of(command[0]), *command[1:]], self.folder, name, environment)


C = TypeVar("C", bound=Cluster)


@contextlib.contextmanager
def throwaway_cluster(kind: type[C], nodes: int = 2) -> Iterator[C]:
    """Start a cluster; stop it by process id at the end."""
    folder = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))  # short: a socket's path has at most 107 bytes
    folder.chmod(0o755)  # for users other than this one
    cluster = kind(folder, nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path, names: list[str], accounting: str) -> Path:
    for name in ("munge", "state", "spool", *(f"spool/{node}" for node in names)):
        (folder / name).mkdir(mode=0o755)
    host = socket.gethostname().split(".")[0]
    ports = free_ports(1 + len(names))
    nodes = [NODE.format(name=name, host=host, port=port) for name, port in zip(names, ports[1:], strict=True)]
    config = folder / "slurm.conf"
    found = {"folder": folder, "host": host, "user": this_user(), "accounting": accounting, "first": names[0]}
    config.write_text(CONFIG.format(**found, controller_port=ports[0], nodes="\n".join(nodes)))
    return config


def this_user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _start_munge(folder: Path) -> subprocess.Popen[bytes]:
    own = folder / "munge"
    key = own / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    command = [path_of("munged"), "--foreground", "--force", f"--socket={own}/socket", f"--key-file={key}"]
    files = [f"--pid-file={own}/pid", f"--log-file={own}/log", f"--seed-file={own}/seed"]
    daemon = _start([*command, *files], folder, "munged", dict(os.environ))
    wait_until(lambda: (own / "socket").exists(), folder, "munged opens its socket")
    return daemon


def _start(command: list[str], folder: Path, name: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with open(folder / f"{name}.out", "wb") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}")


def path_of(program: str) -> str:
    found = _find(program)
    assert found is not None
    return found


def wait_until(condition: Callable[[], bool], folder: Path, what: str) -> None:
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
