"""Two people and one pipeline: who may only read, who may write too, who may do neither. Kept apart by the kernel."""

from __future__ import annotations

import contextlib
import copy
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.errors import UserError
from slurm import cli
from tests.slurm.bench import Bench, alive
from tests.slurm.conftest import real_slurm
from tests.slurm.jobs import queue
from tests.slurm.throwaway_cluster import Cluster
from tests.support.command import ROOT

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as two other users"),
]
OWNER, COLLEAGUE = "daemon", "nobody"
GROUP = 54_321
"""The number of a group that has both people in it, and nobody else."""
STAGE = "pretrain.simmim"
TRAINED = [STAGE, "digits.simmim.seed0", "digits.scratch.seed0"]
SUBMIT = ("pipeline", "submit", "pipeline.yaml", "seeds=[0]")
LATER = "{executor: slurm, gpus_per_node: 0, time_limit: 10m, cpus_per_process: 1, sbatch: {begin: now+1hour}}"
"""A cluster file whose jobs wait in the queue."""
READING = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""The right to read everything, for an interpreter that lies where only root can read; none to write."""


def as_user(name: str, *options: str) -> list[str]:
    found = pwd.getpwnam(name)
    return ["setpriv", f"--reuid={found.pw_uid}", f"--regid={found.pw_gid}", f"--groups={GROUP}", *options]


@pytest.fixture(scope="module")
def rights() -> tuple[str, ...]:
    """What other users need to run this program."""
    child = f"import subprocess; subprocess.run([{sys.executable!r}, '-c', 'import mimbench, submitit'], check=True)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for options in ((), READING):
        command = [*as_user(COLLEAGUE, *options), sys.executable, "-c", child]
        if subprocess.run(command, env=environment, cwd="/", capture_output=True).returncode == 0:
            return options
    pytest.skip(f"no user but root can run {sys.executable} with {ROOT}")


@contextlib.contextmanager
def opened(
    rights: tuple[str, ...], mode: int, umask: int, more: dict[str, str], people: tuple[str, str] = (OWNER, COLLEAGUE)
) -> Iterator[tuple[Bench, Bench]]:
    """Yield the benches of two people who work in one folder; pipelines/ and runs/ are the first one's, with a mode."""
    path = Path(tempfile.mkdtemp(prefix="two", dir="/tmp"))  # not pytest's own, which is closed to others
    path.chmod(0o755)
    first = Bench(path, {"HOME": str(path), **more})
    first.desk.chmod(0o777)
    diary = first.desk / "diary.jsonl"
    diary.touch()
    diary.chmod(0o666)
    for name in ("pipelines", "runs"):
        (path / name).mkdir()
        os.chown(path / name, pwd.getpwnam(people[0]).pw_uid, GROUP)
        (path / name).chmod(mode)
    second = copy.copy(first)
    for bench, name in zip((first, second), people, strict=True):
        bench.prefix, bench.umask = as_user(name, *rights), umask
    try:
        yield first, second
    finally:
        first.close()
        for stage in TRAINED:  # an orphan of a test that failed sees that nothing holds it
            (first.desk / f"{stage}.hold").unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def apart(rights: tuple[str, ...]) -> Iterator[tuple[Bench, Bench]]:
    """As a login makes them: the second can read what the first writes, and no more."""
    with opened(rights, 0o755, 0o022, {}) as found:
        yield found


@pytest.fixture
def together(rights: tuple[str, ...]) -> Iterator[tuple[Bench, Bench]]:
    """With a folder that the group shares."""
    with opened(rights, 0o2775, 0o002, {}) as found:
        yield found


def contents(bench: Bench) -> dict[str, bytes]:
    files = [path for root in ("pipelines", "runs") for path in (bench.path / root).rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in files}


def at_work(bench: Bench) -> bool:
    """Tell whether the pretraining is held, and all that need not wait for it is done."""
    ends = [found["stage"] for found in bench.diary("ends")]
    return STAGE in bench.begun() and "digits.scratch.seed0" in ends and bench.step_of(STAGE) == 3


