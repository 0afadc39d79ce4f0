"""A pipeline file becomes a graph of stages; each stage is one command line of mimbench."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from benchmarks.catalogue.starts import default_recipe
from benchmarks.catalogue.tasks import find_task
from benchmarks.config import RECIPES, Config, PathText, find_recipe
from benchmarks.verbs.command import as_arguments
from benchmarks.verbs.statement import EncoderStatement
from slurm.graph.entries import Finetune, Pretrain, Source, Work
from slurm.graph.pipeline import PipelineFile
from slurm.graph.sweep import members, without_sweeps
from transfer.sources.references import random_architecture

REPORT = "report"
ANNOUNCE = "--announce"
PRODUCT = "report/leaderboard.txt"


class Stage(Config):
    """One command, what it needs first, and what proves that it is done.

    A stage that announces a run is done when that run's record says `completed`; one that does not is done when it
    ended with exit code 0 and its product exists.
    """

    name: str
    argv: tuple[str, ...]
    needs: tuple[str, ...] = ()
    after: Literal["success", "any"] = "success"
    """`success`: starts when all its needs are completed. `any`: starts when they have ended, however they did."""
    announces: bool = False
    """Whether its verb writes the file `PipelineFolder.announcement`, which names the run's folder."""
    product: PathText | None = None
    """A file that the command leaves behind, relative to the pipeline's folder."""
    recipe_file: PathText | None = None
    """The recipe that it reads: once that is edited, the stage is not done. The program's own recipes are named
    relative to their folder."""
    until: float | None = None
    """Of a stage that trains to a rung alone: the share of the training at which its run pauses."""
    rung: str | None = None
    """The stage whose decision says whether this one is done at all; None where that does not depend on any."""
    decides: bool = False
    """Whether it is a rung, whose product is a decision."""
    seeds_of: str | None = None
    """The beginning of its name that it shares with the stages that differ from it in nothing but the seed."""

    @property
    def member(self) -> str:
        """What a rung calls the pretraining that this stage is a part of."""
        return self.name.removeprefix("pretrain.").partition("@")[0]

    @property
    def trains(self) -> bool:
        """Whether it makes a run, in several processes and on GPUs where there are any, as opposed to a report."""
        return self.announces

    @property
    def command(self) -> list[str]:
        return ["mimbench", *self.argv]


class Pipeline(Config):
    """The graph: stages in an order in which every stage comes after what it needs."""

    id: str
    stages: tuple[Stage, ...]

    @cached_property
    def by_name(self) -> dict[str, Stage]:
        return {stage.name: stage for stage in self.stages}

    def stage(self, name: str) -> Stage:
        return self.by_name[name]

    def children(self, name: str) -> list[Stage]:
        return [stage for stage in self.stages if name in stage.needs]


def recipe_name(work: Work, task: str, source: Source) -> str:
    """Return the recipe by which a task trains an encoder: the one that is named, or the task's for what starts."""
    return work.recipe or default_recipe(find_task(task), random_architecture(source.ref or ""))


def expand(file: PipelineFile, folder: Path, runs: Path) -> Pipeline:
    """Return the graph of `file`: what is trained first, then encoders x tasks x seeds, then the report.

    `folder` is the pipeline's folder, `runs` where runs lie; the file must have passed `find_mistakes`.
    """
    sweep_of = {
        member: name for name, entry in file.pretrain.items() if entry.rungs for member, _ in members(name, entry)
    }
    file, build = without_sweeps(file), _Builder(folder, runs)
    first = list(_first(file, sweep_of, build))
    transfers = [
        build.transfer(
            f"{name}.{encoder}.seed{seed}", file.label(encoder), source, file.task(name), work, seed
        ).model_copy(update={"seeds_of": f"{name}.{encoder}"})
        for name, work in file.tasks.items()
        for encoder, source in file.encoders_of(name).items()
        for seed in file.seeds
    ]
    report = build.report(file.baseline, [stage.name for stage in transfers])
    return Pipeline(id=file.id, stages=(*_same_work_in_turn([*first, *transfers]), report))


