"""A finished run as the transfer that it was, from its record; and the test sets that are to be added to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.catalogue.task import Task
from benchmarks.config import Recipe, apply_overrides, schema_for, validate
from benchmarks.encoders import MANIFEST, Normalisation
from benchmarks.errors import UserError
from benchmarks.runs.environment import found_again, with_roots_found
from benchmarks.runs.folder import RunFolder
from benchmarks.runs.record import AddedTestSet, DataUse, RunRecord
from benchmarks.verbs.command import Work
from benchmarks.verbs.statement import EncoderStatement
from transfer.adapter import Adapter, Data, Transfer
from transfer.evaluate.finished import Wanted
from transfer.predictions.results import MASKED
from transfer.sources.references import resolve
from transfer.sources.source import Source

TEST_SETS, SUITES = "data.test_sets.", "data.suites."


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A completed transfer whose model is to be scored."""

    folder: RunFolder
    record: RunRecord
    task: Task
    adapter: Adapter

    def config(self, overrides: Sequence[str] = ()) -> Any:
        """Return the recorded recipe with `overrides`. Raises UserError for a value that breaks a rule."""
        data = apply_overrides(with_roots_found(self.folder.path, self.record), overrides)
        return validate(schema_for(self.adapter.recipe, data), data, f"recipe of {self.folder.path}", overrides)

    def data(self, config: Any) -> Data:
        """Return the data that the run was completed on. Raises UserError where they are other ones."""
        data = self.adapter.find_data(self.task, config)
        if str(data.fingerprint) != self.record.data.fingerprint:
            rule = f"the data that the run was completed on ({self.record.data.fingerprint})"
            remedy = "data.root=FOLDER says where an unchanged copy lies; its score there proves the model"
            raise UserError.about(f"data in {data.root}", str(data.fingerprint), rule, remedy)
        return data

    def transfer(self, config: Any, reference: str | None, command: tuple[str, ...], data: Data) -> Transfer:
        """Return the transfer that was completed, on its own `data`.

        `reference` is where the encoder lies now, if not where the record says. Raises UserError where the encoder is
        another one.
        """
        record = self.record
        recipe = Recipe(record.recipe.name, config, record.recipe.overrides)
        work = Work(recipe, record.seed, data.root, data.fingerprint, self.folder, command)
        return Transfer(self.task, _source(self.folder, record, reference), work, data)

    def taken(self, name: str) -> list[AddedTestSet]:
        """Return what was added before under that name: one test set, perhaps scored in several ways."""
        return [added for added in self.record.added_test_sets if added.name == name]


def finished_run(reference: str, folder: Path, record: RunRecord, task: Task, adapter: Adapter) -> FinishedRun:
    """Return a run that can be evaluated. Raises UserError, saying why, for any other."""
    if record.kind != "transfer" or record.task is None or record.encoder is None:
        rule = "a run with a head, as `mimbench transfer` makes them (a pretraining has none)"
        raise UserError.about("--model", reference, rule, f"mimbench transfer {task.name} --encoder {reference}")
    if record.status != "completed":
        rule = f"a completed run (this one is {record.status}: {record.error or 'no error noted'})"
        raise UserError.about("--model", reference, rule, "finish that run: its command continues it")
    if (record.task.name, record.task.version) != (task.name, task.version):
        rule = f"the task of the run ({record.task.name}, version {record.task.version})"
        remedy = f"mimbench evaluate {record.task.name} --model {reference}"
        raise UserError.about("task", f"{task.name}, version {task.version}", rule, remedy)
    return FinishedRun(RunFolder(folder), record, task, adapter)


def read_own(run: FinishedRun, overrides: Sequence[str], name: str | None) -> Any:
    """Return the run's own recipe, with those of the overrides that say where its data lie or how to compute.

    Raises UserError for an override that would change what was trained or how it is tested.
    """
    further = (TEST_SETS, SUITES) if name is None else ("data.",)
    given = [override for override in overrides if not override.startswith(further)]
    own = run.config(given)
    if own.identity() != run.config().identity():
        at = " ".join(given)
        rule = f"fields of the test set ({further[0]}...), or of where and how to compute (training.device, ...)"
        remedy = "a model is scored by the recipe that trained it; train again for another one"
        raise UserError.about("override", at, rule, remedy)
    return own


