"""Rounds of several programs in turn, and what follows from their seconds."""

from __future__ import annotations

import json
import math
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.errors import UserError, WorkFailed
from benchmarks.runs.bench_record import Ratio, Timed
from pretrain.bench.child import Order

CONFIDENCE = 0.95
TAKEN = ("seconds", "cpu_seconds", "memory_mb")
GRACE_S, PATIENCE_S = 60.0, "300"
"""How long a process may take to end, and waits for another that has ended or hangs."""
FLOAT_BYTES = 4
"""Of a weight, and of its gradient."""


@dataclass
class Child:
    """A program's process, and what it answered."""

    order: Order
    began: float = field(default_factory=time.perf_counter)
    start_s: float = 0.0
    first_step_s: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    """Its first round."""
    rounds: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        words, count, pipe = [sys.executable, "-m", "pretrain.bench.child"], self.order.processes, subprocess.PIPE
        self.order = self.order.model_copy(update={"began_s": time.time()})
        self._processes = [
            subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=dict(os.environ) | meeting)
            for meeting in (_meetings(count) if count > 1 else [{}])
        ]

    def build(self) -> None:
        """Have the program built, and its first round done."""
        self.about = self._ask(self.order.model_dump_json())
        self.start_s = time.perf_counter() - self.began
        self.first = self._ask("round")
        self.first_step_s = time.perf_counter() - self.began

    def round(self, *, counts: bool) -> None:
        """Do one round; those of the warm-up do not count."""
        found = self._ask("round")
        if counts:
            self.rounds.append(found)

    def matrix_rate(self) -> float:
        """Return the FLOPs per second of matrix products on the program's device."""
        return float(self._ask("rate")["flops_per_second"])

    def _ask(self, line: str) -> dict[str, Any]:
        """Send a line to every process; return the first's answer, of rounds with the most that any of them took."""
        for process in self._processes:
            assert process.stdin is not None
            try:
                process.stdin.write(line + "\n")
                process.stdin.flush()
            except BrokenPipeError:
                pass  # what it said last is read below
        answers = [self._answer(process) for process in self._processes]
        most = {name: max(each[name] for each in answers) for name in TAKEN if name in answers[0]}
        return answers[0] | most

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        answer = process.stdout.readline()
        if not answer:
            code = process.wait()
            killed = f"was killed by signal {-code}: usually memory; a smaller --batch"
            words = killed if code < 0 else f"ended (exit code {code}); see above"
            raise WorkFailed(f"the program {self.order.name} {words}")
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            raise UserError(found["error"])
        if "failed" in found:
            raise WorkFailed(found["failed"])
        return found

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()  # of all of them first: they leave their group together
        for process in self._processes:
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:  # it waits for another one that has ended
                process.kill()
                process.wait()


def _meetings(count: int) -> list[dict[str, str]]:
    """Return torchrun's variables for each of several processes on this machine."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    meeting = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    meeting["MIMBENCH_PEER_TIMEOUT_S"] = PATIENCE_S
    return [{**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def starts(order: Order, rounds: int) -> tuple[Timed, dict[str, Any]]:
    """Time starts of a program, each in a process that is new, one after the other; return them, and what it is."""
    children = []
    for _ in range(rounds):
        children.append(Child(order))
        try:
            children[-1].build()
        finally:
            children[-1].close()
    for child in children:
        child.rounds = [child.first | {"seconds": child.first_step_s}]
        child.about["parts_s"]["first step"] = child.first_step_s - child.start_s
    middle = sorted(children, key=lambda child: child.first_step_s)[(rounds - 1) // 2]
    middle.rounds = [child.rounds[0] for child in children]
    names = middle.about["parts_s"]
    parts = {name: statistics.median(child.about["parts_s"][name] for child in children) for name in names}
    return _timed(middle, middle).model_copy(update={"parts_s": parts}), middle.about


def in_turn(orders: Sequence[Order], rounds: int, warm_up: int) -> tuple[list[Timed], dict[str, Any], float | None]:
    """Time programs, one round of each after the other; return them, what the first says of itself, its matrix rate."""
    children = []
    try:
        for order in orders:  # one after the other, so that none's start disturbs another's
            children.append(Child(order))
            children[-1].build()
        for number in range(-warm_up, rounds):
            for child in children:
                child.round(counts=number >= 0)
        rate = children[0].matrix_rate() if orders[0].part == "step" else None
    finally:
        for child in children:
            child.close()
    return [_timed(child, children[0]) for child in children], children[0].about, rate


def _timed(child: Child, first: Child) -> Timed:
    seconds, cpu = (tuple(found[name] for found in child.rounds) for name in ("seconds", "cpu_seconds"))
    others, others_cpu = (tuple(found[name] for found in first.rounds) for name in ("seconds", "cpu_seconds"))
    return Timed(
        name=child.order.shown or child.order.name,
        seconds=seconds,
        cpu_seconds=cpu,
        ratio=ratio_of(others, seconds),
        cpu_ratio=ratio_of(others_cpu, cpu),
        per_second=child.order.recipe.training.batch_size / statistics.median(seconds),
        peak_memory_mb=child.rounds[-1]["memory_mb"],
        base_memory_mb=child.about["base_mb"],
        start_s=child.start_s,
        first_step_s=child.first_step_s,
        ways=tuple(child.about["ways"]),
        processes=child.order.processes,
        sharded=child.order.recipe.training.sharded and child.order.processes > 1,
        sent_mb=_sent_mb(child) if child.order.part == "scale" else None,
    )


def _sent_mb(child: Child) -> float:
    """Return what each process sends in a step, by arithmetic.

    A ring of N processes sends 2 (N - 1) / N of the gradients that it sums (arXiv:1802.05799). FSDP2 gathers weights of
    each block forwards and backwards, and scatters the sums of its gradients: (N - 1) / N each.
    """
    count, sharded = child.order.processes, child.order.recipe.training.sharded
    return (3 if sharded else 2) * (count - 1) / count * FLOAT_BYTES * float(child.about["parameters"]) / 1e6


def ratio_of(first: Sequence[float], other: Sequence[float]) -> Ratio:
    """Return the median of the rounds' ratios, with the span between order statistics that holds it at 95 %."""
    ratios = sorted(two / one for one, two in zip(first, other, strict=True))
    cut = _cut(len(ratios))
    return Ratio(median=statistics.median(ratios), low=ratios[cut], high=ratios[-1 - cut])


def _cut(count: int) -> int:
    """Return how many of the smallest and of the largest values leave a span that holds the median at 95 %.

    How many values lie below the median is binomial with p = 1/2. Fewer than six values give no such span: it is all.
    """
    missed, cut = 0.0, 0
    for number in range(count // 2):
        missed += 2 * math.comb(count, number) / 2**count
        if missed > 1 - CONFIDENCE:
            break
        cut = number
    return cut
