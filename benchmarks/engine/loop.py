"""The training loop: one optimiser step after the other, logged, checkpointed, resumable to the bit on CPU."""

from __future__ import annotations

import signal
import sys
from contextlib import closing
from typing import Any, Generic, NoReturn, TypeVar

import torch
from torch import nn

from benchmarks import ranks
from benchmarks.engine.checkpoint import Checkpoints, Progress, captured, restore
from benchmarks.engine.device import LossScale, autocast, peak_memory_mb
from benchmarks.engine.optim import Schedules, build_optimizer, clip
from benchmarks.engine.problem import LossOf
from benchmarks.engine.problem import Problem as Problem  # for those who define one
from benchmarks.engine.processes import exchange as distributed
from benchmarks.engine.processes.parallel import copied, without_exchange
from benchmarks.engine.samples.loaders import AnyBatch, Loader, Samples, StepBatches, steps_per_epoch, training_loader
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.engine.seeding import derive, seed_all
from benchmarks.engine.track.callback import Callbacks
from benchmarks.engine.track.log import TrainingLog
from benchmarks.engine.watch.resources import resources_in_words
from benchmarks.engine.watch.step_numbers import NotFinite, StepNumbers
from benchmarks.engine.watch.stop import Interrupted, StopRequest
from benchmarks.engine.watch.stopwatch import Stopwatch
from benchmarks.errors import Paused, Stopped, WorkFailed
from benchmarks.runs.folder import Run
from benchmarks.text.progress import ProgressReport
from benchmarks.training.training import Training

B = TypeVar("B", bound=AnyBatch)


