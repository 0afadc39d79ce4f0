"""`make test-gpu` says why it does not run, and what has to be brought."""

from __future__ import annotations

import pytest
import torch

from tests.gpu.__main__ import main, what_is_missing


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_ends_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 2
    said = capsys.readouterr().out
    assert said.startswith(f"test-gpu: not run: torch {torch.__version__}, built ")
    assert said.endswith("sees no GPU on this machine\n")


def test_what_is_missing_is_named_with_the_commands_that_bring_it() -> None:
    said = what_is_missing(["torch>=2.6", "no_such_package>=3,<4", "pytest", "none.of-these"])
    assert said is not None
    assert " lacks no_such_package, none.of-these\n" in said
    assert "pip download -c constraints.txt -d wheels no_such_package none.of-these\n" in said
    assert said.endswith("-m pip install --no-index --find-links wheels no_such_package none.of-these")
    assert what_is_missing(["torch>=2.6", "pytest"]) is None
