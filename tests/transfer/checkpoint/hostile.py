"""Hand-made pickles that a trusting reader would obey, each with what the refusal must name."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import struct
import subprocess
import zipfile
from pathlib import Path

PROTO2 = b"\x80\x02"
HUGE = (2**39 - 1).to_bytes(5, "little")
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


class Call:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function: object, *args: object) -> None:
        self._reduced = (function, args)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._reduced


def text(value: str) -> bytes:
    """The instruction that pushes a short text."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def tensor(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A torch tensor on a storage of four floats, described as an attacker likes."""
    numbers = b"".join(
        b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", number) for number in part) + b"t" for part in (size, stride)
    )
    place = b"\x8a\x08" + struct.pack("<q", offset)
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + place + numbers + hooks + b"tR"


def archive(pickled: bytes, storages: dict[str, bytes] | None = None, top: str = "archive") -> bytes:
    """A torch zip archive around a pickle, as zipfile writes it: stored, with checksums."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        file.writestr(f"{top}/data.pkl", pickled)
        file.writestr(f"{top}/byteorder", "little")
        for key, data in (storages or {"0": bytes(16)}).items():
            file.writestr(f"{top}/data/{key}", data)
        file.writestr(f"{top}/version", "3\n")
    return buffer.getvalue()


def legacy(pickled: bytes) -> bytes:
    """torch's older stream around a pickle, with no storages."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(part, 2) for part in parts) + pickled + pickle.dumps([], 2)