def test_who_may_only_read_sees_everything_and_harms_nothing(apart: tuple[Bench, Bench]) -> None:
    owner, reader = apart
    owner.hold(STAGE)
    launcher = owner.start(*SUBMIT)
    owner.wait_for(lambda: f"1/4 stages done | {STAGE} step 3/5" in owner.output(launcher), "it is held")
    before = contents(owner)

    status = reader.mimbench("pipeline", "status", "small").stdout
    assert re.search(rf"^{re.escape(STAGE)} +running +3/5", status, re.MULTILINE), status
    assert "1 running, 2 waiting, 1 completed" in reader.mimbench("pipeline", "list").stdout
    assert "$ mimbench pretrain" in reader.mimbench("pipeline", "logs", "small", STAGE).stdout
    for command in (SUBMIT, ("pipeline", "resume", "small")):
        refused = reader.mimbench(*command)
        assert refused.returncode == 2
        assert (
            f"/.lock = permission denied: it belongs to {OWNER}\n  rule:   a place that you may write\n"
            in refused.stdout
        )
        assert f"  remedy: name another place, or have {OWNER} open this one" in refused.stdout
    kept = reader.mimbench("pipeline", "cancel", "small")
    assert kept.returncode == 1
    assert f"is not yours to stop: process {launcher.pid} belongs to {OWNER}\n  remedy: " in kept.stdout

    assert contents(owner) == before
    owner.let_go(STAGE)
    assert launcher.wait(60) == 0, owner.output(launcher)
    assert owner.begun() == sorted(TRAINED)
    written = [path for root in ("pipelines", "runs") for path in (owner.path / root).rglob("*")]
    assert [path for path in written if path.lstat().st_mode & 0o044 != 0o044] == []


def test_two_who_share_a_folder_run_nothing_twice(together: tuple[Bench, Bench]) -> None:
    together[0].hold(STAGE)
    launchers = [bench.start(*SUBMIT) for bench in together]
    together[0].wait_for(lambda: at_work(together[0]), "it is held")
    together[0].wait_for(lambda: any(found.poll() is not None for found in launchers), "one is refused")
    first = 0 if launchers[0].poll() is None else 1
    other = together[1 - first]
    assert launchers[1 - first].returncode == 2
    assert f"by one process at a time, now by process {launchers[first].pid} on" in other.output(launchers[1 - first])

    launchers[first].kill()  # its stage lives on
    launchers[first].wait()
    orphan = other.pid_of(STAGE)
    second = other.start(*SUBMIT)
    other.wait_for(lambda: f"{STAGE} step 3/5" in other.output(second), "the other's stage is shown")
    second.send_signal(signal.SIGINT)
    assert second.wait(60) == 130
    assert f"left running, to be stopped by whoever started it: {STAGE}" in other.output(second)
    assert "is not yours to stop" in other.mimbench("pipeline", "cancel", "small").stdout
    assert alive(orphan)

    third = other.start(*SUBMIT)
    other.wait_for(lambda: f"{STAGE} step 3/5" in other.output(third), "it is waited for again")
    other.let_go(STAGE)
    assert third.wait(60) == 0, other.output(third)
    assert other.begun() == sorted(TRAINED)


def test_a_folder_within_that_the_other_closed_is_named(together: tuple[Bench, Bench]) -> None:
    """As somebody's umask 022 does it in a folder that the group shares."""
    one, other = together
    one.fail(STAGE)
    assert one.mimbench(*SUBMIT).returncode == 1
    one.repair(STAGE)
    one.folder.logs(STAGE).chmod(0o755)
    refused = other.mimbench("pipeline", "resume", "small")
    assert refused.returncode == 2
    assert f"permission denied: {one.folder.logs(STAGE)} belongs to {OWNER}\n" in refused.stdout
    assert "Traceback" not in refused.stdout
    assert one.begun() == sorted({STAGE, "digits.scratch.seed0"})
    resumed = one.mimbench("pipeline", "resume", "small")
    assert "4/4 stages done" in resumed.stdout


