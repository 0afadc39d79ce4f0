"""Building an encoder from a person's own code: `python:MODULE:FACTORY`.

The code runs in this process. It is run only where a person named it on the command line: an architecture of this form
in a file, which may come from others, is refused until then.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.encoders import Architecture, CodeUse
from benchmarks.errors import UserError
from benchmarks.families.own import OwnEncoder, OwnModel, running

SCHEME = "python:"
_NAME = re.compile(r"python:([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
_trusted: set[str] = set()


def is_own(name: str) -> bool:
    """Return whether an architecture's name is that of a person's own code."""
    return name.startswith(SCHEME)


def trust(name: str) -> None:
    """Let the code that `name` names be run in this process: a person has named it."""
    _trusted.add(name)


def build_own(
    architecture: Architecture, image_size_px: int | None, num_classes: int, drop_path_rate: float
) -> OwnModel:
    """Call the factory and return its encoder, with a head of `num_classes` unless that is 0.

    What the factory draws at random is the same every time. It is given `drop_path_rate` if it takes one. Raises
    UserError where nobody named the code or it breaks the contract, WorkFailed where it raises an error.
    """
    name, arguments = architecture.name, dict(architecture.arguments)
    if name not in _trusted:
        rule = "named by yourself: the code of this architecture would be run, and a file that names it may be others'"
        raise UserError.about("architecture", name, rule, f"if you trust it: --architecture {name}")
    factory = _find(name)
    given = {"drop_path_rate": drop_path_rate} if "drop_path_rate" in inspect.signature(factory).parameters else {}
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own = _called(name, factory, given)
    channels = arguments.pop("in_chans", len(own.mean))
    if arguments or channels != len(own.mean):
        shown = ", ".join(architecture.arguments)
        rule = f"left out: {name} takes images of {len(own.mean)} channels, and is as its factory makes it"
        raise UserError.about(shown, list(architecture.arguments.values()), rule, "change the factory instead")
    with torch.device("cpu"):
        return OwnModel(own, num_classes, image_size_px, name)


def code_use(name: str, model: OwnModel) -> CodeUse:
    """Return what a record keeps of the code behind a model: the factory's module, and that of the model's class."""
    module, factory = _parts(name)
    files = {inspect.getsourcefile(sys.modules[each]) for each in (module, type(model.body).__module__)}
    sources = [Path(each).read_bytes() for each in sorted(filter(None, files))]
    return CodeUse(
        module=module,
        factory=factory,
        version=_version(module.partition(".")[0]),
        source_sha256=hashlib.sha256(b"".join(sources)).hexdigest(),
    )


def current_code(architecture: Architecture) -> CodeUse | None:
    """Return what a record keeps of the code that an architecture names, as it is now; None where it names none.

    None, too, where nobody has named the code, so that it may not be run.
    """
    if architecture.name not in _trusted:
        return None
    return code_use(architecture.name, build_own(architecture, None, 0, 0.0))


def source_file(name: str) -> str:
    """Return the file that the factory's module lies in."""
    return str(getattr(sys.modules[_parts(name)[0]], "__file__", "?"))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        found = getattr(sys.modules.get(package), "__version__", None)
        return None if found is None else str(found)


def _parts(name: str) -> tuple[str, str]:
    found = _NAME.fullmatch(name)
    if found is None:
        rule = "python:MODULE:FACTORY, e.g. python:my_package.encoders:resnet"
        raise UserError.about("encoder", name, rule, "name a module and a function in it")
    return found[1], found[2]


def _find(name: str) -> Callable[..., Any]:
    module, factory = _parts(name)
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    with running(name):
        try:
            found = getattr(importlib.import_module(module), factory, None)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise
            rule = f"a module that Python finds ({error}): installed, on PYTHONPATH or in the working directory"
            raise UserError.about("encoder", name, rule, "check its name, or set PYTHONPATH") from None
    if not callable(found):
        rule = f"a function of {module} ({source_file(name)}) that returns an OwnEncoder"
        raise UserError.about("encoder", name, rule, "check the function's name")
    return found  # type: ignore[no-any-return]


def _called(name: str, factory: Callable[..., Any], given: dict[str, Any]) -> OwnEncoder:
    with running(name):
        own = factory(**given)
    if not isinstance(own, OwnEncoder):
        rule = "an OwnEncoder: from benchmarks.families.own import OwnEncoder"
        remedy = "return OwnEncoder(model, strides=(16,), mean=..., std=...)"
        raise UserError.about(f"what {name} returned", f"a {type(own).__name__}", rule, remedy)
    return own