def _first(file: PipelineFile, sweep_of: Mapping[str, str], build: _Builder) -> Iterator[Stage]:
    """Yield the stages of `pretrain` and `finetune`; `sweep_of` names the sweep of each member of one with rungs."""
    for entry in _chain_order(file):
        sweep = sweep_of.get(entry.removeprefix("pretrain."))
        if sweep is None:
            yield build.first(file, entry)
            continue
        together = [member for member, its in sweep_of.items() if its == sweep]
        if entry == f"pretrain.{together[0]}":  # all start from the same, so that none of them comes later
            whole = [build.first(file, f"pretrain.{member}") for member in together]
            pretrain = file.pretrain[together[0]]
            assert pretrain.rungs is not None
            assert pretrain.keep is not None, "both are given together"
            yield from build.by_rungs(sweep, whole, pretrain.rungs, pretrain.keep)


def decision_of(rung: str) -> str:
    """Return the file that a rung leaves, relative to the pipeline's folder."""
    return f"rungs/{rung.removeprefix('rung.')}.json"


def rung_stage(sweep: str, share: float) -> str:
    """Return the name of the stage that compares the members of a sweep."""
    return f"rung.{sweep}@{share}"


def part_until(stage: str, share: float) -> str:
    """Return the name of the stage that trains a member to a rung."""
    return f"{stage}@{share}"


def arrays(stages: Iterable[Stage], size: int = sys.maxsize) -> Iterator[list[Stage]]:
    """Yield stages in their order, at most `size` together: those that differ in nothing but the seed."""
    for _, alike in itertools.groupby(stages, key=lambda stage: (stage.seeds_of or stage.name, stage.needs)):
        while some := list(itertools.islice(alike, size)):
            yield some


def _same_work_in_turn(stages: list[Stage]) -> Iterator[Stage]:
    """Yield the stages, letting one that repeats another's work wait for it: a run has one process at a time.

    Training a supervised baseline is the same run as measuring that encoder on the same task.
    """
    first_with: dict[tuple[object, ...], str] = {}
    for stage in stages:  # what a rung may end does no other's work
        first = first_with.setdefault((stage.rung, *work_of(stage)), stage.name)
        yield stage if first == stage.name else stage.model_copy(update={"needs": (*stage.needs, first)})


def work_of(stage: Stage) -> tuple[str, ...]:
    """Return the command without the options that only name it."""
    argv = list(stage.argv)
    for option in ("--label", ANNOUNCE):
        if option in argv:
            at = argv.index(option)
            del argv[at : at + 2]
    return tuple(argv)


def announced_by(stage: Stage) -> str:
    """Return the file in which a stage that makes a run says where that lies, as its command names it."""
    return stage.argv[stage.argv.index(ANNOUNCE) + 1]


def _chain_order(file: PipelineFile) -> list[str]:
    """Return the entries of `pretrain` and `finetune` by these sections' names, each after the one it starts from."""
    order: list[str] = []
    starts = file.started_from()

    def place(entry: str) -> None:
        parent = starts[entry].from_ if entry in starts else None
        if parent is not None and parent not in order:
            place(parent)
        if entry not in order:
            order.append(entry)

    for entry in [*(f"pretrain.{name}" for name in file.pretrain), *(f"finetune.{name}" for name in file.finetune)]:
        place(entry)
    return order


def _needs(source: Source | None) -> tuple[str, ...]:
    return () if source is None or source.from_ is None else (source.from_,)