def test_what_may_not_be_read_is_named_with_its_owner(
    apart: tuple[Bench, Bench], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner, _ = apart
    assert owner.mimbench(*SUBMIT).returncode == 0
    monkeypatch.chdir(owner.path)
    command = ["status", str(owner.folder.path)]
    assert cli.main(command) == 0  # root reads all; and now all modules are loaded
    for closed in (".", "manifest.json", f"attempts/{STAGE}.lock", f"attempts/{STAGE}.json"):
        place = owner.folder.path / closed
        mode = place.stat().st_mode
        place.chmod(0o600)
        os.seteuid(pwd.getpwnam(COLLEAGUE).pw_uid)
        try:
            with pytest.raises(UserError, match=rf"denied: (it|/.*) belongs to {OWNER}\n.*a place that you may read"):
                cli.main(command)
            assert cli.main(["list"]) == 0  # the others' pipelines are listed still
        finally:
            os.seteuid(0)
            place.chmod(mode)
    printed = capsys.readouterr().out
    assert printed.count("you may not read") == 3
    assert printed.count("no pipelines in pipelines") == 1


@pytest.mark.faults
def test_two_who_submit_to_slurm_at_once_submit_every_stage_once(rights: tuple[str, ...]) -> None:
    with real_slurm(Cluster) as slurm, opened(rights, 0o2775, 0o002, slurm.environment) as people:
        (people[0].path / "cluster.yaml").write_text(LATER)
        both = [bench.start(*SUBMIT, "--cluster", "cluster.yaml") for bench in people]
        codes = [process.wait(60) for process in both]
        assert sorted(codes) in ([0, 0], [0, 2]), [people[0].output(process) for process in both]
        users = slurm.ask("squeue", "--noheader", "--format=%u").stdout.split()
        assert len(users) == len(TRAINED) + 1
        assert len(set(users)) == 1
        owner, other = people if users[0] == OWNER else reversed(people)
        before = queue(other)
        assert other.mimbench("pipeline", "resume", "small").stdout.count("live already") == len(users)
        kept = other.mimbench("pipeline", "cancel", "small")
        assert kept.returncode == 1
        assert "Access/permission denied" in kept.stdout
        assert "have whoever submitted them cancel" in kept.stdout
        assert queue(other) == before
        assert owner.mimbench("pipeline", "cancel", "small").returncode == 0
        assert queue(owner) == []


@pytest.mark.faults
def test_two_with_folders_of_their_own_leave_each_others_jobs_alone(rights: tuple[str, ...]) -> None:
    with (
        real_slurm(Cluster) as slurm,
        opened(rights, 0o755, 0o022, slurm.environment) as (owner, _),
        opened(rights, 0o755, 0o022, slurm.environment, (COLLEAGUE, OWNER)) as (colleague, _),
    ):

        def users() -> list[str]:
            return sorted(slurm.ask("squeue", "--noheader", "--format=%u").stdout.split())

        for bench in (owner, colleague):
            (bench.path / "cluster.yaml").write_text(LATER)
            done = bench.mimbench(*SUBMIT, "--cluster", "cluster.yaml")
            assert done.returncode == 0, done.stdout
        assert owner.folder.id == colleague.folder.id
        stages = len(TRAINED) + 1
        assert users() == [OWNER] * stages + [COLLEAGUE] * stages
        assert colleague.mimbench("pipeline", "resume", "small").stdout.count("live already") == stages
        assert colleague.mimbench("pipeline", "cancel", "small").returncode == 0
        assert users() == [OWNER] * stages
        assert "4 queued" in owner.mimbench("pipeline", "list").stdout
        assert owner.mimbench("pipeline", "cancel", "small").returncode == 0
        assert users() == []
