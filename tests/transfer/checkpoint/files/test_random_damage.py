"""Any damage at all: random bytes and cuts are read or refused in words."""

from __future__ import annotations

import argparse
import io
import pickle
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.errors import UserError
from tests.transfer.checkpoint.hostile import archive, legacy
from tests.transfer.checkpoint.written import content_of, safetensors_bytes
from transfer.checkpoint.files.checkpoint_file import CheckpointFile, read_checkpoint_file


def _mutations(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    generator = random.Random(seed)
    for number in range(count):
        if number % 3 == 0:
            yield data[: generator.randrange(len(data))]
        else:
            changed = bytearray(data)
            for _ in range(generator.choice((1, 1, 3, 20))):
                changed[generator.randrange(len(changed))] = generator.randrange(256)
            yield bytes(changed)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "bare"])
def test_random_damage_is_read_or_refused_in_words(kind: str, tmp_path: Path) -> None:
    """400 seeded truncations and byte flips each: never another error, never a hang.

    What is still read of an archive is unharmed: its checksums cover every byte that matters.
    """
    small = {"a": torch.arange(6.0).reshape(2, 3)[:, 1:], "args": argparse.Namespace(lr=0.1), "n": np.arange(3)}
    buffer = io.BytesIO()
    torch.save(small, buffer, _use_new_zipfile_serialization=kind == "zip")
    plain = pickle.dumps({"n": np.arange(3), "args": argparse.Namespace(lr=0.1), "t": (1, 2.5, "x")}, 4)
    source = {"safetensors": safetensors_bytes(), "bare": plain}.get(kind, buffer.getvalue())
    path = tmp_path / "weights"
    refused = 0
    signal.alarm(120)  # ends a hang; no claim about speed
    for mutation in _mutations(source, 400, seed=7):
        path.write_bytes(mutation)
        try:
            checkpoint = read_checkpoint_file(path)
            assert isinstance(checkpoint, CheckpointFile)
            assert kind != "zip" or torch.equal(content_of(path)["a"], small["a"])
        except UserError:
            refused += 1
    signal.alarm(0)
    assert refused > 200


def test_the_embedded_pickles_of_both_formats_are_the_same_file_otherwise(tmp_path: Path) -> None:
    """The fixtures that hostile pickles are wrapped in are sound: around harmless data they are read."""
    for number, data in enumerate((archive(b"\x80\x02K\x05."), legacy(b"\x80\x02K\x05."))):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert read_checkpoint_file(path).content == 5
