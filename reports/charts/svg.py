"""From a matplotlib figure to inline SVG in the page's own font and colours, light and dark, with words for readers."""

from __future__ import annotations

import html
import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Stand-in colours that matplotlib draws with; the page's stylesheet says what they are in light and dark.
INK, GRID, PAPER = "#010001", "#010002", "#010003"
SERIES = tuple(f"#0200{number:02x}" for number in range(6))
THEME = {INK: "currentColor", GRID: "var(--grid)", PAPER: "var(--paper)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(SERIES)
}
STYLE: dict[str, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mimbench",
    "text.usetex": False,
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Chart:
    """A chart: its SVG, and the words around it."""

    title: str
    caption: str
    svg: str


def inline(figure: Figure, name: str, title: str, description: str) -> str:
    """Return `figure` as an SVG element whose ids start with `name`; `title` and `description` are read aloud."""
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the browser has the glyphs that this font lacks
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    opening, _, body = text.partition(">")
    body = _own_ids(body, name).replace("xlink:href", "href")
    for colour, themed in THEME.items():
        body = body.replace(colour, themed)
    body = re.sub(r"font: ([\d.]+px) 'DejaVu Sans'", r"font: \1 var(--sans)", body)
    return f"{_opening(opening, name)}{_words(name, title, description)}{body}"


def _opening(opening: str, name: str) -> str:
    view = re.search(r'viewBox="[^"]+"', opening)
    assert view is not None, "matplotlib gives every figure a view box"
    return f'<svg {view[0]} role="img" aria-labelledby="{name}-title {name}-desc">'


def _words(name: str, title: str, description: str) -> str:
    return (
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(description)}</desc>'
    )


def _own_ids(body: str, name: str) -> str:
    """Prefix ids and what refers to them: several charts share a page. Only tags are touched, never text."""

    def own(tag: re.Match[str]) -> str:
        return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", tag[0])

    return re.sub(r"<[^>]+>", own, body)
