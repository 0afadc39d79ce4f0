"""Pickles that have passed their scan, read by the libraries' own unpicklers, to which only stand-ins are known."""

from __future__ import annotations

import pickle
import threading
import warnings
from collections.abc import Callable
from typing import IO, Any

import torch

from transfer.checkpoint.pickles.arrays import Array
from transfer.checkpoint.pickles.pickle_names import judge, storage_dtype
from transfer.checkpoint.pickles.scan import Scan
from transfer.checkpoint.pickles.stand_ins import Inert, stand_ins
from transfer.checkpoint.refusal import Refusal, damaged

_TORCHS_NAMES = threading.Lock()  # torch keeps what it may call in one place for the whole process


ReadStorage = Callable[[str, torch.dtype], torch.UntypedStorage]
"""Returns the bytes of the storage of a key, which are numbers of a dtype."""


def read_python(stream: IO[bytes], scan: Scan, storage: ReadStorage | None = None) -> object:
    """Return the value of the pickle at the stream's position, of any protocol: torch's unpickler knows the second."""
    known = stand_ins(scan)

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return known[str(judge(module, name))]

        def persistent_load(self, claim: Any) -> Any:
            assert storage is not None, "the scan has refused storages where there are none"
            dtype = storage_dtype(claim[1])
            typed: Any = torch.storage.TypedStorage  # which has no types
            return typed(wrap_storage=storage(claim[2], dtype), dtype=dtype, _internal=True)

    return _guarded(lambda: Unpickler(stream, encoding="latin1").load())


def read_torch(file: IO[bytes], zipped: bool, scan: Scan) -> object:
    """Return the content of a file of torch.save. Tensors of a zip archive are views of the file, copied on writing.

    torch is given the open file, not its name: it takes what is called `.safetensors` for such, whatever it holds.
    """
    file.seek(0)
    path = f"/dev/fd/{file.fileno()}"
    known: list[Any] = [(stand_in, spelt) for spelt, stand_in in stand_ins(scan).items()]
    with _TORCHS_NAMES, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        others = torch.serialization.get_safe_globals()  # real classes, which a file could then call
        torch.serialization.clear_safe_globals()
        try:
            with torch.serialization.safe_globals(known):
                return _guarded(
                    lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=zipped, encoding="latin1")
                )
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(others)


def _guarded(load: Callable[[], object]) -> object:
    """Return what `load` gives, as plain data. Raises Refusal for whatever goes wrong in it."""
    try:
        return _settled(load())
    except Refusal:
        raise
    except Exception as error:  # what a file makes an unpickler stumble over has no other common class
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise damaged(f"its pickle makes no sense ({words[0][:120]})") from None


def _settled(content: object) -> object:
    """Return content with plain tensors in place of parameters and NumPy's arrays; what was shared stays so."""
    settled: dict[int, object] = {}
    kept: list[object] = []  # an id is one value's only while that value lives

    def settle(value: object) -> object:
        if not isinstance(value, torch.Tensor | torch.device | Array | Inert | dict | list | tuple):
            return value
        if id(value) not in settled:
            kept.append(value)
            settled[id(value)] = value  # of a container within itself
            settled[id(value)] = _exchanged(value, settle)
        return settled[id(value)]

    return settle(content)


def _exchanged(value: object, settle: Callable[[object], object]) -> object:
    if isinstance(value, torch.Tensor):
        return value.as_subclass(torch.Tensor).detach()
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, Array):
        tensor = value.tensor()
        return Inert("numpy.ndarray", value.state) if tensor is None else tensor
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = settle(item)
    elif isinstance(value, list):
        value[:] = map(settle, value)
    elif isinstance(value, tuple):
        items = tuple(map(settle, value))
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    elif isinstance(value, Inert):
        value.args, value.state = tuple(map(settle, value.args)), settle(value.state)
    return value
