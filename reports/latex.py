"""The leaderboard as LaTeX: booktabs tables for a paper. Compile with LuaLaTeX or XeLaTeX where names need it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reports.columns import NONE, Column
from reports.leaderboard import Leaderboard, Section
from reports.lines import Line
from reports.notes import words
from reports.render import headed
from reports.text import one_line

HEAD = r"""% Made by mimbench; needs \usepackage{booktabs}. The tables hold the digits of every other format.
"""
ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\ensuremath{<}",
        ">": r"\ensuremath{>}",
        "|": r"\ensuremath{|}",
        '"': "''",  # a straight quote is a command in some languages
        "±": r"\ensuremath{\pm}",
        "Δ": r"\ensuremath{\Delta}",
        NONE: r"\textendash{}",
    }
)


def latex(text: str) -> str:
    """Return `text` so that LaTeX sets these characters, quotes as curly ones."""
    return re.sub("-(?=-)", "-{}", one_line(text).translate(ESCAPES))


def to_latex(board: Leaderboard) -> str:
    """Return two tables per task, scores and settings, with the reported rows below a rule of their own."""
    told = words(board)
    lines = [HEAD, f"% {one_line(told.account)}"]
    for section in board.sections:
        scores = section.in_blocks("scores")
        settings = [scores[0], *section.in_blocks("settings")]
        lines += _table(section, scores, "scores") + _table(section, settings, "settings")
    lines += [f"% {one_line(note)}" for note in told.notes]
    return "\n".join(lines) + "\n"


def _table(section: Section, columns: Sequence[Column], what: str) -> list[str]:
    name = section.task.name
    caption = f"{name}, {what}: {section.task.dataset}"
    alignment = "".join("r" if column.numeric else "l" for column in columns)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{latex(caption)}}}", rf"\label{{tab:{name}-{what}}}"]
    lines += [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", _row([column.title for column in columns])]
    for heading, members in headed(section):
        lines += [r"\midrule", rf"\multicolumn{{{len(columns)}}}{{l}}{{\emph{{{latex(heading)}}}}} \\"]
        lines += [_row(_cells(columns, line)) for line in members]
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]


def _cells(columns: Sequence[Column], line: Line) -> list[str]:
    return [column.text(line) for column in columns]


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex, cells)) + r" \\"
