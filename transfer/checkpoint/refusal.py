"""Why a checkpoint file is refused, and the limits that keep a crafted file from eating the machine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import UserError, retold

READABLE = "a checkpoint written by torch.save, safetensors, or either in shards with its index"
ANOTHER_MODEL = (
    "if the file is whole, it is another model than it seems: name it by --architecture, or put its config.json beside "
    "the file; else fetch it again"
)
"""What helps where tensors contradict each other: nothing shows whether some were lost."""
UNSHARD_TORCH = (
    "put it together first: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pt"
)
UNSHARD_DEEPSPEED = (
    "put it together first: python zero_to_fp32.py . OUT, in its folder, where DeepSpeed wrote that script"
)
MERGE_ADAPTER = (
    "merge it into its model: peft.PeftModel.from_pretrained(MODEL, FOLDER).merge_and_unload().save_pretrained(NEW), "
    "where MODEL is the one it was trained beside"
)


class Refusal(Exception):
    """A file that is not read: what was found in it, the rule it breaks, and what helps."""

    def __init__(self, finding: str, rule: str, remedy: str) -> None:
        super().__init__(finding)
        self.finding, self.rule, self.remedy = finding, rule, remedy

    def about(self, path: Path) -> UserError:
        return UserError.about("checkpoint", f"{path}: {self.finding}", self.rule, self.remedy)


def naming(path: Path) -> AbstractContextManager[None]:
    """Let errors about the content of a checkpoint that was read name its file, which the content does not know."""
    return retold(
        "checkpoint",
        lambda found, rule, remedy: UserError.about("checkpoint", f"{path}: {found}", rule, remedy),
    )


def shown(word: str) -> str:
    """Keep a hostile name from painting the terminal or filling it."""
    return "".join(letter if letter.isprintable() else "?" for letter in word[:80])


def truncated(where: str) -> Refusal:
    """A file that ends too early: a download or a copy that broke off."""
    remedy = "fetch or copy it again and compare its size and sha256 with the source's"
    return Refusal(f"truncated: it ends {where}", "a complete, undamaged file", remedy)


def damaged(finding: str) -> Refusal:
    """A file that began well and then broke its format's own rules."""
    remedy = "fetch or copy it again and compare its size and sha256 with the source's"
    return Refusal(f"damaged: {finding}", "a complete, undamaged file", remedy)


def senseless(error: Exception) -> Refusal:
    """A pickle over which an unpickler stumbled."""
    words = str(error).strip().splitlines() or [type(error).__name__]
    return damaged(f"its pickle makes no sense ({words[0][:120]})")


def unsafe(wish: str) -> Refusal:
    """A file that wants something done that plain data never needs."""
    rule = "a checkpoint holds tensors and plain data; no code that a file names is ever run here"
    remedy = "if you trust its author, ask for the weights as safetensors; open the file with nothing else"
    return Refusal(f"the file asks to {wish}: refused; nothing was run", rule, remedy)


def over_limit(finding: str, limit: str) -> Refusal:
    """A file beyond what real checkpoints need: by accident or by intent, it would exhaust the machine."""
    remedy = (
        "save only the model's state dict, as safetensors; or pass larger Limits() from Python if you trust the file"
    )
    return Refusal(finding, limit, remedy)


def unsupported(finding: str, remedy: str) -> Refusal:
    """A sound file of a kind that is not read."""
    return Refusal(finding, READABLE, remedy)


@dataclass(frozen=True)
class Limits:
    """What one file may ask for. The defaults are several times what published vision checkpoints need."""

    file_bytes: int = 64 << 30
    pickle_bytes: int = 256 << 20
    """Of the pickle alone; the tensors lie outside of it."""
    header_bytes: int = 100 << 20
    """Of a safetensors header or an index."""
    operations: int = 3_000_000
    """Pickle operations, copied items included; about 40 per tensor."""
    stack: int = 1_000_000
    memo: int = 2_000_000
    nesting: int = 200
    """Containers within containers."""
    integer_bits: int = 4096
    tensors: int = 100_000
    expansion: float = 4.0
    """Bytes of all tensors together (repeated and expanded ones count in full) per byte of the file, plus 64 MiB."""

    def tensor_bytes(self, file_bytes: int) -> int:
        return int(self.expansion * file_bytes) + (64 << 20)
