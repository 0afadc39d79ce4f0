"""The leaderboard as LaTeX: booktabs tables as wide as the text, whose cells break rather than run off the paper."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import pandas as pd
from rich.cells import cell_len

from reports.leaderboard.board import Leaderboard
from reports.leaderboard.notes import words
from reports.tables.column import NONE
from reports.tables.findings import findings_of, title_of
from reports.tables.overview import overview_of
from reports.tables.table import tables_of
from reports.text import one_line

HEAD = r"""% Made by mimbench. The tables hold the digits of every other format. They need:
% \usepackage{array,booktabs,longtable}
"""
BEYOND_LATIN = "% Some names go beyond Latin letters: compile with LuaLaTeX or XeLaTeX, and a font that has them."
MOST_LINES = 50
"""A table with more lines of text than this does not float: it is a longtable, which goes on over pages."""
LINE = 80
"""How many characters of script size stand on a line of LaTeX's own text width, 345 pt."""
GAP = 1.5
"""How many characters the gap between two columns takes."""
LONGEST_PIECE = 12
"""A word with more characters than this gets places where a line may break it."""
SMALL = r"\scriptsize\setlength{\tabcolsep}{3pt}"
ACROSS = r"@{}>{\raggedright\arraybackslash}p{\linewidth}@{}"
TIE = "\N{NO-BREAK SPACE}"
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
        "[": "{[}",  # after the end of a row, a bracket or an asterisk would be taken for its option
        "]": "{]}",
        "*": "{*}",
        "±": r"\ensuremath{\pm}",
        "Δ": r"\ensuremath{\Delta}",
        NONE: r"\textendash{}",
    }
)


def latex(text: str) -> str:
    """Return `text` so that LaTeX prints these characters, quotes as curly ones."""
    return re.sub("-(?=-)", "-{}", one_line(text).translate(ESCAPES))


@lru_cache(maxsize=2**16)
def breakable(text: str) -> str:
    """Return a cell's text as LaTeX that breaks at spaces and inside long words, but not inside a number's parts."""
    return " ".join(_word(word) for word in _tied(one_line(text)).split(" "))


def _word(word: str) -> str:
    if TIE in word:
        return "~".join(map(latex, word.split(TIE)))
    return r"\allowbreak{}".join(map(latex, _pieces(word)))


def _pieces(word: str) -> list[str]:
    """Cut a word where a line may end: behind punctuation, and at the latest after LONGEST_PIECE characters."""
    parts = re.findall(r"[^_/.,:;)]*[_/.,:;)]*", word) if len(word) > LONGEST_PIECE else [word]
    return [part[at : at + LONGEST_PIECE] for part in parts for at in range(0, len(part), LONGEST_PIECE)] or [""]


def to_latex(board: Leaderboard) -> str:
    """Return two tables per task, scores and settings, with the reported rows below a rule of their own."""
    sentences = words(board)
    lines = [f"% {one_line(sentences.account)}", *(f"% {one_line(finding)}" for finding in findings_of(board))]
    lines += _overview(board)
    for table in tables_of(board):
        scores = table.in_blocks("scores")
        for what, columns in {"scores": scores, "settings": [scores[0], *table.in_blocks("settings")]}.items():
            titles = [column.title for column in columns]
            bodies = [(body.heading, body.texts[titles]) for body in table.bodies]
            sheet = _Sheet(table.texts[titles], [column.numeric for column in columns], bodies)
            section = table.section
            lines += _tables(sheet, f"{section.title}, {what}", section.task.dataset, f"{section.slug}-{what}")
    lines += [f"% {one_line(note)}" for note in sentences.notes]
    body = "\n".join(lines) + "\n"
    beyond = any(char > "\u024f" and char.isalpha() for char in set(body))
    return HEAD + (f"{BEYOND_LATIN}\n" if beyond else "") + body


class _Sheet(NamedTuple):
    """The cells of a table, by column: all of them, which are numbers, and those below each heading."""

    texts: pd.DataFrame
    numeric: Sequence[bool]
    bodies: Sequence[tuple[str, pd.DataFrame]]
    """A heading is empty where there is none."""


def _overview(board: Leaderboard) -> list[str]:
    overview = overview_of(board)
    if not overview.encoders:
        return []
    texts = pd.DataFrame(overview.rows, columns=overview.titles, dtype=object)
    sheet = _Sheet(texts, [False] * len(overview.titles), [("", texts)])
    return _tables(sheet, "overview", title_of(board), "overview")


def _tables(sheet: _Sheet, name: str, words: str, label: str) -> list[str]:
    """Return a table, or several with the first column in common where one would be too wide for the paper."""
    columns = zip(sheet.texts.columns, sheet.numeric, strict=True)
    parts = _parted([_Width.of(title, numeric, sheet.texts[title]) for title, numeric in columns])
    lines = []
    for number, widths in enumerate(parts, start=1):
        numbered = f"{name} ({number} of {len(parts)})" if len(parts) > 1 else name
        lines += _one_table(
            sheet, widths, f"{numbered}: {words}", f"tab:{label}" + (f"-{number}" if number > 1 else "")
        )
    return lines


