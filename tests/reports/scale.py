"""How long leaderboards of 100 to 100,000 records take, and their pages in a browser: `make scale` prints both.

Not a test: time depends on the machine. Figures are in docs/reports.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.reports import browser, factory
from tests.support.command import ROOT

RECORDS = (100, 10_000, 100_000)
SEEDS = 5
RECIPES = 20


def main() -> int:
    """Write records, make the leaderboard in a process of its own, use its page; print what that took."""
    for records in RECORDS:
        with tempfile.TemporaryDirectory() as folder:
            runs, out = Path(folder, "runs"), Path(folder, "out")
            write_records(runs, records)
            seconds, at_work, peak_mb = leaderboard(runs, out)
            size_mb = (out / "leaderboard.html").stat().st_size / 1e6
            took = f"{seconds:.1f} s ({at_work:.1f} s of CPU time), {peak_mb:.0f} MB at most"
            print(f"{records:,} records: {took}, page of {size_mb:.1f} MB")
            usable, actions = used(out / "leaderboard.html")
            words = ", ".join(f"{name} {took:.0f} ms" for name, took in actions.items())
            print(f"page: all rows at hand after {usable:.0f} ms, {words}", flush=True)
    return 0


def write_records(runs: Path, records: int) -> None:
    """Write encoders x seeds, spread over 20 recipes, with a log of 30 epochs each."""
    for number in range(records // SEEDS):
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


def used(page: Path) -> tuple[float, dict[str, float]]:
    """Return the milliseconds until every row can be sorted, and those of first actions up to the next frame."""
    with browser.started() as chromium, browser.opened(chromium, page) as seen:
        seen.page.wait_for_function("document.querySelector('section.task output').textContent.includes('rows')")
        usable = seen.page.evaluate("performance.now()")
        actions = seen.page.evaluate(
            """async () => {
                const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                const section = document.querySelector("section.task");
                const buttons = section.querySelectorAll("thead button");
                const input = section.querySelector(".tools input");
                const box = document.querySelector(".facet:not([hidden]) input");
                const type = (text) => {
                    input.value = text;
                    input.dispatchEvent(new Event("input"));
                };
                const took = {};
                for (const [name, act] of Object.entries({
                    "first sort": () => buttons[1].click(),
                    "second sort": () => buttons[0].click(),
                    "first filter": () => type("encoder-1"),
                    "second filter": () => type("encoder-12"),
                    "filter taken back": () => type(""),
                    "more rows": () => section.querySelector("button.all").click(),
                    facet: () => box?.click(),
                })) {
                    await frame();
                    const from = performance.now();
                    act();
                    await frame();
                    took[name] = performance.now() - from;
                }
                return took;
            }"""
        )
        return usable, actions


if __name__ == "__main__":
    sys.exit(main())
