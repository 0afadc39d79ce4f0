"""A pretraining as it is asked for, by `mimbench.pretrain` or by the verb: a recipe and a data folder in, a run out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks import plugins
from benchmarks.config import Recipe, load_recipe
from benchmarks.errors import UserError
from benchmarks.runs.identity import pretraining_id
from benchmarks.verbs.command import Placing, Work, as_arguments, claim, command_line, require_root
from benchmarks.verbs.initial import FindInitial, InitialEncoder
from benchmarks.verbs.result import RunResult
from benchmarks.verbs.statement import EncoderStatement
from pretrain.recipe import PretrainRecipe


@dataclass(frozen=True)
class AskedPretraining:
    """A pretraining as a person asks for it; the fields are the options of `mimbench pretrain`."""

    recipe: str
    overrides: tuple[str, ...]
    placing: Placing
    initial: str | None = None
    with_head: bool = False
    said: EncoderStatement = EncoderStatement()
    """What a person says of `initial`."""
    until: float | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """The command that asks for the same."""
        options = {"initial": self.initial, **self._of_initial}
        return command_line("pretrain", [self.recipe], options, self.overrides, self.placing)

    @property
    def _of_initial(self) -> dict[str, object]:
        """The options that say more of what `initial` names."""
        return {**self.said.options, **({"with_head": True} if self.with_head else {})}

    def resolved(self) -> Recipe[PretrainRecipe]:
        """Return the recipe with its overrides. Raises UserError for a wrong one."""
        return load_recipe(PretrainRecipe, "pretrain", self.recipe, self.overrides)

    def run(self, find_initial: FindInitial) -> RunResult:
        """Pretrain, unless that is done already; return the run."""
        plugins.begin()
        recipe = self.resolved()
        _check_pause(self.until, recipe.config)
        from pretrain.run.image_files import find_images  # NumPy, which the above needs not

        root = require_root(recipe.config.data.root)
        found = find_images(recipe.config, root)
        initial = self._initial(find_initial)
        digest, target = recipe.config.identity_digest(), recipe.config.target.content_digest()
        sha256 = None if initial is None else initial.use.sha256
        images, seed = str(found.fingerprint), self.placing.seed
        identity = pretraining_id(recipe.name, digest, images, seed, target, sha256, with_head=self.with_head)
        work = claim(self.command, self.placing, recipe, root, found.fingerprint, identity)
        if isinstance(work, RunResult):
            return work
        work = _as_begun(work)
        from pretrain.run.start import Start  # torch, only now that there is work
        from pretrain.run.train import pretrain

        start = None if initial is None else Start(initial, self.with_head)
        return RunResult(work.folder.path, pretrain(work, found, start, self.until))

    def _initial(self, find_initial: FindInitial) -> InitialEncoder | None:
        """Return what `initial` names; None without it. Raises UserError for other options that do not fit it."""
        if self.initial is not None:
            if self.with_head and self.said.epoch is not None:
                remedy = "leave one of the two out"
                raise UserError.about(
                    "--with-head", True, "without --epoch: only the last epoch's head is kept", remedy
                )
            return find_initial(self.initial, self.said)
        for name, value in self._of_initial.items():
            rule = "given beside --initial, whose encoder it describes"
            raise UserError.about(as_arguments({name: value})[0], value, rule, "add --initial REF, or leave it out")
        return None


def _as_begun(work: Work[PretrainRecipe]) -> Work[PretrainRecipe]:
    """Let a run that goes on take the steps it began with, plain ones where it was begun before there were others."""
    earlier = work.folder.earlier()
    if earlier is None or any(each.startswith("training.fast_step=") for each in work.recipe.overrides):
        return work
    training = earlier.recipe.resolved.get("training")
    fast = isinstance(training, dict) and training.get("fast_step") is True
    config = work.config.model_copy(update={"training": work.config.training.model_copy(update={"fast_step": fast})})
    return replace(work, recipe=replace(work.recipe, config=config))


def _check_pause(until: float | None, recipe: PretrainRecipe) -> None:
    if until is None:
        return
    if not 0 < until < 1:
        raise UserError.about("--until", until, "a share of the training above 0 and below 1", "--until 0.1")
    if recipe.validation is None:
        rule = "given with held-out images, whose loss is measured there"
        raise UserError.about("--until", until, rule, "add validation.share=0.05, or leave --until out")
