"""What an encoder is (architecture, stage, weights' sha256) and how an exported one lies on disk.

An export is a folder with `manifest.json` and `encoder.safetensors`, in timm's key layout without a head.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, JsonValue, field_validator

from benchmarks.config import RECIPES, Config, find_recipe, recipe_names, validate
from benchmarks.config_errors import first_own_error
from benchmarks.encoder_arguments import check_arguments
from benchmarks.errors import UserError, did_you_mean
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.files.json_files import parse_json, read_json
from benchmarks.files.regular import regular, regular_stat
from benchmarks.files.yaml_files import read_yaml
from benchmarks.history import History, TrainingData, pretraining_data

if TYPE_CHECKING:
    from torch import Tensor

TrainedStage = Literal["self-supervised", "supervised", "fine-tuned"]
InitStage = Literal["random", TrainedStage]
RAW_PIXELS = "python:benchmarks.families.pixels:raw"
"""The one encoder of a Python function that is known to have no weights, and so needs no stage."""
WindowSize = int | tuple[int, int]
"""The side of a square window in patches, or the rows and columns of another."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey that Pillow makes of them: ITU-R BT.601."""
MANIFEST = "manifest.json"
WEIGHTS = "encoder.safetensors"
LARGEST_HEADER_BYTES = 2**26
AGAIN = "export it again from the run's last checkpoint: submit its pipeline again, or repeat the run's command"


class Architecture(Config):
    """A timm model name and the arguments that differ from its defaults."""

    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    norm_eps: float | None = None
    """The eps of all LayerNorms, where it is not timm's own; timm takes no argument for it, so it is set afterwards."""

    @field_validator("arguments")
    @classmethod
    def _shape_the_model(cls, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        _check_once(json.dumps(arguments))
        return arguments

    @property
    def in_chans(self) -> int:
        value = self.arguments.get("in_chans", 3)
        return value if isinstance(value, int) else 3

    def at_size(self, image_size_px: int) -> Architecture:
        """Return the same architecture built for another image size."""
        return self.with_arguments(img_size=image_size_px)

    def with_arguments(self, **arguments: JsonValue) -> Architecture:
        """Return the same architecture with these arguments of timm's. Raises what `check_arguments` raises."""
        check_arguments(arguments)
        return self.model_copy(update={"arguments": {**self.arguments, **arguments}})


@lru_cache(maxsize=1024)
def _check_once(arguments: str) -> None:
    """Raise what `check_arguments` raises, for arguments as JSON; many records have those of one model."""
    check_arguments(json.loads(arguments))


class CodeUse(Config):
    """The code of a person's own encoder."""

    module: str
    factory: str
    version: str | None
    """Of the package that the module lies in; None where that states none."""
    source_sha256: str
    """The sha256 (hex) of the source files of the factory and of the model's class."""


class EncoderManifest(Config):
    """An exported encoder: enough to rebuild it, to judge it, and to prove that its weights are the same."""

    schema_version: Literal[1] = 1
    architecture: Architecture
    image_size_px: int
    patch_size_px: int
    window_size: WindowSize | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Per-channel normalisation the encoder was trained with, on a 0 to 1 scale."""
    method: str
    """How it was trained: simmim, supervised, ..."""
    init_stage: InitStage
    epochs: int | None
    """Epochs of training, those of earlier pretrainings that it continues included; None where one does not say."""
    recipe: str
    recipe_digest: str
    sha256: str
    """The sha256 (hex) of the weights file."""
    parents: tuple[str, ...] = ()
    """Run ids that led to this encoder, nearest last."""
    history: History | None = None
    """Every training that led to this encoder, so that no other run is needed; None in exports of earlier versions."""
    code: CodeUse | None = None
    """The code that the encoder was trained in, where that is a person's own."""

    @property
    def pretraining_data(self) -> tuple[TrainingData, ...] | None:
        """What it was trained on, stage by stage; None where one stage's data are not known."""
        return None if self.history is None else pretraining_data(self.history)


def find_architecture(name: str) -> Architecture:
    """Return the named architecture of `recipes/encoders/` or of a YAML file, or else `name` as a timm model name."""
    if name in recipe_names("encoders") or name.endswith((".yaml", ".yml")):
        return validate(Architecture, read_yaml(find_recipe("encoders", name)), f"encoder {name}")
    return Architecture(name=name)


def plain_window(window: Sequence[int]) -> WindowSize:
    """Return one number for a square window, rows and columns for any other."""
    rows, columns = window
    return rows if rows == columns else (rows, columns)


def windows_as_json(windows: Iterable[Sequence[int]]) -> JsonValue:
    """Return windows as timm's arguments: a number, or rows and columns, for each stage."""
    return [list(w) if isinstance(w := plain_window(window), tuple) else w for window in windows]


def misfit(starts_from: Sequence[str] | None, stage: InitStage) -> str | None:
    """Return the mark of a training whose recipe is for encoders of other stages; None where it fits.

    `starts_from` is the recipe's own field; None: it is for any encoder.
    """
    if starts_from is None or stage in starts_from:
        return None
    if stage == "random":
        return "trained by a fine-tuning recipe"
    if list(starts_from) == ["random"]:
        return "trained by a recipe for random weights"
    return f"trained by a recipe for {' or '.join(starts_from)} encoders"


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, on a 0 to 1 scale."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    stated_by: str = field(default="", compare=False)
    """What states it, in words; empty where nothing needs to know."""

    def for_channels(self, channels: int) -> Normalisation:
        """Return the normalisation of the same images with another number of channels.

        That of grey images is the colours', weighted as Pillow weights them: exact for the mean, and for the standard
        deviation where channels rise and fall together. Each colour takes that of grey images.
        """
        if len(self.mean) == channels:
            return self
        weights = LUMA if len(self.mean) == len(LUMA) else (1 / len(self.mean),) * len(self.mean)
        mean, std = (sum(w * v for w, v in zip(weights, values, strict=True)) for values in (self.mean, self.std))
        return Normalisation((mean,) * channels, (std,) * channels, self.stated_by)


def assumed_normalisation(channels: int) -> Normalisation:
    """Return the normalisation where none is stated: ImageNet's for three channels, else 0.5."""
    if channels == len(IMAGENET_MEAN):
        return Normalisation(IMAGENET_MEAN, IMAGENET_STD, "assumed: ImageNet's, as nothing states another")
    return Normalisation((0.5,) * channels, (0.5,) * channels, "assumed: 0.5, as nothing states another")


def write_encoder(folder: Path, weights: dict[str, Tensor], **fields: Any) -> EncoderManifest:
    """Write weights and manifest to `folder`; `fields` are the manifest's, without `sha256`.

    The manifest is written last: a folder with a manifest is whole.
    """
    from safetensors.torch import save

    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in sorted(weights.items())})
    manifest = EncoderManifest(sha256=hashlib.sha256(data).hexdigest(), **fields)
    make_folder(folder)
    write_atomically(folder / WEIGHTS, data)
    write_atomically(folder / MANIFEST, manifest.model_dump_json(indent=2).encode())
    return manifest


