"""Colours that stand for all others: fitted to images by k-means, kept as JSON. Source: iGPT's colour clusters."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from benchmarks.config import Config
from benchmarks.errors import UserError, WorkFailed
from benchmarks.training import Share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIXELS_PER_IMAGE = 256


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


def draw_pixels(files: list[Path], mode: str, side_px: int, seed: int) -> NDArray[np.float32]:
    """Return pixels [N, C] of 0 to 1 from all images that can be read; the others are named on stderr.

    An image is shrunk to side_px x side_px, so that its pixels are means, as a coarser target's are; 256 are drawn
    from each. Raises WorkFailed where no image can be read.
    """
    import numpy as np
    from PIL import Image

    from benchmarks.engine.samples.unreadable import UNREADABLE
    from benchmarks.engine.watch.progress import ProgressReport
    from benchmarks.files.pictures import open_picture
    from benchmarks.files.pixels import upright_pixels
    from benchmarks.files.regular import regular

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


def choose(files: list[Path], images: int, seed: int) -> list[Path]:
    """Return at most `images` of the files, drawn without replacement, in their old order."""
    return files if len(files) <= images else sorted(random.Random(seed).sample(files, images))
