"""What a person says of an encoder: by arguments, in a pipeline, and read again from a record's command."""

from __future__ import annotations

import argparse
from dataclasses import fields

import pytest

from benchmarks.verbs.command import as_arguments
from benchmarks.verbs.statement import EncoderStatement, add_statement_arguments
from slurm.graph.entries import Source

ALL = EncoderStatement(
    stage="supervised",
    pretrained_on="ImageNet-22K",
    architecture="vit_base_patch16_224",
    weights="model_ema",
    prefix="module.",
    allow_implausible_weights=True,
    epoch=20,
)


def test_every_field_is_an_option_that_gives_it_back() -> None:
    parser = argparse.ArgumentParser()
    add_statement_arguments(parser)
    assert EncoderStatement.of(parser.parse_args(as_arguments(ALL.options))) == ALL
    assert EncoderStatement.of(parser.parse_args([])) == EncoderStatement()
    assert list(ALL.options) == [field.name for field in fields(EncoderStatement)]


def test_a_pipelines_encoder_states_the_same_fields() -> None:
    source = Source.model_validate({"ref": "x.pth", **{k: v for k, v in ALL.options.items() if k != "epoch"}})
    assert EncoderStatement.of(source).options == {k: v for k, v in ALL.options.items() if k != "epoch"}


@pytest.mark.parametrize(
    ("more", "read"),
    [
        ([], ALL),
        (["--stage", "nonsense"], EncoderStatement()),
        (["--epoch", "many"], EncoderStatement()),
        (["--architecture", "python:their.code:build"], None),
    ],
)
def test_a_records_command_is_read_and_names_no_code(more: list[str], read: EncoderStatement | None) -> None:
    command = ["mimbench", "transfer", "digits", "--encoder", "x.pth", *as_arguments(ALL.options), *more, "seed=3"]
    found = EncoderStatement.in_command(command)
    if read is None:
        assert found.architecture is None
        assert found.weights == ALL.weights
    else:
        assert found == read