class _Builder:
    """Writes command lines for one pipeline folder."""

    def __init__(self, folder: Path, runs: Path) -> None:
        self.folder = folder
        self.runs = runs

    def first(self, file: PipelineFile, entry: str) -> Stage:
        """Return the stage of an entry of `pretrain` or `finetune`."""
        section, _, name = entry.partition(".")
        if section == "pretrain":
            return self.pretrain(name, file.pretrain[name], file.export_epochs(name))
        return self.finetune(name, file.finetune[name])

    def pretrain(self, name: str, entry: Pretrain, export_epochs: list[int]) -> Stage:
        if export_epochs:
            entry = entry.model_copy(update={"overrides": (*entry.overrides, f"export_epochs={export_epochs}")})
        head, initial = ["pretrain", entry.recipe], entry.initial
        if initial is not None:
            head += ["--initial", *self._encoder(initial), *(["--with-head"] if initial.head else [])]
        needs = _needs(initial)
        return self._stage(f"pretrain.{name}", head, "pretrain", entry.recipe, entry, entry.seed, needs)

    def by_rungs(self, sweep: str, whole: Sequence[Stage], rungs: Sequence[float], keep: float) -> Iterator[Stage]:
        """Yield the stages of a sweep with rungs, of whose members `whole` would train each to its end at once."""
        rung: str | None = None
        parts = list(whole)
        for share in rungs:
            trained = [self._part(stage, before, rung, share) for stage, before in zip(whole, parts, strict=True)]
            yield from trained
            before_it, rung, parts = rung, rung_stage(sweep, share), trained
            yield self._rung(rung, before_it, trained, share, keep)
        for stage, before in zip(whole, parts, strict=True):
            yield stage.model_copy(update={"needs": (before.name, rung), "rung": rung})

    def _part(self, whole: Stage, before: Stage, rung: str | None, share: float) -> Stage:
        """Return the stage that trains to a rung, after the stage `before` and the rung before it, if any."""
        name = part_until(whole.name, share)
        argv = list(whole.argv)
        argv[argv.index(ANNOUNCE) + 1] = str(self._announcement(name))
        argv[argv.index(ANNOUNCE) : argv.index(ANNOUNCE)] = ["--until", str(share)]
        needs = whole.needs if rung is None else (before.name, rung)
        return whole.model_copy(
            update={"name": name, "argv": tuple(argv), "needs": needs, "until": share, "rung": rung}
        )

    def _rung(self, name: str, before: str | None, parts: Sequence[Stage], share: float, keep: float) -> Stage:
        argv = ["rung", "--share", str(share), "--keep", str(keep), "--out", str(self.folder / decision_of(name))]
        argv += ["--after", str(self.folder / decision_of(before))] if before is not None else []
        for part in parts:
            argv += ["--member", part.member, str(self._announcement(part.name))]
        needs = tuple(part.name for part in parts)
        return Stage(name=name, argv=tuple(argv), needs=needs, after="any", product=decision_of(name), decides=True)

    def finetune(self, name: str, entry: Finetune) -> Stage:
        return self.transfer(f"finetune.{name}", f"{name} (training)", entry.encoder, entry.task, entry, entry.seed)

    def transfer(self, name: str, label: str, source: Source, task: str, work: Work, seed: int) -> Stage:
        recipe = recipe_name(work, task, source)
        head = ["transfer", task, "--encoder", *self._encoder(source), "--recipe", recipe]
        return self._stage(name, [*head, "--label", label], "transfer", recipe, work, seed, _needs(source))

    def report(self, baseline: str, needs: Iterable[str]) -> Stage:
        out = self.folder / REPORT
        argv = [
            *["report", "leaderboard", str(self.folder / "stages")],
            *["--baseline", baseline, "--out", str(out)],
        ]
        return Stage(name=REPORT, argv=tuple(argv), needs=tuple(needs), after="any", product=PRODUCT)

    def _encoder(self, source: Source) -> list[str]:
        """Return an encoder's reference, and the options that say more of it."""
        encoder = source.ref if source.from_ is None else str(self._announcement(source.from_))
        assert encoder is not None
        return [encoder, *as_arguments(EncoderStatement.of(source).options)]

    def _announcement(self, stage: str) -> Path:
        return self.folder / "stages" / f"{stage}.json"

    def _stage(
        self,
        name: str,
        head: list[str],
        recipes: str,
        recipe: str,
        work: Work,
        seed: int,
        needs: tuple[str, ...],
    ) -> Stage:
        announce = str(self._announcement(name))
        argv = [*head, "--seed", str(seed), "--runs", str(self.runs), ANNOUNCE, announce]
        found = find_recipe(recipes, recipe).resolve()
        recipe_file = str(found.relative_to(RECIPES) if found.is_relative_to(RECIPES) else found)
        return Stage(name=name, argv=(*argv, *work.all_overrides), needs=needs, announces=True, recipe_file=recipe_file)
