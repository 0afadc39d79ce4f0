"""The tensors of any checkpoint as safetensors, under the names that they have there, whatever model they belong to."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from benchmarks.files.atomic import write_atomically
from transfer.checkpoint.content.selection import Selection
from transfer.checkpoint.content.state_dict import find_weights
from transfer.checkpoint.files.checkpoint_file import read_checkpoint_file
from transfer.checkpoint.refusal import naming
from transfer.commands.destination import cannot_write, check_destination


def write_tensors(path: Path, out: Path, selection: Selection = Selection()) -> int:
    """Write the checkpoint's weights to `out` and return the number of tensors; nothing that the file names is run.

    A whole pickled module gives its parameters and buffers. Raises UserError where the file holds no set of weights or
    several, and where `out` cannot be written.
    """
    check_destination(out, path)
    file = read_checkpoint_file(path)
    with naming(file.path):
        found = find_weights(file.content, selection)
    tensors: dict[str, Tensor] = {f"{found.prefix}{name}": tensor for name, tensor in found.tensors.items()}
    tensors |= found.beside
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, save({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}))
    except OSError as error:
        raise cannot_write(out, error) from error
    return len(tensors)
