"""The throwaway Slurm with accounting, as most sites have it: slurmdbd, and a MariaDB that is its own."""

from __future__ import annotations

import socket

from tests.slurm.throwaway_cluster import Cluster, this_user, wait_until
from tests.support.ports import free_ports

CLUSTER_LINES = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge/socket
"""
DAEMON_CONFIG = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=root
StorageLoc=accounts
"""
DATABASE_CONFIG = """
[mariadbd]
user={user}
datadir={folder}/database
socket={folder}/mariadbd.socket
pid-file={folder}/mariadbd.pid
bind-address=127.0.0.1
port={database_port}
innodb-log-file-size=4M
innodb-flush-method=nosync
innodb-doublewrite=0
sync-frm=0
"""
"""Nothing waits for the disk: what is written outlives the database's death, though not the machine's."""


class AccountedCluster(Cluster):
    """A cluster whose jobs `sacct` knows. The daemons are called `mariadbd` and `slurmdbd`."""

    PROGRAMS = (*Cluster.PROGRAMS, "slurmdbd", "sacctmgr", "sacct", "mariadbd", "mariadb-install-db", "mariadb-admin")
    PACKAGES = (*Cluster.PACKAGES, "slurmdbd", "mariadb-server")

    def configure_accounting(self) -> str:
        port, database_port = free_ports(2)
        host = socket.gethostname().split(".")[0]
        own = {"folder": self.folder, "user": this_user(), "host": host, "port": port, "database_port": database_port}
        config = self.folder / "slurmdbd.conf"  # found by its place beside slurm.conf
        config.touch(mode=0o600)  # slurmdbd refuses one that others can read
        config.write_text(DAEMON_CONFIG.format(**own))
        (self.folder / "my.cnf").write_text(DATABASE_CONFIG.format(**own))
        return CLUSTER_LINES.format(**own)

    def start_accounting(self) -> None:
        root = "--auth-root-authentication-method=normal"
        made = self.ask("mariadb-install-db", self._database(), root, "--skip-test-db")
        assert made.returncode == 0, made.stdout + made.stderr
        self.start_mariadbd()
        self.start_slurmdbd()
        added = self.ask("sacctmgr", "--immediate", "--quiet", "add", "cluster", "throwaway")
        assert added.returncode == 0, added.stdout + added.stderr

    def _database(self) -> str:
        return f"--defaults-file={self.folder}/my.cnf"

    def start_mariadbd(self) -> None:
        self._start("mariadbd", ["mariadbd", self._database()])
        self._wait_for("mariadb-admin", "--no-defaults", f"--socket={self.folder}/mariadbd.socket", "ping")

    def start_slurmdbd(self) -> None:
        self._start("slurmdbd", ["slurmdbd", "-D"])
        self._wait_for("sacctmgr", "--noheader", "list", "cluster")

    def _wait_for(self, *command: str) -> None:
        """Wait until a client's question is answered."""
        wait_until(lambda: self.ask(*command).returncode == 0, self.folder, f"{command[0]} is answered")
