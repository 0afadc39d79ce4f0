"""Witnesses of an encoder's weights: the same encoder as another library reads it, or features that were kept.

`timm:NAME` is timm's own pretrained model, `hf:FOLDER` a model of Hugging Face's transformers that lies on disk, and
FILE.npz holds `images` [N, C, H, W], as they entered the model, and `features`. No code that a folder brings is run:
its weights are read by this program, and its configuration may only name a model that transformers itself has.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor

from benchmarks.errors import UserError
from transfer.checkpoint.files.checkpoint_file import read_checkpoint_file
from transfer.sources.hub import timm_model

_RULE = "timm:NAME, hf:FOLDER, or an npz file with the arrays images [N, C, H, W] and features"
LARGEST_BYTES = 4 << 30
"""Of the arrays in an npz file, unpacked."""


@dataclass(frozen=True)
class Witness:
    """Something else that says what an encoder's features are."""

    library: str
    """E.g. `transformers 5.23.0`."""
    features: Callable[[Tensor], Tensor]
    """Returns the features of images [N, C, H, W]: tokens [N, T, D], a map [N, D, h, w] or vectors [N, D]."""
    image_size_px: int | None = None
    """The size of images that it wants; None where that is not known."""
    images: Tensor | None = None
    """The only images that it knows the features of."""
    file_sha256: str | None = None
    """Of the file that its weights were read from."""


def find_witness(against: str) -> Witness:
    """Return what `--against` names. Raises UserError for anything else, WorkFailed where a hub is out of reach."""
    scheme, _, name = against.partition(":")
    if scheme == "timm":
        return _of_timm(name)
    if scheme == "hf" and not Path(name).is_dir():
        raise UserError.about("--against", against, "a folder that exists", "check the path")
    if scheme == "hf":
        return _of_transformers(Path(name))
    if against.endswith(".npz"):
        return _of_arrays(Path(against))
    raise UserError.about("--against", against, _RULE, "name one of these")


def _of_timm(name: str) -> Witness:
    model: Any = timm_model(name, num_classes=0)
    model.eval()
    return Witness(f"timm {timm.__version__}", model.forward_features, int(model.pretrained_cfg["input_size"][-1]))


def _of_transformers(folder: Path) -> Witness:
    try:
        import transformers
    except ImportError:
        raise UserError.about("--against", f"hf:{folder}", "transformers, which is not installed", _INSTALL) from None
    file = read_checkpoint_file(folder)
    tensors = {name: each for name, each in _entries(file.content).items() if isinstance(each, Tensor)}
    auto: Any = transformers.AutoModel
    try:
        with _silent(transformers.utils.logging):
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            with torch.device("meta"):
                kind: Any = type(auto.from_config(config, trust_remote_code=False))
            model, found = kind.from_pretrained(
                None, config=config, state_dict=tensors, output_loading_info=True, attn_implementation="eager"
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        rule = f"a folder that transformers reads without running code of its own ({str(error).splitlines()[0]})"
        raise UserError.about("--against", f"hf:{folder}", rule, "check the folder's config.json") from None
    if missing := sorted(name for name in found["missing_keys"] if "pooler" not in name):
        rule = f"a whole model (missing: {', '.join(missing[:4])})"
        raise UserError.about("--against", f"hf:{folder}", rule, "name the folder of the whole model")
    tower: Any = getattr(model, "vision_model", model).float().eval()
    size = getattr(tower.config, "image_size", getattr(tower.config, "crop_size", None))
    size = size[-1] if isinstance(size, list | tuple) else size
    return Witness(
        f"transformers {transformers.__version__}",
        lambda images: _features(tower, images),
        size if isinstance(size, int) else None,
        file_sha256=file.sha256,
    )


def _features(tower: Any, images: Tensor) -> Tensor:
    """Return what a model of transformers makes of images; V-JEPA 2 sees one as a clip of equal frames."""
    given: dict[str, Any] = {"pixel_values": images}
    if tower.main_input_name == "pixel_values_videos":
        frames = images[:, None].repeat(1, tower.config.tubelet_size, 1, 1, 1)
        given = {"pixel_values_videos": frames, "skip_predictor": True}
    found: Tensor = tower(**given).last_hidden_state
    return found


@contextlib.contextmanager
def _silent(logging: Any) -> Iterator[None]:
    """Keep transformers from listing on stderr what it loads."""
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


_INSTALL = "install it (pip install 'transformers>=5'), or keep features elsewhere and give an npz file"


def _entries(content: object) -> dict[Any, Any]:
    return content if isinstance(content, dict) else {}


def _of_arrays(path: Path) -> Witness:
    if not path.is_file():
        raise UserError.about("--against", str(path), "an npz file that exists", "check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(each.file_size for each in archive.infolist()) > LARGEST_BYTES:
                rule = f"arrays of at most {LARGEST_BYTES / 1e9:.0f} GB"
                raise UserError.about("--against", str(path), rule, "keep fewer images")
        with np.load(path, allow_pickle=False) as arrays:
            images, features = (torch.from_numpy(arrays[name].astype(np.float32)) for name in ("images", "features"))
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        rule = f"an npz file with the arrays images and features ({error})"
        raise UserError.about("--against", str(path), rule, "numpy.savez(FILE, images=..., features=...)") from None
    if images.ndim != 4 or not 2 <= features.ndim <= 4 or len(images) != len(features) or len(images) < 2:
        shapes = f"images {list(images.shape)}, features {list(features.shape)}"
        rule = "images [N, C, H, W] and features [N, ...] of the same N, at least 2"
        raise UserError.about(str(path), shapes, rule, "write the arrays again")
    return Witness(path.name, lambda _: features, images=images)