def read_wanted(run: FinishedRun, own: Any, overrides: Sequence[str], name: str | None) -> list[Wanted]:
    """Return the test sets that are asked for and not yet on record.

    Raises UserError for a name that means another test set already, and for other classes than the model's.
    """
    given = tuple(overrides)
    config = run.config(overrides)
    if hasattr(config.data, "test_sets"):
        if name is not None:
            remedy = f"data.test_sets.{name}.root=FOLDER names it and says where it lies"
            raise UserError.about("--name", name, f"for tasks without data.test_sets ({run.task.name} has it)", remedy)
        names = [each for each in config.data.test_sets if each not in own.data.test_sets]
        _refuse_changed(config.data.test_sets, own.data.test_sets)
        found = []
        if names:
            data = run.adapter.find_data(run.task, config)
            found = [Wanted(each, data, _use(data, config, each), _about(each, given)) for each in names]
    elif name is None:
        found = []
    else:
        data = run.adapter.find_data(run.task, run.adapter.test_set_alone(config))
        images = len(data.test)
        mark = dataclasses.replace(data.fingerprint, images=images)  # which counts them as training data, too
        use = DataUse(root=str(data.root), fingerprint=str(mark), images=images)
        found = [Wanted(name, data, use, given)]
    return [each for each in found if not _is_there(run, each)]


def _about(name: str, overrides: Sequence[str]) -> tuple[str, ...]:
    return tuple(each for each in overrides if each.startswith((f"{TEST_SETS}{name}", SUITES)))


def _refuse_changed(wanted: Any, own: Any) -> None:
    for name in own:
        if wanted[name].identity() != own[name].identity():
            rule = "a name that the run's recipe has not used for another test set"
            raise UserError.about(f"data.test_sets.{name}", name, rule, "give the test set another name")


def _use(data: Any, config: Any, name: str) -> DataUse:
    sha256 = data.fingerprint.parts[f"test set {name}"]
    images = len(data.test_sets[name].images)
    root = config.data.test_sets[name].root or config.data.root
    return DataUse(root=str(root), fingerprint=f"{images} images, {sha256[:16]}", images=images)


def _is_there(run: FinishedRun, wanted: Wanted) -> bool:
    before = run.taken(wanted.name)
    for added in before:
        if added.data.fingerprint != wanted.use.fingerprint:
            rule = f"a name that means one test set ({wanted.name} is on record with {added.data.fingerprint})"
            raise UserError.about("test set", f"{wanted.name}: {wanted.use.fingerprint}", rule, "give it another name")
    return any(_among_some(added.scores) == _is_among_some(wanted) for added in before)


def _among_some(scores: Mapping[str, float]) -> bool:
    """Return whether predictions were made among some of the model's classes, which a score's name shows."""
    return any(name.endswith(MASKED) for name in scores)


def _is_among_some(wanted: Wanted) -> bool:
    test_set = getattr(wanted.data, "test_sets", {}).get(wanted.name)
    return test_set is not None and test_set.scored is not None


def require_classes(run: FinishedRun, own: Data, wanted: Sequence[Wanted]) -> None:
    """Raise UserError unless every test set has the model's classes, in their order."""
    known = own.classes
    for each in wanted:
        names = each.data.classes
        if names != known:
            strange = [name for name in names if name not in known] or [name for name in known if name not in names]
            value = f"{len(names)} in {each.name}" + (f", e.g. {strange[0]}" if strange else ", in another order")
            rule = f"the {len(known)} classes of the model's head ({', '.join(known[:4])}, ...), in their order"
            remedy = f"give {run.task.name} data with these classes, or train a head for others"
            raise UserError.about("classes", value, rule, remedy)


def _source(folder: RunFolder, record: RunRecord, reference: str | None) -> Source:
    """Return the encoder that the run started from, or in its place the one that it exported, which has its form.

    A run that froze its encoder has only its head in its checkpoint, so the encoder must be found again, unchanged.
    """
    assert record.encoder is not None, "only for transfers"
    use = record.encoder
    if reference is None and (folder.encoder / MANIFEST).is_file():
        exported = resolve(str(folder.encoder))
        built = use.model_copy(update={"architecture": exported.use.architecture})
        return dataclasses.replace(exported, use=built)
    stage = None if use.init_stage == "random" else use.init_stage
    said = dataclasses.replace(EncoderStatement.in_command(record.command), stage=stage)
    said = said if reference is None else dataclasses.replace(said, epoch=None)  # REF itself is that epoch's export
    try:
        found = resolve(reference or found_again(folder.path, record, use.reference), said, use.label)
    except UserError as error:
        raise UserError(f"{error}\n  (the encoder of {folder.path}: --encoder REF says where it lies now)") from None
    if found.use.sha256 != use.sha256:
        rule = f"the encoder that the run started from (sha256 {use.sha256})"
        raise UserError.about("--encoder", f"{found.use.reference}: sha256 {found.use.sha256}", rule, "find that one")
    if (images := record.normalisation) is not None:  # whatever lies beside its file now
        return dataclasses.replace(found, normalisation=Normalisation(images.mean, images.std, images.stated_by))
    return found
