"""The names a pickle may mention: which stand for harmless data, and which are refused at sight.

Nothing is ever imported or called by name. A name is only judged, so that a harmless file can be read to its end with
stubs in place of its classes, and a hostile one is refused with the name of what it tried.
"""

from __future__ import annotations

import re
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass

import torch

from transfer.checkpoint.refusal import Refusal, damaged, unsafe, unsupported


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a file mentions; never the thing itself."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


_STORAGES: dict[str, torch.dtype] = {
    **{name: dtype for dtype, name in torch.storage._dtype_to_storage_type_map().items()},
    "UntypedStorage": torch.uint8,
    "_UntypedStorage": torch.uint8,
}
DTYPES = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}

# The standard library holds the tools of every attack, so it is closed, apart from classes that only hold data.
_STANDARD = sys.stdlib_module_names
_DATA_CLASSES = {
    "argparse": {"Namespace"},
    "builtins": {"bool", "int", "float", "complex", "str", "bytes", "bytearray", "list", "tuple", "dict", "set"}
    | {"frozenset", "object", "range", "slice", "type", "getattr"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "copyreg": {"_reconstructor", "__newobj__", "__newobj_ex__"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "functools": {"partial"},
    "operator": {"getitem"},
    "pathlib": {"Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"},
    "types": {"SimpleNamespace"},
    "uuid": {"UUID"},
    "_codecs": {"encode"},
}
_DATA_CLASSES["pathlib._local"] = _DATA_CLASSES["pathlib"]

# Functions of other packages that only rebuild data which nobody needs here.
_HARMLESS_FUNCTIONS = {
    "torch.serialization._get_layout",  # of a sparse tensor, which is then refused under its own name
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__generator_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
}


def judge(module: str, name: str) -> Name:
    """Return the name as data. Raises Refusal for one of the standard library that is not a data class."""
    if not re.fullmatch(r"[\w.<>-]{1,300}", module + name):  # would paint over or fill the terminal
        raise damaged("its pickle names a class by letters that no class has")
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))  # Python 2's
    if module.startswith("numpy.core"):
        module = module.replace("numpy.core", "numpy._core", 1)
    root = module.partition(".")[0]
    if root in _STANDARD and root != "typing" and name not in _DATA_CLASSES.get(module, ()):
        raise unsafe(f"call {module}.{name}")
    return Name(module, name)


def may_stand_inert(callee: Name) -> bool:
    """Tell whether a call may be noted instead of done: `callee` is spelt like a class, or a known harmless maker."""
    last = callee.name.rpartition(".")[2]
    if callee.module in _DATA_CLASSES:
        return callee.name in _DATA_CLASSES[callee.module]
    return last.lstrip("_")[:1].isupper() or str(callee) in _HARMLESS_FUNCTIONS


def require_plain(callee: Name) -> None:
    """Raise Refusal for what makes tensors other than plain ones, or tensors and storages of any size."""
    if callee.module.partition(".")[0] != "torch":
        return
    if callee.name.startswith("_rebuild"):
        if callee.name == "_rebuild_qtensor":
            raise quantized()
        if "sparse" in callee.name:
            raise unsupported("it holds sparse tensors", "save dense ones: tensor.to_dense()")
        raise unsupported(f"it holds tensors of a special kind ({callee})", "save plain CPU tensors")
    if callee.name.endswith(("Tensor", "Storage")):
        raise unsafe(f"call {callee}")


def storage_dtype(name: object) -> torch.dtype:
    """Return the dtype of `torch.FloatStorage` and its like. Raises Refusal for everything else."""
    if not isinstance(name, Name) or not name.module.startswith("torch") or name.name not in _STORAGES:
        raise damaged("a storage of an unknown type")
    if name.name.startswith("Q"):
        raise quantized()
    return _STORAGES[name.name]


def quantized() -> Refusal:
    return unsupported("it holds quantized tensors", "dequantize the model before saving: tensor.dequantize()")
