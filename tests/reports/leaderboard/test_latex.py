"""The LaTeX file as a TeX engine sees it: it compiles, and nothing sticks out of a table or the page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reports.leaderboard.board import Request, make
from reports.tables.latex import BEYOND_LATIN, to_latex
from tests.reports import factory
from tests.reports.hostile import NAMES, hostile_runs

DOCUMENT = r"""\documentclass{article}
\usepackage{array,booktabs,longtable}
\begin{document}
\input{leaderboard.tex}
\end{document}
"""


@pytest.fixture(scope="module")
def tex() -> str:
    """Return a TeX engine, one that knows Unicode where there is a choice."""
    for engine in ("xelatex", "lualatex", "pdflatex"):
        if found := shutil.which(engine):
            return found
    pytest.skip("needs TeX: sudo apt install texlive-latex-recommended, and texlive-xetex for names beyond Latin")


def log_of(engine: str, folder: Path, content: str) -> str:
    """Compile a document with `content` twice, which longtable needs, and return the second log."""
    (folder / "leaderboard.tex").write_text(content, encoding="utf-8")
    (folder / "main.tex").write_text(DOCUMENT, encoding="utf-8")
    command = [engine, "-interaction=nonstopmode", "-no-shell-escape", "main.tex"]
    for _ in range(2):
        subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    assert (folder / "main.pdf").exists()
    return (folder / "main.log").read_text(encoding="utf-8", errors="replace")


def complaints(log: str) -> list[str]:
    """Return errors, boxes that stick out and floats larger than a page; letters that the engine lacks are no fault."""
    found = re.findall(r"^(?:!.*|Overfull.*|LaTeX Warning: (?:Float too large|Label.*multiply).*)$", log, re.MULTILINE)
    return [line for line in found if "Unicode character" not in line]


def test_tables_of_two_tasks_fit_the_page(tex: str, tmp_path: Path) -> None:
    runs = (str(factory.study(tmp_path / "digits")), str(factory.zoo(tmp_path / "imagenet")))
    content = to_latex(make(Request(runs, "supervised", references="all")))
    assert r"\begin{longtable}" in content
    assert r"\begin{tabular}" in content
    assert BEYOND_LATIN not in content
    assert complaints(log_of(tex, tmp_path, content)) == []


def test_hostile_names_are_set_and_fit_the_page(tex: str, tmp_path: Path) -> None:
    content = to_latex(make(Request((str(hostile_runs(tmp_path / "runs")),), NAMES[0])))
    assert BEYOND_LATIN in content
    assert complaints(log_of(tex, tmp_path, content)) == []
