"""Recognising what a file is by its first bytes; for one that is not a checkpoint, what the user can do instead."""

from __future__ import annotations

import io
import pickletools
import re

from transfer.checkpoint.refusal import READABLE, Refusal, unsupported

HEAD_BYTES = 4096

_CONVERT = "load it with the library that wrote it and save the weights with safetensors"
_UNPACK = "unpack it and give the checkpoint inside"
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes (.h5)", _CONVERT),
    (b"\x93NUMPY", "a single NumPy array (.npy)", _CONVERT),
    (b"GGUF", "a GGUF file", _CONVERT),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a rar archive", _UNPACK),
    (b"\x89PNG", "a PNG image", "give the checkpoint instead"),
    (b"\xff\xd8\xff", "a JPEG image", "give the checkpoint instead"),
    (b"%PDF", "a PDF document", "give the checkpoint instead"),
)
_LFS = "run `git lfs pull` in the repository it lies in; the file itself was never downloaded"
_HTML = "the download failed and saved the server's page: log in or accept the licence there, then download again"


def is_zip(head: bytes) -> bool:
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def is_pickle(head: bytes) -> bool:
    """Return whether `head` begins a pickle.

    One of the protocols 2 to 5 begins with the instruction PROTO; an older one consists of valid instructions only.
    """
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    stream, decoded = io.BytesIO(head), 0
    try:
        for _ in pickletools.genops(stream):
            decoded += 1
    except UnicodeDecodeError:  # bytes of Python 2 in quotes, which pickletools takes for ASCII
        return decoded >= 20
    except (ValueError, OverflowError):  # plain text fails at its first space, a long pickle where `head` ends
        return decoded >= 20 and len(head) == HEAD_BYTES
    return stream.tell() == len(head)


def is_json(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") and _text(head) is not None


def not_a_checkpoint(head: bytes) -> Refusal:
    """Return the refusal of a file whose first bytes no reader knows; `head` are its first HEAD_BYTES bytes."""
    for signature, kind, remedy in _SIGNATURES:
        if head.startswith(signature):
            return unsupported(kind, remedy)
    if head[257:262] == b"ustar":
        return _tar(head)
    if (text := _text(head)) is not None:
        return _text_file(text)
    return _binary(head)


def not_an_index() -> Refusal:
    """Return the refusal of a JSON file without a map of shards."""
    remedy = "give the weights file or the folder, not its configuration"
    return unsupported("a JSON file without a weight_map: settings, not weights", remedy)


def _tar(head: bytes) -> Refusal:
    member = head[:100].rstrip(b"\x00")
    if member in (b"sys_info", b"storages", b"tensors", b"pickle"):
        remedy = "where you trust it: open it with torch.load(FILE, weights_only=False), torch.save its state dict"
        return unsupported("a tar archive of torch before 0.1.10, which is no longer read", remedy)
    return unsupported("a tar archive", _UNPACK)


def _text_file(text: str) -> Refusal:
    if text.startswith("version https://git-lfs.github.com/spec/"):
        return unsupported("a git-LFS pointer: three lines of text in place of the file", _LFS)
    if re.match(r"(?i)\s*(<!--.*?-->\s*)*<(!doctype html|html|head|\?xml|body)", text, re.DOTALL):
        return unsupported("an HTML page saved under this name: the download failed", _HTML)
    if re.match(r"(#.*\n|---\s*\n|\s*\n)*[A-Za-z_][\w.-]*:(\s|$)", text):
        return unsupported("a YAML file: settings, not weights", "give the weights file instead")
    return unsupported(f"a text file (it begins {text[:40]!r})", "give the weights file instead")


def _binary(head: bytes) -> Refusal:
    if re.match(rb"[\x81-\x8f][\xa1-\xbf][A-Za-z_]", head):  # a map, whose first key is a short text
        remedy = (
            "let transformers read it: MODEL.from_pretrained(FOLDER, from_flax=True).save_pretrained(NEW), up to 4.x"
        )
        return unsupported("a file of MessagePack, as Flax writes (.msgpack)", remedy)
    if head[4:8] == b"TFL3":
        return unsupported("a TensorFlow Lite model", _CONVERT)
    if head[:2] == b"\x08\x01" and head[2:3] == b"\x12":
        return unsupported("a TensorFlow SavedModel", _CONVERT)
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b":", b"B"):  # ir_version, then producer, graph or opset
        return unsupported("an ONNX model", "export the weights from the PyTorch model that it was made from")
    return Refusal(
        f"a file of an unknown kind (it begins with the bytes {head[:8].hex(' ')})",
        READABLE,
        "check that the path is right and the download complete",
    )


def _text(head: bytes) -> str | None:
    """Return the text of `head`; None where it is not text."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or not head:  # a letter cut in two at the end is fine
            return None
        text = head[: error.start].decode("utf-8-sig")
    return text if all(letter.isprintable() or letter in "\t\r\n\f" for letter in text) else None
