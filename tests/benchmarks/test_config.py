"""Recipes: overrides, errors in four parts, digests. Expected values follow the YAML 1.2 core schema."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from benchmarks.config import Config, Recipe, apply_overrides, digest_of, load_recipe, placement, validate
from benchmarks.errors import UserError
from benchmarks.files.yaml_files import read_yaml
from slurm.graph.pipeline import read_pipeline


class Schedule(Config):
    base_lr: float = Field(gt=0)
    warmup_epochs: int = 0
    """Epochs of linear growth."""


class Example(Config):
    schedule: Schedule
    scale: tuple[float, float] = (0.67, 1.0)
    precision: Literal["fp32", "bf16"] = "bf16"
    name: str = "example"
    root: str = placement("data")


TEXT = "# An example.\nschedule: {base_lr: 3e-4}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "example.yaml"
    path.write_text(TEXT)
    return str(path)


def load(source: str, *overrides: str) -> Example:
    return load_recipe(Example, "pretrain", source, overrides).config


def mistakes(message: object) -> list[list[str]]:
    """Return [field and value, rule, remedy] of every mistake in a message."""
    pattern = re.compile(r"^(\S.* = .*)\n  rule:   (.+)\n  remedy: (.+)$", re.MULTILINE)
    return [list(match) for match in pattern.findall(str(message))]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 0.0003),
        ("1E5", 100000.0),
        ("-.5e3", -500.0),
        ("1.", 1.0),
        ("12", 12),
        ("-3", -3),
        ("true", True),
        ("null", None),
        ("", None),
        ("[0.2, 1]", [0.2, 1]),
        ("{a: 1}", {"a": 1}),
        ("a=b", "a=b"),
        # Text in YAML 1.2; YAML 1.1 reads 259200, False, 8, 1000 and a date.
        ("72:00:00", "72:00:00"),
        ("no", "no"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("2026-01-31", "2026-01-31"),
    ],
)
def test_override_reads_yaml_1_2(text: str, value: object) -> None:
    found = apply_overrides({}, [f"x={text}"])["x"]
    assert found == value
    assert type(found) is type(value)


def test_overrides_reach_nested_fields_and_leave_the_source_alone() -> None:
    source: dict[str, Any] = {"a": {"b": 1, "c": 2}}
    assert apply_overrides(source, ["a.b=3", "d.e.f = 4", "a.b=5"]) == {"a": {"b": 5, "c": 2}, "d": {"e": {"f": 4}}}
    assert source == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize("override", ["epochs", "=", "=3", "a..b=3", ".a=1", "a.=1"])
def test_malformed_override_is_refused(override: str) -> None:
    with pytest.raises(UserError) as caught:
        apply_overrides({}, [override])
    [[field, rule, remedy]] = mistakes(caught.value)
    assert field == f"override = {override}"
    assert rule == "the form field.name=value, without spaces around ="
    assert "training.epochs=50" in remedy


def test_override_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(UserError, match=r"override = a=\[1, 2\n  rule:   a value that YAML can read\n"):
        apply_overrides({}, ["a=[1, 2"])


def test_override_through_a_single_value_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        apply_overrides({"a": {"b": 0.5}}, ["a.b.c=1"])
    [[field, rule, remedy]] = mistakes(caught.value)
    assert field == "override = a.b.c=1"
    assert rule == "a.b is a single value (0.5) and has no fields"
    assert remedy == "set a.b=... itself"


def test_file_and_overrides_give_the_typed_recipe(recipe: str) -> None:
    config = load(recipe, "schedule.base_lr=1e-3", "scale=[0.2, 1.0]", "precision=fp32")
    assert config.schedule.base_lr == 0.001
    assert config.scale == (0.2, 1.0)
    assert config.precision == "fp32"


def test_unknown_field_gets_the_nearest_name(recipe: str) -> None:
    with pytest.raises(UserError) as caught:
        load(recipe, "schedule.base_lrr=1")
    [[field, rule, remedy]] = mistakes(caught.value)
    assert field == "schedule.base_lrr = 1"
    assert rule == "no such field here"
    assert remedy == "Did you mean base_lr? Known: base_lr, warmup_epochs"


def test_ill_typed_override_names_itself_its_default_and_its_meaning(recipe: str) -> None:
    with pytest.raises(UserError) as caught:
        load(recipe, "schedule.warmup_epochs=ten")
    [[field, rule, remedy]] = mistakes(caught.value)
    assert field == "schedule.warmup_epochs = ten"
    assert rule == "a valid integer"
    assert remedy == ("change the override 'schedule.warmup_epochs=ten' (default 0). Meaning: Epochs of linear growth.")


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("schedule.warmup_epochs=2.5", "a valid integer"),
        ("schedule.warmup_epochs=true", "a valid integer"),
        ("schedule.base_lr=0", "greater than 0"),
        ("schedule.base_lr=.nan", "a finite number"),
        ("schedule.base_lr=.inf", "a finite number"),
        ("schedule.base_lr=1e400", "a finite number"),
        ("schedule.base_lr='0.1'", "a valid number"),
        ("precision=fp16", "'fp32' or 'bf16'"),
        ("name=1", "a valid string"),
    ],
)
def test_value_against_a_rule_is_refused(recipe: str, override: str, rule: str) -> None:
    with pytest.raises(UserError) as caught:
        load(recipe, override)
    [[field, found_rule, _]] = mistakes(caught.value)
    assert field.startswith(override.split("=")[0] + " = ")
    assert found_rule == rule


def test_all_mistakes_are_reported_at_once(recipe: str) -> None:
    with pytest.raises(UserError) as caught:
        load(recipe, "schedule.base_lr=-1", "precison=fp32")
    assert str(caught.value).splitlines()[0].endswith(": 2 mistakes")
    assert len(mistakes(caught.value)) == 2


def test_missing_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("schedule: {}\n")
    with pytest.raises(UserError) as caught:
        load(str(path))
    assert mistakes(caught.value) == [["schedule.base_lr = (not given)", "required", "set schedule.base_lr=..."]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nfield = 3\n", "line 2, `field = 3`: a field without a colon: write `field: value`"),
        ("a: 1\nb: 2\na: 3\n", "line 3, `a: 3`: given twice: a"),
        ("a: \u201cdigits\u201d\n", "line 1, `a: \u201cdigits\u201d`: a typographic quotation mark: write \" or '"),
        ("a: 1\nb:\n\tc: 2\n", "line 3, `c: 2`: a tab: indent with spaces"),
        ("a: 1\nb: *nowhere\n", "line 2, `b: *nowhere`: found undefined alias"),
    ],
)
def test_what_is_no_yaml_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert said in str(caught.value)


def test_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("schedule:\n  base_lr: 1\n  base_lr: 2\n")
    with pytest.raises(UserError, match="line 3, `base_lr: 2`: given twice: base_lr"):
        read_yaml(path)


def test_a_single_value_in_the_place_of_a_list_is_told_from_a_list_of_one(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text("baseline: a\nseeds: 3\n")
    with pytest.raises(UserError) as caught:
        read_pipeline(path)
    assert ["seeds = 3", "a list", "[3] is a list of one"] in mistakes(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("seeds: [a, b]", [["seeds = a", "a valid integer"], ["seeds = b", "a valid integer"]]),
        ("seeds: []", [["seeds = []", "a list of at least 1"]]),
        ("finetune:", [["finetune = (empty)", "a mapping of fields to values"]]),
        ("name: ../up", [["name = ../up", "letters, digits, - and _, with a letter or a digit first"]]),
    ],
)
def test_what_a_list_or_a_name_must_be_is_said_once_and_in_words(tmp_path: Path, line: str, said: list[Any]) -> None:
    path = tmp_path / "pipeline.yaml"
    name = "" if line.startswith("name") else "name: ours\n"
    path.write_text(f"{name}{line}\nencoders: {{a: {{ref: 'random:digits_swin'}}}}\ntasks: [digits]\nbaseline: a\n")
    with pytest.raises(UserError) as caught:
        read_pipeline(path)
    assert [mistake[:2] for mistake in mistakes(caught.value)] == said


def test_an_override_written_with_a_colon_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text("pretrain: {a: {recipe: digits_simmim, overrides: [training.epochs: 30]}}\n")
    with pytest.raises(UserError, match=r"without the colon: training\.epochs=30"):
        read_pipeline(path)


def test_fields_for_anchors_are_the_file_s_own(tmp_path: Path) -> None:
    path = tmp_path / "anchors.yaml"
    path.write_text("x-rates: &rates {base_lr: 1}\nschedule: *rates\nx: {x-inner: 2}\n")
    assert read_yaml(path) == {"schedule": {"base_lr": 1}, "x": {"x-inner": 2}}


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert read_yaml(path)["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    "content", [b"- a\n- b\n", b"", b"a: [1\n", b"a: \xff\xfe\n", b"a: !!python/name:os.system x\n"]
)
def test_file_that_is_no_recipe_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert ("= (empty)" in str(caught.value)) == (content == b"")


@pytest.mark.parametrize(("content", "line"), [("a: 1\nb: é\n".encode("latin-1"), 2), ("a: 1\n".encode("utf-16"), 1)])
def test_a_file_of_another_encoding_is_named_with_its_line(tmp_path: Path, content: bytes, line: int) -> None:
    path = tmp_path / "other.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"line {line} has the byte 0x\w\w, which is not UTF-8: save it as UTF-8"):
        read_yaml(path)


def test_missing_recipe_gets_the_nearest_name() -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(Example, "encoders", "digit_swin")
    assert "recipe = digit_swin" in str(caught.value)
    assert "Did you mean digits_swin?" in str(caught.value)


def test_missing_recipe_file_is_not_taken_for_a_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a file that exists"):
        load(str(tmp_path / "none.yaml"))


def test_digest_is_sha256_of_sorted_compact_json() -> None:
    assert digest_of({"b": [1, 2.5], "a": None}) == hashlib.sha256(b'{"a":null,"b":[1,2.5]}').hexdigest()


def test_digest_does_not_depend_on_key_order() -> None:
    assert digest_of({"a": 1, "b": {"c": 2, "d": 3}}) == digest_of({"b": {"d": 3, "c": 2}, "a": 1})


def test_digest_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        digest_of({"loss": float("nan")})


def test_identity_leaves_placement_out_and_nothing_else(recipe: str) -> None:
    same = load(recipe, "root=/elsewhere")
    assert same.root == "/elsewhere"
    assert same.identity_digest() == load(recipe).identity_digest()
    assert load(recipe, "scale=[0.5, 1.0]").identity_digest() != load(recipe).identity_digest()
    assert load(recipe, "schedule.warmup_epochs=1").identity_digest() != load(recipe).identity_digest()


@pytest.mark.parametrize("name", ["3e-4", "no", "72:00:00", "010", "true", "null", "", "é", "a: b"])
def test_resolved_recipe_can_be_passed_back_in(tmp_path: Path, name: str) -> None:
    config = validate(Example, {"schedule": {"base_lr": 1e-8}, "name": name}, "test")
    path = tmp_path / "again.yaml"
    path.write_text(Recipe("example", config, ()).to_yaml())
    assert load(str(path)) == config


def test_recipe_is_frozen(recipe: str) -> None:
    config = load(recipe)
    with pytest.raises(ValueError, match="frozen"):
        config.name = "other"  # type: ignore[misc]
