"""Colours that stand for all others: fitted to images by k-means and kept as JSON, or iGPT's published ones."""

from __future__ import annotations

import json
import random
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from benchmarks.config import Config
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.regular import regular_stat
from benchmarks.training.numbers import Share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIXELS_PER_IMAGE = 256
MOST_BYTES = 2**20
"""The largest file of published colours; iGPT's has about 6 kB."""
ROUNDING = 1e-6
"""How far published colours may lie outside of -1 to 1."""


class Palette(Config):
    """A palette and what it was fitted to."""

    schema_version: Literal[1] = 1
    colours: Annotated[tuple[tuple[Share, ...], ...], Field(min_length=2)]
    """The colours, each a value per channel on a scale of 0 to 1."""
    images: int
    """The number of images it was fitted to, drawn from those of `data`."""
    data: str
    """Fingerprint of the folder's images."""
    side_px: int
    """Images were shrunk to this side before pixels were drawn."""
    seed: int

    @property
    def channels(self) -> int:
        return len(self.colours[0])


Colours = tuple[tuple[float, ...], ...]
"""A colour for each entry, with a value per channel on a scale of 0 to 1."""


def read_colours(path: Path) -> Colours:
    """Read the colours of a palette, or iGPT's of a `.npy` file. Raises UserError for a file that is neither."""
    return read_published(path) if path.suffix == ".npy" else read_palette(path).colours


def read_published(path: Path) -> Colours:
    """Read iGPT's colour clusters, an array [K, 3] float of -1 to 1: `kmeans_centers.npy` of openai/image-gpt.

    The published file has 512 of them. A value v is the level 127.5 * (v + 1) of 255 (`src/run.py` there). Nothing
    pickled is read. Raises UserError for a file with other content.
    """
    import numpy as np

    try:
        if (size := regular_stat(path).st_size) > MOST_BYTES:
            raise _not_published(f"{path} ({size / 1e6:.1f} MB)")
        found = np.load(path, allow_pickle=False)
    except OSError as error:
        raise _not_published(f"{path} ({(error.strerror or str(error)).lower()})") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _not_published(f"{path} ({str(error).splitlines()[0]})") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.ndim != 2:
        raise _not_published(f"{path} ({getattr(found, 'dtype', 'archive')} {list(getattr(found, 'shape', ()))})")
    if found.shape[1] != 3 or len(found) < 2:
        raise _not_published(f"{path} ({list(found.shape)})")
    if not np.isfinite(found).all() or abs(found).max() > 1 + ROUNDING:
        raise _not_published(f"{path} (from {found.min():g} to {found.max():g})")
    return tuple(tuple(map(float, row)) for row in ((found.astype(np.float64) + 1) / 2).clip(0, 1))


def _not_published(shown: str) -> UserError:
    rule = "an array [K, 3] of numbers from -1 to 1 with 2 or more rows, as iGPT's kmeans_centers.npy is"
    remedy = "download that file again, or fit a palette with `mimbench palette FOLDER --out FILE`"
    return UserError.about("target.palette", shown, rule, remedy)


def read_palette(path: Path) -> Palette:
    """Read a palette. Raises UserError where the file is missing or not one."""
    remedy = "fit one with `mimbench palette FOLDER --out FILE`"
    try:
        palette = Palette.model_validate_json(path.read_bytes())
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise UserError.about("target.palette", f"{path} ({what})", "a palette", remedy) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise UserError.about("target.palette", f"{path} ({where}: {first['msg']})", "a palette", remedy) from None
    if len({len(colour) for colour in palette.colours}) != 1 or not palette.channels:
        raise UserError.about("target.palette", str(path), "equally many values in every colour", remedy)
    return palette


def to_json(palette: Palette) -> bytes:
    """Return the file's text: one colour per line."""
    fields = palette.model_dump(mode="json")
    colours = ",\n  ".join(json.dumps(colour) for colour in fields.pop("colours"))
    rest = "".join(f",\n {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items())
    return f'{{"colours": [\n  {colours}\n ]{rest}}}\n'.encode()


def draw_pixels(files: Sequence[Path], mode: str, side_px: int, seed: int) -> NDArray[np.float32]:
    """Return pixels [N, C] of 0 to 1 from all images that can be read; the others are named on stderr.

    An image is shrunk to side_px x side_px, so that its pixels are means, as a coarser target's are; 256 are drawn
    from each. Raises WorkFailed where no image can be read.
    """
    import numpy as np
    from PIL import Image

    from benchmarks.engine.samples.unreadable import UNREADABLE
    from benchmarks.files.pictures import open_picture
    from benchmarks.files.pixels import upright_pixels
    from benchmarks.files.regular import regular
    from benchmarks.text.progress import ProgressReport

    chance, drawn = np.random.default_rng(seed), []
    with ProgressReport("palette", len(files), "image") as report:
        for done, file in enumerate(files, start=1):
            try:
                with open_picture(regular(file)) as image:
                    image.draft(mode, (side_px, side_px))  # a JPEG's decoder can do most of the shrinking
                    small = upright_pixels(image, mode).resize((side_px, side_px), Image.Resampling.BOX)
            except UNREADABLE as error:
                print(f"unreadable image skipped: {file}: {error}", file=sys.stderr)
                continue
            found = np.asarray(small, dtype=np.float32).reshape(side_px**2, -1) / 255
            drawn.append(found[chance.choice(len(found), min(PIXELS_PER_IMAGE, len(found)), replace=False)])
            report.show(done)
    if not drawn:
        raise WorkFailed("none of the images could be read\n  remedy: repair or remove the files named above")
    return np.concatenate(drawn)


def fit_colours(pixels: NDArray[np.float32], colours: int, seed: int) -> tuple[tuple[float, ...], ...]:
    """Return `colours` colours by mini-batch k-means, darkest first. Raises UserError where the pixels have fewer."""
    import numpy as np
    from sklearn.cluster import MiniBatchKMeans

    different = len(np.unique(pixels, axis=0))
    if different < colours:
        rule = f"at most the number of different colours drawn ({different})"
        raise UserError.about("--colours", colours, rule, "fewer colours, or more images")
    means = MiniBatchKMeans(colours, batch_size=4096, n_init=3, random_state=seed).fit(pixels).cluster_centers_
    return tuple(sorted((tuple(map(float, mean.clip(0, 1))) for mean in means), key=sum))


def choose(files: Sequence[Path], images: int, seed: int) -> Sequence[Path]:
    """Return at most `images` of the files, drawn without replacement, in their old order."""
    return files if len(files) <= images else sorted(random.Random(seed).sample(files, images))
