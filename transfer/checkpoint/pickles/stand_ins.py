"""What stands for the names of a pickle that has passed its scan: data for data, stubs for classes."""

from __future__ import annotations

import codecs
from collections import Counter, OrderedDict
from dataclasses import dataclass

import torch

from transfer.checkpoint.pickles.arrays import ARRAY_NAMES
from transfer.checkpoint.pickles.calls import TENSOR_MAKERS
from transfer.checkpoint.pickles.pickle_names import DTYPES, Name
from transfer.checkpoint.pickles.scan import Scan


@dataclass(eq=False)
class Inert:
    """What a file says about an object of a class that is not loaded: its name and data, no behaviour.

    Objects with entries, as a yacs CfgNode, are no stubs: they are read as dicts, and those with elements as lists.
    """

    name: str
    """E.g. `argparse.Namespace`."""
    args: tuple[object, ...] = ()
    state: object = None

    def __repr__(self) -> str:
        return f"<inert {self.name}>"


class _Stub(Inert):
    """Base of the classes that stand for a file's own. However a file makes an object of one, only its data is kept."""

    stands_for = ""

    def __new__(cls, *args: object, **keywords: object) -> _Stub:
        stub = super().__new__(cls)
        Inert.__init__(stub, cls.stands_for, args, keywords or None)
        return stub

    def __init__(self, *_: object, **__: object) -> None:
        """Leave what `__new__` has noted."""

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Entries:
    """Base of those that stand for subclasses of dict: torch's unpickler gives entries to nothing but dicts."""

    def __new__(cls, *_: object, **__: object) -> OrderedDict[object, object]:  # type: ignore[misc]
        return OrderedDict()


class _Elements:
    """Base of those that stand for subclasses of list."""

    def __new__(cls, *_: object, **__: object) -> list[object]:  # type: ignore[misc]
        return []


_DATA: dict[str, object] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "collections.defaultdict": lambda *_: OrderedDict(),
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.tuple": tuple,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.bytes": bytes,
    "builtins.bytearray": bytearray,
    "builtins.complex": complex,
    "builtins.type": lambda _: Name("builtins", "NoneType"),
    "operator.getitem": lambda generic, *args: Inert(str(generic), args),
    "copyreg._reconstructor": lambda kind, *_: kind(),
    "copyreg.__newobj__": lambda kind, *_: kind(),
    "copyreg.__newobj_ex__": lambda kind, *_: kind(),
    "_codecs.encode": codecs.encode,
    "torch.Size": tuple,
    "torch.device": lambda *parts: ":".join(map(str, parts)),
    "torch._tensor._rebuild_from_type_v2": torch._tensor._rebuild_from_type_v2,
    "torch.nn.parameter.Parameter": torch.nn.Parameter,
    **{f"torch._utils.{name}": getattr(torch._utils, name) for name in TENSOR_MAKERS},
    **DTYPES,
    **ARRAY_NAMES,
}


def stand_ins(scan: Scan) -> dict[str, object]:
    """Return what each name that a scan has met stands for, by the name as the file spells it."""
    by_name = {str(name): _stand_in(name, scan) for name in scan.calls.names.values()}

    def attribute(owner: object, name: str) -> object:
        """Answer getattr(class, name), by which older protocols write a nested class or a method."""
        return by_name[f"{getattr(owner, 'stands_for', owner)}.{name}"]

    by_name["builtins.getattr"] = attribute
    return by_name | {spelt: by_name[str(name)] for spelt, name in scan.calls.names.items()}


def _stand_in(name: Name, scan: Scan) -> object:
    """Return a function or class for data, a class of stubs, or the name itself where it is only mentioned."""
    if (data := _DATA.get(str(name))) is not None:
        return data
    if str(name) not in scan.calls.made:
        return type(name.name, (torch.Tensor,), {}) if str(name) in scan.calls.tensors else name
    base = _Entries if str(name) in scan.mappings else _Elements if str(name) in scan.sequences else _Stub
    return type(name.name, (base,), {"stands_for": str(name)})
