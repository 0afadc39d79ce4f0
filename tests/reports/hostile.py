"""Names that would like to be code: in HTML, Markdown, LaTeX, spreadsheets, terminals."""

from __future__ import annotations

from pathlib import Path

from tests.reports import factory

NAMES = [
    "<script>alert(1)</script>",
    "a|b",
    "two\nlines\r\tand tab",
    "=cmd('calc')",
    "+1+1",
    "@SUM(A1)",
    "שלום עולם",
    "evil\u202etxt.exe",
    "$x^2$ and \\frac{1}{2}",
    "</svg><img src=x onerror=alert(1)>",
    "[link](https://example.org) *bold* _it_ `code` ![i](x)",
    "\"quoted\" & 'single' {{ 7 * 7 }} {% raw %}",
    "\x1b[31mred\x07",
    "long-" * 60,
    "日本語のモデル",
    "\\input{/etc/passwd} % ~ # ^^M --- end",
]


def hostile_runs(root: Path) -> Path:
    """Write, for every name, three runs under two recipes and a failed one below `root`, and return it."""
    for name in NAMES:
        for seed in range(3):
            use = factory.encoder(name, method=name, reference=name)
            short, recipe = factory.recipe(epochs=3), factory.recipe("".join(NAMES[:12]), epochs=3)  # so few charts
            lines = factory.score_lines(90 + seed, 9, 3)
            factory.write(root, factory.transfer(name, seed, 90 + seed, encoder=use, recipe=short), lines)
            lines = factory.score_lines(80 + seed, 9, 3)
            record = factory.transfer(name, seed, 80 + seed, encoder=use, recipe=recipe)
            factory.write(root, record, lines, name=f"second-{NAMES.index(name)}-{seed}")
        failed = factory.transfer(name, 9, status="failed", error=f"x {name}")
        factory.write(root, failed, name=f"failed-{NAMES.index(name)}")
    return root


LONGEST = ["x" * 4000, "日本" * 300, "dir/" * 900, "=cmd|" * 200, "a\u0301" * 500]
"""Names without a space that are longer than any line, of narrow, wide and combining characters."""

EVIL = [
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    "| a | b `c` ![i](javascript:alert(1)) <https://x.example> **d**",
    "\\input{/etc/passwd}\\write18{id} $x$ % ^^5c",
    "\x1b]0;owned\x07\x1b[2J\x9b31m",
    "../../../../etc/passwd\0.png",
    "\u202eexe.txt\u2066\u2067\ufeff\u200f",
    "N" * 4000,
    "javascript:alert(document.domain)//",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}'\"-->",
]
"""Texts for every field of a record."""
