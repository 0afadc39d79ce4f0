"""A frozen image tokenizer from an ONNX file, run by ONNX Runtime.

ONNX holds a graph of standard operators and numbers: unlike TorchScript or a pickle it carries no program of its own,
and unlike a file of weights it needs no copy of every tokenizer's architecture here. dVAE, VQ-GAN, VQ-KD export to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.errors import UserError

FIELD = "target.tokenizer"
RULE = (
    "an ONNX graph from images [N, C, S, S] float to scores [N, vocabulary, t, t] float, with fixed C, S, vocabulary, t"
)


@dataclass(frozen=True)
class TokenizerShape:
    """The sizes that the graph declares."""

    channels: int
    image_size_px: int
    vocabulary: int
    tokens: int
    """The number of tokens per side."""


@lru_cache(maxsize=4)
def read_shape(path: Path) -> TokenizerShape:
    """Read a tokenizer's sizes. Raises UserError where the file is not such a graph, or ONNX Runtime is missing."""
    return _shape(path, _session(path, ["CPUExecutionProvider"]))


class Tokenizer:
    """Turns images into tokens, without gradient."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Load the graph onto the device where this build of ONNX Runtime can use it, else onto the CPU."""
        onnxruntime = _library()
        on_gpu = device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        self.device = device if on_gpu else torch.device("cpu")
        gpu = ("CUDAExecutionProvider", {"device_id": device.index or 0})
        self._session = _session(path, [*([gpu] if on_gpu else []), "CPUExecutionProvider"])
        self.shape = _shape(path, self._session)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return tokens [B, t, t] int64, on the images' device, of images [B, C, S, S] float of 0 to 1.

        Waits for the device: ONNX Runtime has a stream of its own.
        """
        shape, given = self.shape, images.detach().float().to(self.device).contiguous()
        scores = torch.empty(len(images), shape.vocabulary, shape.tokens, shape.tokens, device=self.device)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        binding = self._session.io_binding()
        for bind, info, tensor in (
            (binding.bind_input, self._session.get_inputs()[0], given),
            (binding.bind_output, self._session.get_outputs()[0], scores),
        ):
            shape_of, pointer = tuple(tensor.shape), tensor.data_ptr()
            bind(info.name, self.device.type, self.device.index or 0, np.float32, shape_of, pointer)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return scores.argmax(dim=1).to(images.device)


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        remedy = "pip install 'mimbench[tokens]' (onnxruntime-gpu instead runs it on the GPU)"
        raise UserError.about(FIELD, f"onnxruntime is missing ({error})", "ONNX Runtime installed", remedy) from None
    return onnxruntime


def _session(path: Path, providers: list[Any]) -> Any:
    onnxruntime = _library()
    if not path.is_file():
        raise UserError.about(FIELD, str(path), "a file that exists", "check the path")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its errors share no class
        first = str(error).splitlines()[0]
        raise UserError.about(FIELD, str(path), f"{RULE} ({first})", "export the tokenizer again") from None


def _shape(path: Path, session: Any) -> TokenizerShape:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) == len(outputs) == 1 and inputs[0].type == outputs[0].type == "tensor(float)":
        given, found = inputs[0].shape[1:], outputs[0].shape[1:]
        fixed = len(given) == len(found) == 3 and all(isinstance(side, int) for side in (*given, *found))
        free = not any(isinstance(each.shape[0], int) for each in (inputs[0], outputs[0]) if each.shape)
        if fixed and free and given[1] == given[2] and found[1] == found[2] and found[0] > 1:
            return TokenizerShape(given[0], given[1], found[0], found[1])
    shown = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in (*inputs, *outputs))
    raise UserError.about(FIELD, f"{path} ({shown})", f"{RULE}, and N left open", "export the tokenizer in this form")
