"""Files that somebody else may have written: too large, too deep, or endless, they are refused in words."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

import mimbench
from benchmarks.config import apply_overrides
from benchmarks.encoders import read_manifest
from benchmarks.errors import UserError
from benchmarks.files.yaml_files import parse_yaml, read_yaml
from benchmarks.runs.folder import announced_label, follow, is_announcement

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{one}: &{one} [{', '.join([f'*{before}'] * 10)}]\n" for before, one in zip("abcdefgh", "bcdefghi", strict=True)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 5000))
YAML = {
    "an alias bomb": (BOMB, "more than 100,000 values, with every alias written out"),
    "an alias bomb of merged mappings": (
        "a: &a {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join(['*a'] * 400)}]}}\n" for i in range(300)),
        "more than 100,000 values",
    ),
    "a chain of aliases": (CHAIN, "more than 50 levels"),
    "a list in itself": ("a: &a [1, *a]\n", "a value that contains itself"),
    "a mapping in itself": ("a: &a {b: *a}\n", "a value that contains itself"),
    "brackets": ("a: " + "[" * 100_000, "more than 50 levels"),
    "braces": ("a: " + "{x: " * 100_000, "more than 50 levels"),
    "dashes": ("a:\n" + "- " * 100_000 + "x", "more than 50 levels"),
    "many values": ("a: [" + "1," * 200_000 + "]", "more than 100,000 values"),
    "a long integer": ("a: " + "9" * 5000, "a number of more than 100 characters"),
    "a longer integer that Python reads": ("a: " + "9" * 4000, "a number of more than 100 characters"),
    "a long fraction": ("a: 0." + "9" * 5000, "a number of more than 100 characters"),
    "a long tagged integer": ('a: !!int "' + "9" * 5000 + '"', "a number of more than 100 characters"),
    "a wrong truth": ("a: !!bool x", "valid YAML"),
    "a wrong time": ("a: !!timestamp x", "valid YAML"),
    "a wrong integer": ("a: !!int x", "valid YAML"),
}


@pytest.mark.parametrize("kind", YAML)
def test_yaml_beyond_its_bounds_is_refused_in_words(kind: str, tmp_path: Path) -> None:
    text, words = YAML[kind]
    path = tmp_path / "theirs.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    message = str(caught.value)
    assert message.startswith(f"{path} = ")
    assert words in message
    assert len(message) < 1000


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    """A sparse file of 100 MB, which Python's own count of allocations shows was left on the disk."""
    path = tmp_path / "theirs.yaml"
    with path.open("wb") as file:
        file.truncate(100 * 10**6)
    tracemalloc.start()
    with pytest.raises(UserError, match="more than 1,048,576 bytes"):
        read_yaml(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 10**6


def test_yaml_at_its_bounds_is_read() -> None:
    assert str(parse_yaml("[" * 49 + "1" + "]" * 49)) == "[" * 49 + "1" + "]" * 49
    assert len(parse_yaml("[" + "1," * 99_999 + "]")) == 99_999
    assert parse_yaml("9" * 100) == 10**100 - 1
    assert parse_yaml("a: &a [1, 2]\nb: [*a, *a]\n")["b"] == [[1, 2], [1, 2]]


def test_an_override_and_a_recipe_are_bounded_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("9" * 5000, "[" * 5000, "&a [*a]"):
        with pytest.raises(UserError, match="a value that YAML can read"):
            apply_overrides({}, [f"a={value}"])
    (tmp_path / "bomb.yaml").write_text(BOMB)
    command = ["pipeline", "plan", str(tmp_path / "bomb.yaml")]
    assert mimbench.main(command) == mimbench.WRONG
    assert "with every alias written out" in capsys.readouterr().err


DEEP = "[" * 200_000
LONG = '{"run_dir": ' + "9" * 5000 + "}"


@pytest.mark.parametrize("text", [DEEP, LONG, '{"a":' * 200_000, "", "\x00"])
def test_json_that_python_cannot_read_gives_no_traceback(text: str, tmp_path: Path) -> None:
    """The manifest of an encoder, what a stage announces, and the proof beside staged data."""
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json = \(damaged\)"):
        read_manifest(tmp_path)
    announced = tmp_path / "announced.json"
    announced.write_text(text)
    assert not is_announcement(announced)
    assert announced_label(announced) is None
    with pytest.raises(UserError, match="a file written by --announce"):
        follow(announced)