def _one_table(sheet: _Sheet, widths: Sequence[_Width], words: str, label: str) -> list[str]:
    titles = [one.title for one in widths]
    caption = rf"\caption{{{latex(words)}}}\label{{{label}}}"
    head = [r"\toprule", _row(titles)]
    body = []
    for heading, texts in sheet.bodies:
        across = rf"\multicolumn{{{len(titles)}}}{{{ACROSS}}}{{\emph{{{breakable(heading)}}}}} \\"
        body += [r"\midrule", across] if heading else [r"\midrule"]
        body += map(_row, texts[titles].itertuples(index=False, name=None))
    if _height(sheet, widths) > MOST_LINES:
        opening = [rf"\begingroup{SMALL}", rf"\begin{{longtable}}{{{_alignment(widths)}}}"]
        closing = [r"\bottomrule", r"\end{longtable}", r"\endgroup", ""]
        return [*opening, rf"{caption}\\", *head, r"\endfirsthead", *head, r"\endhead", *body, *closing]
    opening = [r"\begin{table}", rf"{SMALL}{caption}\medskip", "", rf"\begin{{tabular}}{{{_alignment(widths)}}}"]
    return [*opening, *head, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]


class _Width(NamedTuple):
    """How many characters a column needs at least, and how many it needs to break no cell (up to a limit)."""

    title: str
    numeric: bool
    needed: float
    wanted: float

    @classmethod
    def of(cls, title: str, numeric: bool, texts: pd.Series[str]) -> _Width:
        needed = max(_room(piece) for text in (title, *texts) for piece in _unbroken(text))
        return cls(title, numeric, needed, max(needed, min(LINE / 3, *map(_room, texts))))


def _parted(widths: Sequence[_Width]) -> list[list[_Width]]:
    """Return the columns of each table: as many as fit beside the first, which all have."""
    first, *others = widths
    parts, room = [[first]], LINE - first.needed
    for other in others:
        if other.needed + GAP > room and len(parts[-1]) > 1:
            parts.append([first])
            room = LINE - first.needed
        parts[-1].append(other)
        room -= other.needed + GAP
    return parts


def _sizes(widths: Sequence[_Width]) -> list[float]:
    """Return the columns' widths in characters: what they need at least, and of the rest of a line in proportion."""
    needed, wanted = sum(one.needed for one in widths), sum(one.wanted for one in widths)
    spare = max(0.0, min(1.0, (LINE - GAP * (len(widths) - 1) - needed) / max(1.0, wanted - needed)))
    return [one.needed + spare * (one.wanted - one.needed) for one in widths]


def _height(sheet: _Sheet, widths: Sequence[_Width]) -> int:
    """Return about how many lines of text the table takes."""
    cells = sheet.texts[[one.title for one in widths]].map(_room) / _sizes(widths)
    return int(cells.map(math.ceil).max(axis=1).sum()) + sum(math.ceil(len(one) / LINE) for one, _ in sheet.bodies)


def _alignment(widths: Sequence[_Width]) -> str:
    """Return the columns as shares of the text's width."""
    sizes = _sizes(widths)
    room = rf"\dimexpr\linewidth-{2 * len(widths) - 2}\tabcolsep\relax"
    sides = [r"\raggedleft" if one.numeric else r"\raggedright" for one in widths]
    shares = [f"{size / sum(sizes):.4f}{room}" for size in sizes]
    columns = (rf">{{{side}\arraybackslash}}p{{{share}}}" for side, share in zip(sides, shares, strict=True))
    return f"@{{}}{''.join(columns)}@{{}}"


@lru_cache(maxsize=2**16)
def _room(text: str) -> float:
    """Return how many characters of usual width take the place of `text`."""
    return cell_len(text) + 0.5 * sum(char.isupper() or char in "mw@+=%<>" for char in text)


def _unbroken(text: str) -> list[str]:
    """Return the pieces of a text that no line may break."""
    return [piece for word in _tied(text).split(" ") for piece in ([word] if TIE in word else _pieces(word))]


def _tied(text: str) -> str:
    """Tie what belongs to a number to it: a deviation to its mean, the two ends of an interval to each other."""
    return re.sub(r"(?<=\d) (±) (?=\d)|(?<=n) (=) (?=\d)|(?<=\d)(,) (?=[-+]\d)", _tie, text)


def _tie(found: re.Match[str]) -> str:
    mark = found[1] or found[2] or found[3]
    return f"{mark}{TIE}" if mark == "," else f"{TIE}{mark}{TIE}"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(breakable, cells)) + r" \\"
