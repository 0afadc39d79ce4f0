"""Which members of a sweep go on at a rung, and where a rung lies."""

from __future__ import annotations

import math

import pytest

from benchmarks.errors import WorkFailed
from benchmarks.runs.rungs import Candidate, Decision, HeldOut, decide, first_evaluation, kept_count


def test_the_numbers_that_go_on_are_those_of_hyperbands_first_bracket() -> None:
    """Table 1 of arXiv:1603.06560 (R = 81, eta = 3): 81, 27, 9, 3 and 1 configurations."""
    numbers = [81]
    while numbers[-1] > 1:
        numbers.append(kept_count(numbers[-1], 0.33))
    assert numbers == [81, 27, 9, 3, 1]
    assert kept_count(3, 0.5) == 2  # the nearest whole number, halves upwards
    assert kept_count(1000, 0.0001) == 1


@pytest.mark.parametrize(
    ("share", "total", "every", "first"),
    [(0.1, 100, 1, 10), (0.1, 100, 3, 12), (0.7, 10, 1, 7), (0.3, 10, 5, 5), (0.29, 100, 1, 29), (0.95, 10, 4, 12)],
)
def test_an_evaluation_at_a_share_is_exact(share: float, total: int, every: int, first: int) -> None:
    """0.7 x 10 is 7.000000000000001 as a float, 0.29 x 100 is 28.999999999999996."""
    assert first_evaluation(share, total, every) == first


def decided(keep: float, **losses: float | None) -> dict[str, str]:
    """Return the outcome of each member by its loss; None: it never came to the rung."""
    measured = {name: None if loss is None else HeldOut(3, 1.0, loss) for name, loss in losses.items()}
    found = decide([Candidate(name, None, held) for name, held in measured.items()], 0.1, keep)
    assert Decision.model_validate_json(found.model_dump_json()) == found
    return {member.name: member.outcome for member in found.members}


def test_of_equal_losses_the_first_of_the_file_goes_on() -> None:
    assert decided(0.5, a=0.3, b=0.2, c=0.2, d=0.2) == {"a": "pruned", "b": "kept", "c": "kept", "d": "pruned"}


def test_a_loss_that_is_not_finite_never_goes_on_and_what_failed_is_no_loser() -> None:
    assert decided(0.5, a=math.nan, b=None, c=0.9, d=-math.inf) == {
        "a": "pruned",
        "b": "failed",
        "c": "kept",
        "d": "pruned",
    }
    assert decided(0.01, a=0.3, b=0.2) == {"a": "pruned", "b": "kept"}
    with pytest.raises(WorkFailed, match=r"none of 2 pretrainings has a finite held-out loss at 0\.1"):
        decided(0.5, a=math.nan, b=None)
