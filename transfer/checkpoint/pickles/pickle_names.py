"""The names a pickle may mention: which stand for harmless data, and which are refused at sight.

Nothing is ever imported or called by name. A name is only judged, so that a harmless file can be read to its end with
stubs in place of its classes, and a hostile one is refused with the name of what it tried.
"""

from __future__ import annotations

import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass, field

from transfer.checkpoint.files.refusal import damaged, unsafe


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a file mentions; never the thing itself."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Inert:
    """What a file says about an object of a class that is not loaded: its name and data, no behaviour."""

    name: str
    """E.g. `yacs.config.CfgNode`."""
    args: tuple[object, ...] = ()
    state: object = None
    entries: dict[object, object] = field(default_factory=dict)
    """Of a mapping's subclass."""
    elements: list[object] = field(default_factory=list)
    """Of a sequence's subclass."""

    def __repr__(self) -> str:
        return f"<inert {self.name}>"


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
    if not (module + name).isprintable() or len(module + name) > 300:  # would paint over or fill the terminal
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
