"""Launch a pipeline on this machine: a loop in the foreground that starts stages as processes when they are ready."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

from benchmarks.files.locks import holder_pid, signal_process
from slurm.graph.cluster import LocalCluster
from slurm.graph.stages import REPORT, Stage
from slurm.launch.manifest import forget_unfinished, set_entries
from slurm.launch.processes import Processes, StageProcess
from slurm.launch.snapshot import variables
from slurm.stage.notify import notify
from slurm.stage.request import Request
from slurm.state.folder import Job, Manifest, PipelineFolder
from slurm.state.observe import BAD, DONE, LIVE, View, observe_all
from slurm.terminal import Display

TICK_S, STOPPING_TICK_S = 1.0, 0.1
GRACE_S = 20.0
"""How long a stage may take to save its state before it is killed."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LocalLauncher:
    """Starts at most `cluster.places` stages at once and watches them. The caller must hold the pipeline's lock."""

    def __init__(
        self,
        folder: PipelineFolder,
        manifest: Manifest,
        cluster: LocalCluster,
        display: Display,
        notify: str | None = None,
    ) -> None:
        """`notify` is a person's command that tells of failures."""
        self.folder = folder
        self.manifest = manifest
        self.cluster = cluster
        self.display = display
        self.notify = notify
        threads = str(max(1, cluster.cpus_per_stage // cluster.ranks_per_stage))
        own = {**dict.fromkeys(THREAD_VARIABLES, threads), **variables(Path(manifest.code))}
        self._starts = Processes(folder, own)
        self.processes: dict[str, StageProcess] = {}
        """Stages this launcher started; one that an earlier launcher left running is known by its lock alone."""
        self.stop_requests = 0
        """How often this launcher was asked to stop."""

    def launch(self) -> dict[str, View]:
        """Run every stage that is not completed; return the views of all when nothing runs any more."""
        forget_unfinished(self.folder, self.manifest.pipeline)
        with self._stop_signals(), contextlib.closing(self._starts):
            views = self._look()
            while not self.stop_requests:
                for stage in self._ready(views):
                    self.submit(stage)
                    views[stage.name] = View("starting")
                self.display.update(views)
                if not any(view.state in LIVE or self._has_process(name) for name, view in views.items()):
                    return views
                self._starts.wait(TICK_S)
                views = self._look()
            return self._stop()

    def submit(self, stage: Stage) -> Job:
        """Start one stage as a process of its own."""
        self.folder.forget_attempt(stage.name)
        ranks = self.cluster.ranks_per_stage if stage.trains else 1
        gpus = self._free_gpus() if stage.trains else ()
        expected = [entry.stage for entry in self.manifest.entries if entry.state not in DONE]
        process = self._starts.start(stage, Request(ranks_per_node=ranks), gpus, expected)
        self.processes[stage.name] = process
        started = Job(executor="local", id=process.job_id, gpus=gpus)
        self.manifest = set_entries(self.folder, self.manifest, {stage.name: {"job": started, "state": "starting"}})
        return started

    def _look(self) -> dict[str, View]:
        """Return every stage's view, and write changes of state into the manifest."""
        ended = {name for name, each in self.processes.items() if each.has_ended()}  # before looking at their files
        views = observe_all(self.folder, self.manifest)
        for name in self.processes:
            if views[name].state != "waiting":
                continue
            if name not in ended:  # it has not begun, or began after its files were looked at
                views[name] = View("starting")
            elif self.folder.read_attempt(name) is None and self.stop_requests:
                views[name] = View("stopped", "on request, before it began")
            elif self.folder.read_attempt(name) is None:
                views[name] = View("failed", f"ended before it began: see {self.folder.newest_log(name)}")
        before = {entry.stage.name: entry.state for entry in self.manifest.entries}
        changed = {name: {"state": view.state} for name, view in views.items() if view.state != before[name]}
        if changed:
            self.manifest = set_entries(self.folder, self.manifest, changed)
        for name in changed:
            if views[name].state == "failed" and name != REPORT:
                notify(self.notify, self.folder, self.manifest, name)
        return views

    def _ready(self, views: Mapping[str, View]) -> list[Stage]:
        room = self.cluster.places - sum(view.state in LIVE for view in views.values())
        stages = self.manifest.pipeline.stages
        ready = [stage for stage in stages if views[stage.name].state == "waiting" and _may_start(stage, views)]
        return ready[: max(0, room)]

    def _free_gpus(self) -> tuple[int, ...]:
        jobs = [entry.job for entry in self.manifest.entries if entry.state in LIVE]
        taken = {gpu for job in jobs if job is not None for gpu in job.gpus}
        return tuple(gpu for gpu in self.cluster.gpus if gpu not in taken)[: self.cluster.gpus_per_stage]

    @contextlib.contextmanager
    def _stop_signals(self) -> Iterator[None]:
        """Count stop signals as requests that the loop reads, so that the start of a stage is never interrupted.

        What is ignored already stays so: the hang-up behind `nohup`, Ctrl-C behind `&` in a script.
        """

        def request(_signal: int, _frame: FrameType | None) -> None:
            self.stop_requests += 1

        before = {
            number: signal.signal(number, request)
            for number in STOP_SIGNALS
            if signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self) -> dict[str, View]:
        """Ask every running stage to save and stop, wait for them, and kill those that do not end in time.

        A stage that another person's launcher left behind, or one on another host, is out of reach and runs on.
        """
        live = [name for name, view in self._look().items() if view.state in LIVE or self._has_process(name)]
        if beyond := [name for name in live if not self._signal(name, 0) and not self._has_process(name)]:
            self.display.say(f"left running, to be stopped by whoever started it: {', '.join(beyond)}")
            live = [name for name in live if name not in beyond]
        self.display.say(f"stopping: {', '.join(live) or 'nothing runs'} (again to kill without saving)")
        asked: set[str] = set()
        deadline, first_requests = time.monotonic() + GRACE_S, self.stop_requests
        while live:
            impatient = self.stop_requests > first_requests or time.monotonic() > deadline
            for name in live:
                if impatient:
                    self._signal(name, signal.SIGKILL)
                elif name not in asked and self._signal(name, signal.SIGTERM):
                    asked.add(name)
            self._starts.wait(STOPPING_TICK_S)
            views = self._look()
            self.display.update(views)
            live = [name for name in live if views[name].state in LIVE or self._has_process(name)]
        return self._look()

    def _has_process(self, name: str) -> bool:
        return name in self.processes and not self.processes[name].has_ended()

    def _signal(self, name: str, number: int) -> bool:
        """Send a signal (0: none, only try) to a stage's process; return whether there was one to send it to."""
        pid = holder_pid(self.folder.lock(name))
        if number == signal.SIGKILL and self._has_process(name):
            self.processes[name].kill()
        return pid is not None and signal_process(pid, number)


def _may_start(stage: Stage, views: Mapping[str, View]) -> bool:
    states = [views[name].state for name in stage.needs]
    if stage.after == "any":
        return all(state in (*DONE, *BAD) for state in states)
    return all(state == "completed" for state in states)