def read_manifest(folder: Path) -> EncoderManifest:
    """Read an export's manifest. Raises UserError when it is missing, damaged or newer than this program."""
    path = folder / MANIFEST
    try:
        return EncoderManifest.model_validate_json(json.dumps(read_json(path)))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError.about("encoder", str(folder), f"a folder with {MANIFEST}", AGAIN) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        if own := first_own_error(error):
            raise UserError(f"{path}: {own}") from None
        first = str(error).splitlines()[0]
        raise UserError.about(str(path), "(damaged)", "an encoder manifest", f"{AGAIN} ({first})") from None


def read_encoder(folder: Path) -> tuple[EncoderManifest, dict[str, Tensor]]:
    """Read an export and prove its weights: UserError for a file whose sha256 is not the manifest's."""
    from safetensors.torch import load

    manifest = read_manifest(folder)
    return manifest, load(_proven(folder, manifest))


def _proven(folder: Path, manifest: EncoderManifest) -> bytes:
    """Return the weights file's bytes. Raises UserError where they are not those of the manifest."""
    path = folder / WEIGHTS
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError.about("encoder", str(path), "a file that exists", AGAIN) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.sha256:
        rule = f"the sha256 of its manifest ({manifest.sha256[:12]}...): the file changed"
        raise UserError.about(f"sha256 of {path}", found[:12] + "...", rule, AGAIN)
    return data


def damage_of(folder: Path, sha256: str, by_content: bool = False) -> str | None:
    """Return what is wrong with the export of a run whose record gives this sha256; None where nothing is.

    The weights are read only `by_content`; else their length must be what their header says.
    """
    try:
        manifest = read_manifest(folder)
        if manifest.sha256 != sha256:
            return f"{folder / MANIFEST} is of another encoder than its run's record"
        if by_content:
            _proven(folder, manifest)
            return None
        length, size = _stated_length(folder / WEIGHTS), regular_stat(folder / WEIGHTS).st_size
    except UserError as error:
        return str(error).splitlines()[0]
    except OSError as error:
        return f"{folder / WEIGHTS}: {(error.strerror or str(error)).lower()}"
    except ValueError:
        return f"{folder / WEIGHTS} has no header of weights"
    return None if size == length else f"{folder / WEIGHTS} has {size:,} bytes instead of {length:,}"


def _stated_length(path: Path) -> int:
    """Return how many bytes a safetensors file has by its own header. Raises ValueError where that is none."""
    with regular(path).open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        header = parse_json(file.read(min(header_bytes, LARGEST_HEADER_BYTES)))
    try:
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (AttributeError, KeyError, TypeError, IndexError):
        raise ValueError("no header") from None
    return 8 + header_bytes + max(ends, default=0)


def _unreadable(path: Path, error: OSError) -> UserError:
    what = (error.strerror or str(error)).lower()
    return UserError.about(str(path), what, "a readable file of an exported encoder", AGAIN)


def unknown_architecture(name: str, timm_names: list[str]) -> UserError:
    """Return the error for an architecture that neither this program nor timm knows."""
    named = sorted(path.stem for path in (RECIPES / "encoders").glob("*.yaml"))
    hint = did_you_mean(name, named + timm_names).split("Known:")[0] or "`mimbench list encoders` shows ours. "
    return UserError.about("architecture", name, "a named encoder of mimbench or a timm model", hint.strip())
