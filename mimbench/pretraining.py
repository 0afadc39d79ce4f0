"""`mimbench.pretrain`, which gives one room a function of another; the verb `pretrain` is made of the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.encoders import TrainedStage
from benchmarks.text.progress import shown
from benchmarks.verbs.command import RUNS, Placing
from benchmarks.verbs.overrides import Overrides, override_texts, path_text
from benchmarks.verbs.result import RunResult
from benchmarks.verbs.statement import EncoderStatement
from mimbench.command import LENT, when_called
from pretrain.api import AskedPretraining


def pretrain(
    recipe: str | Path,
    *,
    data: str | Path | None = None,
    overrides: Overrides = (),
    seed: int = 0,
    runs: str | Path = RUNS,
    initial: str | Path | None = None,
    with_head: bool = False,
    stage: TrainedStage | None = None,
    architecture: str | None = None,
    epoch: int | None = None,
    pretrained_on: str | None = None,
    weights: str | None = None,
    prefix: str | None = None,
    allow_implausible_weights: bool = False,
    until: float | None = None,
    progress: bool = True,
) -> RunResult:
    """Pretrain an encoder by SimMIM on images, and return the completed run, whose `encoder` is the export's folder.

    The arguments are the options of `mimbench pretrain`: `recipe` is a recipe's name or a YAML file, `data` is the
    recipe's `data.root`, `overrides` set any field of the recipe, and `initial` is the encoder to go on from, which
    those from `with_head` to `allow_implausible_weights` describe. The same call again continues an unfinished run from
    its last checkpoint, and returns a finished one at once. Ctrl-C saves the state and raises Stopped; so does `until`,
    a share of the training, with Paused. Without `progress` nothing is printed: what would have been is the result's
    `messages`.
    """
    asked = AskedPretraining(
        str(recipe),
        overrides=override_texts(overrides, data),
        placing=Placing(seed, Path(path_text("runs", runs))),
        initial=None if initial is None else path_text("initial", initial),
        with_head=with_head,
        said=EncoderStatement(
            stage=stage,
            architecture=architecture,
            epoch=epoch,
            pretrained_on=pretrained_on,
            weights=weights,
            prefix=prefix,
            allow_implausible_weights=allow_implausible_weights,
        ),
        until=until,
    )
    with shown(progress) as kept:
        result = asked.run(when_called(*LENT["pretrain"]))
    return replace(result, messages=kept.getvalue())