def hostile_pickles(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Return name -> (pickle, words of the refusal). A reader that obeys any of the first group writes `marker`."""
    command = f"touch {marker}"
    shell = text(command)
    return {
        "os.system": (pickle.dumps(Call(os.system, command), 2), "call posix.system"),
        "os.system, protocol 0": (pickle.dumps(Call(os.system, command), 0), "call posix.system"),
        "os.system, protocol 4": (pickle.dumps(Call(os.system, command), 4), "call posix.system"),
        "nested in a state dict": (
            pickle.dumps({"model": {"a": [1, (Call(os.system, command),)]}}, 2),
            "call posix.system",
        ),
        "subprocess.Popen": (pickle.dumps(Call(subprocess.Popen, ["touch", str(marker)]), 2), "call subprocess.Popen"),
        "builtins.eval": (pickle.dumps(Call(eval, f"open({str(marker)!r}, 'w')"), 2), "call builtins.eval"),
        "builtins.exec": (pickle.dumps(Call(exec, f"open({str(marker)!r}, 'w')"), 2), "call builtins.exec"),
        "builtins.getattr of a builtin": (
            PROTO2 + b"c__builtin__\ngetattr\n(c__builtin__\n__import__\nX\x06\x00\x00\x00systemtR.",
            "call builtins.__import__",
        ),
        "builtins.getattr of a data class": (
            PROTO2 + b"c__builtin__\ngetattr\n(c__builtin__\ndict\nX\x08\x00\x00\x00fromkeystR.",
            "call builtins.dict.fromkeys",
        ),
        "builtins.getattr of an object": (
            PROTO2 + b"c__builtin__\ngetattr\n(cmine\nThing\n)\x81X\x06\x00\x00\x00systemtR.",
            "call builtins.getattr",
        ),
        "a function got by builtins.getattr": (
            PROTO2 + b"c__builtin__\ngetattr\n(ctorch\nhub\nX\x04\x00\x00\x00loadtR)R.",
            "call torch.hub.load",
        ),
        "importlib": (
            pickle.dumps(Call(importlib.import_module, "os"), 2),
            "call importlib.import_module",
        ),
        "operator.attrgetter": (PROTO2 + b"coperator\nattrgetter\n)R.", "call operator.attrgetter"),
        "Python 2 apply": (PROTO2 + b"c__builtin__\napply\n)R.", "call builtins.apply"),
        "pty.spawn": (PROTO2 + b"cpty\nspawn\n)R.", "call pty.spawn"),
        "pickle.loads": (PROTO2 + b"c_pickle\nloads\n)R.", "call _pickle.loads"),
        "STACK_GLOBAL os.system": (PROTO2 + stack_global("os", "system") + shell + b"\x85R.", "call os.system"),
        "STACK_GLOBAL from the memo": (
            PROTO2 + text("os") + b"\x94" + text("system") + b"\x940h\x00h\x01\x93" + shell + b"\x85R.",
            "call os.system",
        ),
        "STACK_GLOBAL through torch": (
            PROTO2 + stack_global("torch", "os.system") + shell + b"\x85R.",
            "call torch.os.system",
        ),
        "STACK_GLOBAL of a number": (PROTO2 + b"K\x01K\x02\x93.", "by something that is not text"),
        "INST": (b"(S'" + command.encode() + b"'\nios\nsystem\n.", "call os.system"),
        "INST of torch.load": (PROTO2 + b"(itorch\nload\n.", "call torch.load"),
        "OBJ": (PROTO2 + b"(cos\nsystem\n" + shell + b"o.", "call os.system"),
        "NEWOBJ": (PROTO2 + b"cos\nsystem\n" + shell + b"\x85\x81.", "call os.system"),
        "torch.load": (PROTO2 + b"ctorch\nload\n" + shell + b"\x85R.", "call torch.load"),
        "torch.hub.load": (PROTO2 + b"ctorch.hub\nload\n)R.", "call torch.hub.load"),
        "torch.storage._load_from_bytes": (
            PROTO2 + b"ctorch.storage\n_load_from_bytes\n)R.",
            "call torch.storage._load_from_bytes",
        ),
        "numpy's runstring": (
            PROTO2 + b"cnumpy.testing._private.utils\nrunstring\n)R.",
            "call numpy.testing._private.utils.runstring",
        ),
        "call in a tensor subclass": (
            PROTO2 + b"ctorch._tensor\n_rebuild_from_type_v2\n(cnumpy\nload\nctorch\nTensor\n)}tR.",
            "call numpy.load",
        ),
        "functools.reduce": (PROTO2 + b"cfunctools\nreduce\n)R.", "call functools.reduce"),
        "a call of a called thing": (PROTO2 + b"cmine\nThing\n)R)R.", "neither a class nor a function"),
        "BUILD on a class": (PROTO2 + b"ccollections\nOrderedDict\n}(K\x01K\x02ub.", "sets the attributes"),
        "BUILD on a storage": (PROTO2 + STORAGE + b"}b.", "sets the attributes"),
        "BUILD on a tensor": (PROTO2 + tensor(0, (2,), (1,)) + b"}b.", "sets the attributes"),
        "append to a class": (PROTO2 + b"cmine\nThing\nK\x01a.", "appends to something that is not a list"),
        "EXT1": (PROTO2 + b"\x82\x01.", "extension registry"),
        "EXT4": (PROTO2 + b"\x84\x01\x00\x00\x00.", "extension registry"),
        "out-of-band buffer": (b"\x80\x05\x97.", "outside of the file"),
        "persistent id that is text": (b"Pos.system\n.", "a persistent id that is not a tuple"),
        "persistent id that is a number": (PROTO2 + b"K\x07Q.", "a persistent id that is not a tuple"),
        "persistent id of another kind": (PROTO2 + text("module") + text("os") + b"\x86Q.", "an unknown kind"),
        "storage outside the archive": (
            PROTO2 + STORAGE.replace(b"\x01\x00\x00\x000X", b"\x05\x00\x00\x00../..X") + b".",
            "storage '../..' is missing",
        ),
        "storage of another size": (PROTO2 + STORAGE.replace(b"K\x04", b"K\x05") + b".", "4 elements where"),
        "offset past the end": (PROTO2 + tensor(4, (1,), (1,)) + b".", "out of bounds"),
        "size past the end": (PROTO2 + tensor(0, (5,), (1,)) + b".", "out of bounds"),
        "stride past the end": (PROTO2 + tensor(0, (2,), (4,)) + b".", "out of bounds"),
        "stride that wraps around": (PROTO2 + tensor(0, (3,), (2**62,)) + b".", "out of bounds"),
        "negative offset": (PROTO2 + tensor(-1, (1,), (1,)) + b".", "impossible sizes"),
        "negative stride": (PROTO2 + tensor(3, (4,), (-1,)) + b".", "impossible sizes"),
        "expanded without end": (PROTO2 + tensor(0, (2**40,), (0,)) + b".", "unfold to over"),
        "a name that fills the terminal": (PROTO2 + b"cmine\nA" + b"a" * 300 + b"\n)R.", "letters that no class has"),
        "a name with an escape": (PROTO2 + b"cmine\n\x1b[2JSystem\n)R.", "letters that no class has"),
        "a name that paints the terminal": (PROTO2 + b"cmine\n\\x1b[2Jsystem\n)R.", "letters that no class has"),
        "impossible empty shape": (PROTO2 + tensor(0, (0, 2**62, 2**62), (0, 0, 0)) + b".", "impossible shape"),
        "impossible shape": (PROTO2 + tensor(0, (2**40, 2**40), (0, 0)) + b".", "impossible shape"),
        "huge integer": (PROTO2 + b"\x8b" + struct.pack("<i", 100_000) + b"\x7f" * 100_000 + b".", "799999 bits"),
        "nested without end": (PROTO2 + b")" + b"\x85" * 100_000 + b".", "nested without end"),
        "deep tuple as a key": (PROTO2 + b"})" + b"\x85" * 100_000 + b"K\x01s.", "a mapping's key"),
        "tuple of tuples as a key": (PROTO2 + b"})" + b"\x85" * 100 + b"K\x01s.", "a mapping's key"),
        "a key that unfolds without end": (PROTO2 + b"})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.", "a mapping's key"),
        "a key in a set that unfolds without end": (
            PROTO2 + b"c__builtin__\nset\n])" + b"q\x00h\x00\x86" * 60 + b"a\x85R.",
            "a mapping's key",
        ),
        "a tensor of any size": (
            PROTO2 + b"ctorch\nFloatTensor\n\x8a\x05" + HUGE + b"\x85R.",
            "call torch.FloatTensor",
        ),
        "a base tensor of any size": (PROTO2 + b"ctorch\nTensor\n\x8a\x05" + HUGE + b"\x85\x81.", "call torch.Tensor"),
        "a storage of any size": (
            PROTO2 + b"ctorch.storage\nUntypedStorage\n\x8a\x05" + HUGE + b"\x85R.",
            "call torch.storage.UntypedStorage",
        ),
        "bytes of any size": (
            PROTO2 + b"c__builtin__\nbytearray\n\x8a\x05" + HUGE + b"\x85R.",
            "bytes made of something else than text",
        ),
        "a codec that a file names": (
            PROTO2 + b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00idna\x86R.",
            "bytes made of something else than text",
        ),
        "a memo slot far away": (PROTO2 + b"}r\xff\xff\xff\x7f.", "piles up too many values"),
        "a list as a key": (PROTO2 + b"}]K\x01s.", "a mapping's key"),
        "memo slot that was never filled": (PROTO2 + b"h\x07.", "makes no sense"),
        "nothing on the stack": (PROTO2 + b"R.", "makes no sense"),
        "array with too few bytes": (
            PROTO2
            + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
            + b"(K\x01M\xff\x00\x85cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R\x89U\x04abcdtb.",
            "4 bytes where its shape [255] needs 1020",
        ),
        "a stub, called": (PROTO2 + b"cfunctools\npartial\n(ctorch.hub\nload\ntR)R.", "neither a class nor a function"),
        "a module's persistent id that is no class": (
            PROTO2 + b"(" + b"".join(map(text, ("module", "os", "file", "source"))) + b"tQ.",
            "an unknown kind",
        ),
        "a module's persistent id, called": (
            PROTO2 + b"(" + text("module") + b"ctorch\nload\nNNtQ)R.",
            "call torch.load",
        ),
        "EXT2": (PROTO2 + b"\x83\x01\x00.", "extension registry"),
        "integers that collide as keys": (
            PROTO2 + b"}\x8a\x08" + (2**61 - 1).to_bytes(8, "little") + b"Ns.",
            "60 bits",
        ),
        "tuples without number as keys": (
            PROTO2 + b"}(" + b"".join(b"M" + struct.pack("<H", n) + b"\x85N" for n in range(20_000)) + b"u.",
            "more than 3000000 operations",
        ),
        "a tensor's class that unfolds without end": (
            PROTO2 + b"ctorch._tensor\n_rebuild_from_type_v2\n(cmine\nmake\n)" + b"q\x00h\x00\x86" * 60 + b")}tR.",
            "without a name",
        ),
        "an integer longer than the file": (PROTO2 + b"\x8b\xff\xff\xff\x7fa.", "truncated"),
        "bytes longer than the file": (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"a.", "truncated"),
        "the same bytes again and again": (
            PROTO2
            + b"](X"
            + struct.pack("<i", 1 << 20)
            + b"a" * (1 << 20)
            + b"q\x00"
            + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 100
            + b"e.",
            "unfold to over",
        ),
        "a storage of fewer than no elements": (
            PROTO2 + STORAGE.replace(b"K\x04", b"J\xff\xff\xff\xff") + b".",
            "a storage without a key or a size",
        ),
        "sparse tensor": (PROTO2 + b"ctorch._utils\n_rebuild_sparse_tensor\n)R.", "sparse tensors"),
        "quantized tensor": (PROTO2 + b"ctorch._utils\n_rebuild_qtensor\n)R.", "quantized tensors"),
        "quantized numbers in plain bytes": (
            PROTO2
            + b"ctorch._utils\n_rebuild_tensor_v3\n("
            + STORAGE.replace(b"Float", b"Untyped").replace(b"K\x04", b"K\x10")
            + b"K\x00K\x01\x85K\x01\x85\x89}ctorch\nquint8\ntR.",
            "quantized tensors",
        ),
        "quantized storage": (PROTO2 + STORAGE.replace(b"Float", b"QUInt8") + b".", "quantized tensors"),
    }