class Loop(Generic[B]):
    """Trains a problem on samples inside a run."""

    def __init__(
        self,
        problem: Problem[B],
        samples: Samples[B],
        training: Training,
        run: Run,
        seed: int,
        max_unreadable: int,
        evaluate_every_steps: int | None = None,
    ) -> None:
        """`evaluate_every_steps`: the problem is evaluated every so many steps and after the last; None: never."""
        self.problem, self.samples, self.training, self._run = problem, samples, training, run
        self.seed, self.unreadable = seed, Unreadable(max_unreadable)
        self.per_epoch = steps_per_epoch(len(samples), training.batch_size, training.accumulate)
        self.total_steps = training.total_steps(self.per_epoch)
        self.evaluate_every_steps = evaluate_every_steps
        self.optimizer = build_optimizer(problem.parameter_groups, training)
        self.schedule = Schedules(self.optimizer, training, self.total_steps, self.per_epoch)
        self._scale = LossScale(problem.device, training)
        self._remedy = f"a lower training.schedule.{training.schedule.rate}, or training.precision=fp32"
        self.checkpoints = Checkpoints(run.folder.checkpoints)
        callbacks = Callbacks(training.callbacks, problem.model) if training.callbacks and ranks.is_main() else None
        self.log = TrainingLog(run, training, callbacks)
        self.progress = Progress()
        self.step = 0
        self.pause_at: int | None = None
        """The step after which the training pauses, its state saved; None: it goes on to the end."""
        self._saved: int | None = None
        """The step of the last checkpoint."""
        loss = LossOf(problem)
        self._loss: nn.Module = loss if problem.divided else copied(loss)
        self._numbers = StepNumbers()
        self._timed_steps = 0
        """Steps since the last log line or resume."""

    def train(self) -> Progress:
        """Train to the last step, from the newest whole checkpoint on.

        Raises Stopped after a stop request, and Paused, on every rank, after the step `pause_at`.
        """
        self._resume()
        distributed.require_equal("the step to go on from", self.step)
        self.problem.model.train()
        title = self._run.record.run_id
        with StopRequest() as stop, ProgressReport(title, self.total_steps) as self._bar:
            self._watch = Stopwatch(self.progress.training_seconds)
            if self.step == 0:
                self._save()  # what a first step that is not finite goes back to
            with resources_in_words(self.training):
                self._make_up_evaluation()
                while self.step < self.total_steps:
                    try:
                        self._train_on(stop)
                    except NotFinite as found:
                        self._roll_back(found.step)
        if self._saved != self.step:
            self._save()
        self._note_progress()
        if ranks.is_main():
            self.checkpoints.prune(keep=1)
        return self.progress

    def _train_on(self, stop: StopRequest) -> None:
        """Train from the current step to the last one. Raises NotFinite, on every rank at the same step."""
        with closing(iter(self._loader())) as batches:
            while self.step < self.total_steps:
                self._pause_if_due()
                self.train_step([next(batches) for _ in range(self.training.accumulate)])
                self._after_step()
                if number := distributed.any_rank(stop.number):
                    self._stop(signal.Signals(number).name)

    def summary(self) -> dict[str, Any]:
        """Return the fields that every record has of a finished training, by name."""
        images = self.step * self.training.batch_size
        return {
            "steps": self.step,
            "skipped_steps": self.progress.without_effect,
            "images_per_second": images / self.progress.training_seconds,
            "seconds_per_step": self.progress.training_seconds / self.step,
            "peak_memory_mb": peak_memory_mb(self.problem.device),
        }

    def _resume(self) -> None:
        if self._restore() and ranks.is_main():
            print(f"continuing from step {self.step} of {self.total_steps}", file=sys.stderr)

    def _restore(self) -> bool:
        """Go back to the newest whole checkpoint; return whether it has any step."""
        checkpoint = self.checkpoints.latest()
        if checkpoint is not None:
            restore(checkpoint, self.problem.state, self.optimizer)
            self.step = self._saved = checkpoint.step
            self.progress = Progress(**checkpoint.data["progress"])
            self.unreadable.names += [name for name in self.progress.unreadable if name not in self.unreadable.names]
            self._numbers.clear(before=self.progress.losses)
            self._scale.put_back(self.progress.scale)
        self.log.rewind(self.step)
        return self.step > 0

    def _roll_back(self, bad: int) -> None:
        """Go back to the last checkpoint and pass over the batch of step `bad`. Raises WorkFailed the second time."""
        what = f"the loss or its gradient was not finite in step {bad + 1} of {self.total_steps}"
        if self.progress.skipped:
            raise WorkFailed(
                f"{what}, after the batch of step {self.progress.skipped[0] + 1} was passed over for the same reason\n"
                f"  The last checkpoint before that is kept in {self.checkpoints.folder}.\n"
                f"  remedy: {self._remedy}"
            )
        self._restore()
        distributed.require_equal("the step to go back to", self.step)
        self.progress.skipped.append(bad)
        self._timed_steps = 0
        self._run.update(skipped_steps=self.progress.without_effect)
        if ranks.is_main():
            warning = f"warning: {what}; going back to step {self.step} and passing over its batch"
            print(warning, file=sys.stderr, flush=True)

    def _loader(self) -> Loader[B]:
        training = self.training
        batches = StepBatches(
            len(self.samples),
            training.batch_size,
            self.total_steps,
            self.step,
            self.seed,
            training.accumulate,
            training.repeats,
        )
        return training_loader(self.samples, batches, training.workers, self.problem.device.type == "cuda")

    def train_step(self, parts: list[B]) -> None:
        """Do one optimiser step on this rank's part of a global batch, which comes in equal parts."""
        for batch in parts:
            self.unreadable.note(batch.unreadable)
        self.schedule.step_update(self.step)
        if self.step not in self.progress.skipped:
            self._optimise(parts)
        self.step += 1
        self._timed_steps += 1
        self.problem.after_step(self.step)

    def _optimise(self, parts: list[B]) -> None:
        # What a step draws depends on seed, step and rank alone, so a checkpoint need not hold random states.
        seed_all(derive(self.seed, "step", self.step, ranks.rank()))
        model, losses, share = self.problem.model, [], ranks.share(self.training.batch_size)
        self.optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(parts, start=1):
            size = (share.stop - share.start) // len(parts)
            self.problem.rows = slice(share.start + (number - 1) * size, share.start + number * size)
            with without_exchange(self._loss, model, last=number == len(parts)):
                with autocast(self.problem.device, self.training):
                    loss = self._loss(batch.to(self.problem.device), self.step)
                self._scale.scale(loss / len(parts)).backward()
            losses.append(loss.detach())
        self._scale.unscale_(self.optimizer)
        norm = clip(model, self.training.clip_grad_norm)
        self._scale.step(self.optimizer)
        self._numbers.note(self.step, torch.stack(losses).mean(), norm, self._scale.overflow(self.optimizer))
        self._scale.update()

    def _after_step(self) -> None:
        evaluate = self._evaluation_is_due()
        log = self.step == self.total_steps or self.step % self.training.log_every_steps == 0
        save = self.step % self.training.checkpoint_every_steps == 0
        if log or evaluate or save:
            self._require_finite()
        if log:
            self._log()
        if evaluate:
            self._evaluate()
        if save:
            self._save()

    def _require_finite(self) -> None:
        self._numbers.require_finite()
        self.progress.overflowed = sorted({*self.progress.overflowed, *self._numbers.overflowed})
        self._scale.require_useful(f"in step {self.step} of {self.total_steps}", self._remedy)

    def _log(self) -> None:
        """Write one line; the only place, beside a checkpoint, where the host waits for the device."""
        if not len(self._numbers):
            return  # every step since the last line was passed over
        losses, norm = self._numbers.losses(), self._numbers.last_norm()
        self._numbers.clear()
        loss, seconds_per_step = sum(losses) / len(losses), self._watch.lap() / self._timed_steps
        self._timed_steps = 0
        per_second = self.training.batch_size / seconds_per_step
        eta = (self.total_steps - self.step) * seconds_per_step
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        self.log.write(
            step=self.step,
            epoch=self.step / self.per_epoch,
            total_steps=self.total_steps,
            loss=loss,
            lr=rate,
            **({} if norm is None else {"grad_norm": norm}),
            images_per_second=per_second,
            eta_seconds=eta,
            **self._scale.numbers(len(self.progress.without_effect)),
        )
        text = f"loss {loss:.4f}  lr {rate:.2e}  {per_second:.0f} images/s  eta {eta:.0f} s"
        self._bar.show(self.step, text)

    def _evaluation_is_due(self) -> bool:
        every, last = self.evaluate_every_steps, self.step == self.total_steps
        return every is not None and self.step > 0 and (last or self.step % every == 0)

    def _make_up_evaluation(self) -> None:
        """Evaluate where the run was stopped before it could."""
        if self._evaluation_is_due() and not any(line["step"] == self.step for line in self.progress.evaluations):
            self._evaluate()
            self._save()

    def _evaluate(self) -> None:
        try:
            with self._watch.paused():
                found = self.problem.evaluate(last=self.step == self.total_steps)
        except Interrupted as asked:
            self._stop(asked.signal_name)
        if found:
            line = {"step": self.step, "epoch": self.step / self.per_epoch, **found}
            self.progress.evaluations.append(line)
            self.log.write(**line)
        self.problem.model.train()

    def _save(self) -> None:
        self._note_progress()
        state = captured(self.problem.state, self.optimizer)
        if ranks.is_main():
            self.checkpoints.save(state, self.step, vars(self.progress))
            self._run.update(steps=self.step, skipped_steps=self.progress.without_effect)
        self._saved = self.step

    def _note_progress(self) -> None:
        for names in distributed.gathered(list(self.unreadable.names)):
            self.unreadable.note(names)
        self.progress.training_seconds = self._watch.total()
        self.progress.unreadable = self.unreadable.names
        self.progress.losses = self._numbers.losses()
        self.progress.scale = self._scale.state_dict()

    def _pause_if_due(self) -> None:
        if self.pause_at is not None and self.step >= self.pause_at:
            self._save_what_is_new()
            place = self._run.folder.path
            raise Paused(f"paused after step {self.step} of {self.total_steps}; the state is saved in {place}")

    def _save_what_is_new(self) -> None:
        if self._saved != self.step:
            self._require_finite()
            self._save()

    def _stop(self, signal_name: str) -> NoReturn:
        self._save_what_is_new()
        raise Stopped(
            f"{signal_name} after step {self.step} of {self.total_steps}; the state is saved in "
            f"{self._run.folder.path}. Run the same command again to continue."
        )
