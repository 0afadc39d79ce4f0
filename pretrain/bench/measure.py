"""Rounds of several programs in turn, and what follows from their seconds."""

from __future__ import annotations

import json
import math
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


@dataclass
class Child:
    """A program's process, and what it answered."""

    order: Order
    began: float = field(default_factory=time.perf_counter)
    start_s: float = 0.0
    first_step_s: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)
    rounds: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        words = [sys.executable, "-m", "pretrain.bench.child"]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def build(self) -> None:
        """Have the program built, and its first round done."""
        self.about = self._ask(self.order.model_dump_json())
        self.start_s = time.perf_counter() - self.began
        self._ask("round")
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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # what it said last is read below
        answer = self._process.stdout.readline()
        if not answer:
            raise WorkFailed(f"the program {self.order.name} ended (exit code {self._process.wait()}); see above")
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            raise UserError(found["error"])
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


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
        name=child.order.name,
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
    )


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
