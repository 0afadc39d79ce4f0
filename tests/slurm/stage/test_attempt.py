"""Which of several ranks that failed is the cause, and which starts of a stage were fruitless."""

from __future__ import annotations

import pytest

from benchmarks.errors import STOPPED_CODE
from slurm.state.attempt import Attempt, RankEnd, first_cause


def end(rank: int, exit_code: int, at: float) -> RankEnd:
    return RankEnd(rank=rank, host=f"n{rank}", exit_code=exit_code, at=at)


def test_the_first_that_failed_is_the_cause() -> None:
    assert first_cause([end(0, 1, 20.0), end(1, 0, 5.0), end(2, 1, 10.0)]) == end(2, 1, 10.0)
    assert first_cause([end(0, 0, 1.0), end(1, 0, 2.0)]) is None


def test_a_rank_that_lost_its_peer_is_not_the_cause_though_its_news_came_first() -> None:
    assert first_cause([end(0, 1, 1.0), end(1, -9, 3.0)]) == end(1, -9, 3.0)  # killed: by the kernel, say
    assert first_cause([end(0, 1, 1.0), end(1, 2, 3.0)]) == end(1, 2, 3.0)  # a wrong request: it says so itself
    assert first_cause([end(0, 70, 1.0), end(1, 1, 3.0)]) == end(1, 1, 3.0)  # a failure in words, after a traceback
    assert first_cause([end(0, 130, 1.0), end(1, 1, 3.0)]) == end(1, 1, 3.0)  # stopped because the other failed


def test_a_death_by_signal_has_the_exit_code_that_a_shell_gives_it() -> None:
    killed = end(1, -9, 3.0)
    assert killed.stage_code == 137
    assert killed.describe() == "rank 1 on n1 was killed by SIGKILL"


@pytest.mark.parametrize(
    ("exit_code", "noticed", "saved_step", "fruitless"),
    [
        (70, False, 100, 2),
        (70, False, 101, 0),
        (None, False, 100, 2),  # its node was lost
        (STOPPED_CODE, True, 100, 2),  # the time limit is too short for one checkpoint
        (STOPPED_CODE, False, 100, 1),  # preempted, however often: the next start may have more time
    ],
)
def test_a_start_is_fruitless_that_ended_of_itself_and_left_no_new_checkpoint(
    exit_code: int | None, noticed: bool, saved_step: int, fruitless: int
) -> None:
    start = Attempt(inputs_digest="", host="n1", pid=1, started_at=0.0, saved_step=100, fruitless=1, noticed=noticed)
    assert start.model_copy(update={"exit_code": exit_code}).fruitless_after(saved_step) == fruitless
