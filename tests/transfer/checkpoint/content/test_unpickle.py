"""No code in a file ever runs, and nothing it asks for exceeds the file."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.errors import UserError
from tests.transfer.checkpoint.hostile import PROTO2, archive, hostile_pickles, legacy, tensor, text
from transfer.checkpoint.files.checkpoint_file import Limits, read_checkpoint_file
from transfer.checkpoint.pickles.budget import Budget
from transfer.checkpoint.pickles.machine import unpickled as value_of
from transfer.checkpoint.pickles.read import settled
from transfer.checkpoint.pickles.stand_ins import Inert

HOSTILE = sorted(hostile_pickles(Path("marker")))


def unpickled(data: bytes, limits: Limits | None = None) -> object:
    limits = limits or Limits()
    return settled(value_of(io.BytesIO(data), Budget(limits, len(data))), limits)[0]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("wrap", [archive, legacy, bytes], ids=["zip", "legacy", "bare"])
def test_hostile_pickle_is_refused_and_named(name: str, wrap: type, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    pickled, words = hostile_pickles(marker)[name]
    file = tmp_path / "weights.pth"
    file.write_bytes(wrap(pickled))
    with pytest.raises(UserError) as caught:
        read_checkpoint_file(file)
    if wrap is archive or "storage" not in pickled.decode("latin1"):  # only the archive has the storage they speak of
        assert words in str(caught.value)
    if words.startswith("call "):
        assert f"the file asks to {words}: refused; nothing was run" in str(caught.value).splitlines()[0]
    assert str(file) in str(caught.value)
    assert "rule:" in str(caught.value)
    assert "remedy:" in str(caught.value)
    assert not marker.exists()


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """Python's own unpickler obeys them: so the marker's absence above proves something."""
    obeyed = ("os.system", "os.system, protocol 0", "nested in a state dict", "builtins.eval", "INST", "OBJ")
    for name in (*obeyed, "STACK_GLOBAL os.system", "STACK_GLOBAL from the memo"):
        marker = tmp_path / "marker"
        program = "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"
        subprocess.run([sys.executable, "-c", program], input=hostile_pickles(marker)[name][0], check=False)
        assert marker.exists(), name
        marker.unlink()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_comes_back_as_pickle_reads_it(protocol: int) -> None:
    shared = [1, 2]
    data = {
        "text": "naïve \x00 ☃",
        "bytes": b"\x00\xff",
        "numbers": [0, -1, 2**31, -(2**63), 2**100, 0.1, -0.0, 1e308, 1 + 2j, True, None],
        "containers": (shared, (), (1,), {1: {2: "x"}}, {"a", "b"}, [[]]),
        (1, "key"): shared,
    }
    result = unpickled(pickle.dumps(data, protocol))
    assert result == data
    assert result["containers"][0] is result[1, "key"]


def test_unknown_classes_become_stubs_with_their_data() -> None:
    pickled = pickle.dumps(subprocess.CompletedProcess(["a"], 3), 4).replace(b"subprocess", b"gone._away")
    stub = unpickled(pickled)
    assert isinstance(stub, Inert)
    assert stub.name == "gone._away.CompletedProcess"
    assert stub.state == {"args": ["a"], "returncode": 3, "stdout": None, "stderr": None}


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "|b1", "|u1", "<i8", ">i2", "<c8", "<u4"])
def test_numpy_arrays_and_scalars_are_read_by_value(protocol: int, dtype: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    result = unpickled(pickle.dumps({"c": array, "f": np.asfortranarray(array), "s": array[1, 2]}, protocol))
    assert result["c"].numpy().tolist() == array.tolist()
    assert result["f"].numpy().tolist() == array.tolist()
    assert result["s"] == array[1, 2]


def test_arrays_of_text_and_objects_are_stubs() -> None:
    result = unpickled(pickle.dumps({"names": np.array(["a", "b"]), "objects": np.array([{}, None])}, 2))
    assert {type(value) for value in result.values()} == {Inert}


def test_a_shared_array_is_one_tensor() -> None:
    array = np.ones(3)
    first, second = unpickled(pickle.dumps([array, array], 2))
    assert first is second


def test_limits_are_kept(tmp_path: Path) -> None:
    numbers = pickle.dumps(list(range(1000)), 2)
    for limits, words in (
        (Limits(operations=500), "more than 500 operations"),
        (Limits(stack=500), "piles up"),
        (Limits(nesting=3), "nested"),
    ):
        with pytest.raises(Exception, match=words):
            unpickled(pickle.dumps([[[[numbers]]], list(range(1000))], 2), limits)
    file = tmp_path / "many.pth"
    file.write_bytes(archive(PROTO2 + b"(" + tensor(0, (1,), (1,)) * 4 + b"l."))
    with pytest.raises(UserError, match="more than 3 tensors"):
        read_checkpoint_file(file, Limits(tensors=3))
    with pytest.raises(UserError, match="its pickle alone has"):
        read_checkpoint_file(file, Limits(pickle_bytes=100))


def test_copies_of_a_large_value_count_as_work() -> None:
    """A set made again and again of one remembered list costs its length each time."""
    pickled = PROTO2 + b"](" + b"K\x01" * 1000 + b"eq\x000" + b"c__builtin__\nlist\nh\x00\x85R" * 10_000 + b"."
    with pytest.raises(Exception, match="operations"):
        unpickled(pickled, Limits(operations=200_000))


def test_reading_leaves_no_module_imported(tmp_path: Path) -> None:
    """A mentioned module is not even imported: importing is running."""
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\nclass Thing: pass\n")
    file = tmp_path / "weights.pth"
    file.write_bytes(archive(PROTO2 + b"}" + text("args") + b"ctrap\nThing\n)\x81s."))
    sys.path.insert(0, str(tmp_path))
    try:
        checkpoint = read_checkpoint_file(file)
    finally:
        sys.path.remove(str(tmp_path))
    assert checkpoint.inert == ("trap.Thing",)
    assert "trap" not in sys.modules
    assert not (tmp_path / "marker").exists()


def test_views_and_expansions_within_their_storage_are_read(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    floats = np.arange(4, dtype="<f4").tobytes()
    file.write_bytes(archive(PROTO2 + b"(" + tensor(1, (2,), (2,)) + tensor(3, (5,), (0,)) + b"t.", {"0": floats}))
    strided, expanded = read_checkpoint_file(file).content
    assert strided.tolist() == [1, 3]
    assert expanded.tolist() == [3] * 5
    assert isinstance(strided, torch.Tensor)
    assert os.path.getsize(file) < 2000


class Registered:
    """A class that this process has told torch to trust; a file could have code of it run."""

    marker = ""

    def __setstate__(self, state: object) -> None:
        Path(self.marker).touch()


def test_classes_that_torch_was_told_to_trust_are_not_called_and_stay_registered(tmp_path: Path) -> None:
    Registered.marker = str(tmp_path / "marker")
    thing = Registered()
    thing.__dict__["size"] = 7
    torch.save({"thing": thing, "a": torch.ones(2)}, tmp_path / "weights")
    with torch.serialization.safe_globals([Registered]):
        before = set(torch.serialization.get_safe_globals())  # torch keeps a set, whose order may change
        content = read_checkpoint_file(tmp_path / "weights").content
        assert set(torch.serialization.get_safe_globals()) == before
    assert isinstance(content, dict)
    assert content["thing"].state == {"size": 7}
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_archives_of_protocols_that_torchs_unpickler_does_not_know(protocol: int, tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(3, 4)
    content = {"a": table, "part": table.t()[1:], "p": torch.nn.Parameter(table), "e": torch.empty(0, 3), "s": {1, 2}}
    torch.save(content, tmp_path / "weights", pickle_protocol=protocol)
    read = read_checkpoint_file(tmp_path / "weights").content
    assert isinstance(read, dict)
    assert all(torch.equal(read[name], content[name]) for name in ("a", "part", "p", "e"))
    assert read["a"].untyped_storage().data_ptr() == read["part"].untyped_storage().data_ptr()
    assert type(read["p"]) is torch.Tensor
    assert read["s"] == {1, 2}


class Tagged(torch.Tensor):
    """A class of tensors, as torchvision's tv_tensors are."""


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_other_classes_are_read_as_plain_ones(zipped: bool, tmp_path: Path) -> None:
    tagged = torch.arange(3.0).as_subclass(Tagged)
    tagged.__dict__["origin"] = "a camera"
    torch.save({"a": tagged}, tmp_path / "weights", _use_new_zipfile_serialization=zipped)
    content = read_checkpoint_file(tmp_path / "weights").content
    assert isinstance(content, dict)
    assert type(content["a"]) is torch.Tensor
    assert content["a"].tolist() == [0, 1, 2]
