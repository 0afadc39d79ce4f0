"""How long a leaderboard of many records takes, and its page's first sort: `make scale` prints both.

Not a test: time depends on the machine. Figures are in docs/reports.md.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.reports import browser, factory
from tests.support.command import ROOT

RECORDS = 10_000
SEEDS = 5
RECIPES = 20


def main() -> int:
    """Write the records, make the leaderboard in a process of its own, sort its page; print what that took."""
    with tempfile.TemporaryDirectory() as folder:
        runs, out = Path(folder, "runs"), Path(folder, "out")
        write_records(runs)
        seconds, at_work, peak_mb = leaderboard(runs, out)
        size_mb = (out / "leaderboard.html").stat().st_size / 1e6
        took = f"{seconds:.1f} s ({at_work:.1f} s of CPU time), {peak_mb:.0f} MB at most"
        print(f"{RECORDS:,} records: {took}, page of {size_mb:.1f} MB")
        loaded, clicks = sorting(out / "leaderboard.html")
        later = statistics.mean(clicks[1:])
        print(f"page: open after {loaded:.0f} ms, first sort {clicks[0]:.0f} ms, later {later:.0f} ms")
    return 0


def write_records(runs: Path) -> None:
    """Write encoders x seeds, spread over 20 recipes, with a log of 30 epochs each."""
    for number in range(RECORDS // SEEDS):
        recipe = factory.recipe(f"digits_{number % RECIPES}", epochs=30)
        for seed in range(SEEDS):
            top1 = 60 + 30 * (number * 7919 % 1000) / 1000 + seed / 10
            label = "supervised" if number < RECIPES else f"encoder-{number}"
            record = factory.transfer(label, seed, top1, recipe=recipe)
            factory.write(runs, record, factory.score_lines(top1, 10.0, 30, seed))


def leaderboard(runs: Path, out: Path) -> tuple[float, float, float]:
    """Return what `mimbench report leaderboard` takes: seconds, those of CPU time, the largest resident size in MB."""
    command = [sys.executable, "-m", "mimbench", "report", "leaderboard", str(runs)]
    command += ["--baseline", "supervised", "--out", str(out)]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed with status {status}")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3


def sorting(page: Path) -> tuple[float, list[float]]:
    """Return the milliseconds until the page can be used, and those of five sorts up to the next frame."""
    with browser.started() as chromium, browser.opened(chromium, page) as seen:
        loaded = seen.page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        clicks = seen.page.evaluate(
            """async () => {
                const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                const took = [];
                for (const column of [1, 1, 2, 0, 5]) {
                    await frame();
                    const from = performance.now();
                    document.querySelectorAll("table.board thead button")[column].click();
                    await frame();
                    took.push(performance.now() - from);
                }
                return took;
            }"""
        )
        return loaded, clicks


if __name__ == "__main__":
    sys.exit(main())
