"""What an overview shows, in a few plain sentences written from its numbers, with n and the caveat."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from reports.compare.score_difference import methods
from reports.leaderboard.board import Leaderboard
from reports.tables.overview import Encoder, Glance, Heading, Overview, overview_of
from reports.text import count

MOST_NAMED = 3
"""Sentences are written about so many encoders, those that were measured on most tasks."""
MOST_IN_TITLE = 4
MOST_TASKS = 6
"""A sentence names so many tasks."""


def findings_of(board: Leaderboard) -> list[str]:
    """Return the sentences above the tables; none where there is no table."""
    overview, baseline = overview_of(board), board.request.baseline
    if not overview.headings:
        return []
    return list(_best(overview) if baseline is None else _against(overview, baseline))


def title_of(board: Leaderboard) -> str:
    """Return what a leaderboard compares: `simmim and supervised against scratch on digits and coco`."""
    overview, baseline = overview_of(board), board.request.baseline
    names = [one.name for one in overview.encoders if baseline is None or not one.is_baseline]
    tasks = list(dict.fromkeys(heading.section.task.name for heading in overview.headings))
    if not names or not tasks:
        return "Leaderboard"
    against = f" against {baseline}" if baseline is not None else ""
    return f"{_listed(names, overview.more, 'encoder')}{against} on {_listed(tasks, 0, 'task')}"


def _listed(names: Sequence[str], more: int, noun: str) -> str:
    """Return a few names, or how many there are."""
    if len(names) + more > MOST_IN_TITLE:
        return count(len(names) + more, noun)
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _best(overview: Overview) -> Iterator[str]:
    for place, heading in list(enumerate(overview.headings))[:MOST_TASKS]:
        group = heading.section.groups[0].entries
        known = [(one.name, one.glances[place]) for one in overview.encoders]
        alike = [(name, glance) for name, glance in known if glance and any(glance.entry is each for each in group)]
        if len(alike) > 1:
            name, best = max(alike, key=lambda pair: pair[1].worth)
            yield f"{heading.title}: {name} has the best score of {count(len(alike), 'encoder')}, {best.score}."
    yield "No difference is taken without a baseline: name one with --baseline LABEL."


def _against(overview: Overview, baseline: str) -> Iterator[str]:
    others = [one for one in overview.encoders if not one.is_baseline]
    others.sort(key=lambda one: -sum(glance is not None for glance in one.glances))
    for encoder in others[:MOST_NAMED]:
        yield _sentence(encoder, overview.headings, baseline)
    if len(others) > MOST_NAMED:
        yield f"{count(len(others) - MOST_NAMED, 'more encoder')} in the overview below."
    ranked = [one for one in overview.encoders if one.mean_rank is not None]
    if len(overview.headings) > 1 and ranked:
        tasks = "both tasks" if len(overview.headings) == 2 else f"all {len(overview.headings)} tasks"
        best = [one for one in ranked if one.mean_rank == ranked[0].mean_rank]
        names = " and ".join(one.name for one in best)
        has = "has" if len(best) == 1 else "have"
        among = f"Of the {count(len(ranked), 'encoder')} compared on {tasks}"
        yield f"{among}, {names} {has} the best mean rank ({best[0].rank})."
    glances = [glance for one in others for glance in one.glances if glance]
    if used := methods(glance.entry.comparison for glance in glances):
        yield f"Ahead and behind mean that the 95 % interval of the difference excludes 0 ({used})."
    if any(glance.standing == "no interval" for glance in glances):
        yield "Where there is no interval there are too few seeds: such a difference may be chance."


def _sentence(encoder: Encoder, headings: Sequence[Heading], baseline: str) -> str:
    """Return `simmim is ahead of scratch on 3 of 4 tasks: digits +7.33, ...; behind scratch on 1: ... .`."""
    tasks: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for heading, glance in zip(headings, encoder.glances, strict=True):
        if glance is not None and glance.standing is not None:
            tasks[_standing(glance, heading)].append((heading.label, glance.difference))
    measured = sum(map(len, tasks.values()))
    parts: list[str] = []
    for standing, words in WORDS.items():
        if names := tasks.get(standing):
            of = f" of {count(measured, 'task')}" if not parts else ""
            if measured == 1:
                where = ": ".join(filter(None, names[0]))
            else:
                listed = ", ".join(" ".join(each).strip() for each in names[:MOST_TASKS])
                listed += ", ..." if len(names) > MOST_TASKS else ""
                where = f"{len(names)}{of}: {listed}"
            parts.append(f"{words.format(baseline)} on {where}")
    return f"{encoder.name} is {'; '.join(parts)}."


def _standing(glance: Glance, heading: Heading) -> str:
    """Return how an encoder stands to the baseline; without an interval, by the sign of the difference alone."""
    delta = glance.entry.comparison.delta
    if glance.standing != "no interval" or delta is None:
        return str(glance.standing)
    if delta == 0:
        return "equal"
    return "better" if (delta > 0) == heading.section.task.primary.higher_is_better else "worse"


WORDS = {
    "ahead": "ahead of {}",
    "behind": "behind {}",
    "undecided": "neither ahead of nor behind {}",
    "better": "better than {}, without an interval,",
    "worse": "worse than {}, without an interval,",
    "equal": "equal to {}, without an interval,",
    "not compared": "not comparable with {}",
}
