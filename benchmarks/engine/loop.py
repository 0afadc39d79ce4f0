"""The training loop: one optimiser step after the other, logged, checkpointed, resumable to the bit on CPU."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks import ranks
from benchmarks.engine import distributed
from benchmarks.engine.checkpoint import Checkpoints, restore
from benchmarks.engine.device import autocast, peak_memory_mb
from benchmarks.engine.loaders import AnyBatch, Samples, StepBatches, steps_per_epoch, training_loader
from benchmarks.engine.metrics_log import MetricsLog
from benchmarks.engine.optim import build_optimizer
from benchmarks.engine.progress import ProgressReport
from benchmarks.engine.seeding import derive, seed_all
from benchmarks.engine.stop import StopRequest
from benchmarks.engine.stopwatch import Stopwatch
from benchmarks.engine.unreadable import Unreadable
from benchmarks.errors import MachineFailed, Stopped, UserError, WorkFailed
from benchmarks.rundir import Run
from benchmarks.training import Training

B = TypeVar("B", bound=AnyBatch)


class Problem(ABC, Generic[B]):
    """What is trained: a model on its device, its parameter groups, how a batch becomes a loss."""

    device: torch.device
    model: nn.Module
    parameter_groups: list[dict[str, Any]]
    """As `benchmarks.engine.optim.parameter_groups` returns them; all trainable parameters of `model`."""

    @abstractmethod
    def loss(self, batch: B, step: int) -> Tensor:
        """Return the scalar loss of a batch that is on the device: the mean over this rank's samples."""

    def evaluate(self) -> dict[str, float]:
        """Return what is measured now, on every rank; empty where nothing is."""
        return {}

    def after_step(self, step: int) -> None:
        """Do what follows the optimiser's `step`-th step (1-based)."""

    @property
    def state(self) -> nn.Module:
        """All that checkpoints keep besides the optimiser."""
        return self.model


class _Loss(nn.Module):
    """A problem's loss as a module, so that DDP sees its forward pass."""

    def __init__(self, problem: Problem[Any]) -> None:
        super().__init__()
        self.model, self._loss = problem.model, problem.loss

    def forward(self, batch: Any, step: int) -> Tensor:
        return self._loss(batch, step)


@dataclass
class Progress:
    """What a checkpoint remembers besides tensors."""

    unreadable: list[str] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    training_seconds: float = 0.0
    """Spent in steps, over all attempts; evaluation and set-up excluded."""
    losses: list[float] = field(default_factory=list)
    """Of the steps since the last log line."""


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
        """The problem is evaluated every so many steps and after the last; None: never."""
        self.problem, self.samples, self.training, self._run = problem, samples, training, run
        self.seed, self.unreadable = seed, Unreadable(max_unreadable)
        self.per_epoch = steps_per_epoch(len(samples), training.batch_size)
        self.total_steps = training.total_steps(self.per_epoch)
        self.evaluate_every_steps = evaluate_every_steps
        self.optimizer = build_optimizer(problem.parameter_groups, training)
        self.schedule = self._build_schedule()
        self.checkpoints = Checkpoints(run.folder.checkpoints)
        self.log = MetricsLog(run.folder.metrics)
        self.progress = Progress()
        self.step = 0
        self._loss: nn.Module = _Loss(problem)
        if ranks.world_size() > 1:
            self._loss = DistributedDataParallel(self._loss, gradient_as_bucket_view=True)
        self._losses: list[Tensor] = []
        """Of the steps since the last log line, those before a resume included."""
        self._timed_steps = 0
        """Steps since the last log line or resume."""

    def _build_schedule(self) -> Any:
        schedule, total = self.training.schedule, self.total_steps
        warmup = schedule.warmup_steps_of(self.per_epoch)
        if warmup >= total:
            rule = f"a warm-up shorter than the training ({total} steps)"
            raise UserError.about("training.schedule", f"warm-up of {warmup} steps", rule, "a shorter warm-up")
        return schedule.build(self.optimizer, self.training.batch_size, total, self.per_epoch)

    def train(self) -> Progress:
        """Train to the last step, from the newest whole checkpoint on. Raises Stopped after a stop request."""
        self._resume()
        distributed.require_equal("the step to go on from", self.step)
        self.problem.model.train()
        title = self._run.record.run_id
        with StopRequest() as stop, ProgressReport(title, self.total_steps) as self._bar:
            self._watch = Stopwatch(self.progress.training_seconds)
            with resources_in_words(self.training):
                for batch in self._loader():
                    self._train_step(batch)
                    self._after_step()
                    if number := distributed.any_rank(stop.number):
                        self._stop(signal.Signals(number).name)
        if self.step % self.training.checkpoint_every_steps:
            self._save()
        self._note_progress()
        if ranks.is_main():
            self.checkpoints.prune(keep=1)
        return self.progress

    def summary(self) -> dict[str, Any]:
        """Return what every record says of a finished training."""
        images = self.step * self.training.batch_size
        return {
            "steps": self.step,
            "images_per_second": images / self.progress.training_seconds,
            "seconds_per_step": self.progress.training_seconds / self.step,
            "peak_memory_mb": peak_memory_mb(self.problem.device),
        }

    def _resume(self) -> None:
        checkpoint = self.checkpoints.latest()
        if checkpoint is not None:
            restore(checkpoint, self.problem.state, self.optimizer)
            self.step = checkpoint.step
            self.progress = Progress(**checkpoint.data["progress"])
            self.unreadable.names += self.progress.unreadable
            self._losses = [torch.tensor(loss, device=self.problem.device) for loss in self.progress.losses]
            if ranks.is_main():
                print(f"continuing from step {self.step} of {self.total_steps}", file=sys.stderr)
        self.log.rewind(self.step)

    def _loader(self) -> torch.utils.data.DataLoader[B]:
        batches = StepBatches(len(self.samples), self.training.batch_size, self.total_steps, self.step, self.seed)
        return training_loader(self.samples, batches, self.training.workers, self.problem.device.type == "cuda")

    def _train_step(self, batch: B) -> None:
        self.unreadable.note(batch.unreadable)
        batch = batch.to(self.problem.device)
        self.schedule.step_update(self.step)
        # What a step draws depends on seed, step and rank alone, so a checkpoint need not hold random states.
        seed_all(derive(self.seed, "step", self.step, ranks.rank()))
        with autocast(self.problem.device, self.training):
            loss = self._loss(batch, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        # An infinite limit clips nothing and still returns the norm.
        limit = self.training.clip_grad_norm or math.inf
        self._grad_norm = nn.utils.clip_grad_norm_(self.problem.model.parameters(), limit)
        self.optimizer.step()
        self._losses.append(loss.detach())
        self.step += 1
        self._timed_steps += 1
        self.problem.after_step(self.step)

    def _after_step(self) -> None:
        if self.step % self.training.log_every_steps == 0 or self.step == self.total_steps:
            self._log()
        every = self.evaluate_every_steps
        if every is not None and (self.step % every == 0 or self.step == self.total_steps):
            self._evaluate()
        if self.step % self.training.checkpoint_every_steps == 0:
            self._save()

    def _log(self) -> None:
        """Write one line; the only place, beside a checkpoint, where the host waits for the device."""
        loss, seconds_per_step = self._finite_loss(), self._watch.lap() / self._timed_steps
        self._losses.clear()
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
            grad_norm=self._grad_norm.item(),
            images_per_second=per_second,
            eta_seconds=eta,
        )
        text = f"loss {loss:.4f}  lr {rate:.2e}  {per_second:.0f} images/s  eta {eta:.0f} s"
        self._bar.show(self.step, text)

    def _mean_losses(self) -> Tensor:
        """Return the losses of the steps since the last line, each the mean over ranks."""
        return distributed.mean(torch.stack(self._losses).float().cpu())

    def _finite_loss(self) -> float:
        """Return the mean loss since the last line. Raises WorkFailed when it is not a number."""
        loss = self._mean_losses().mean().item()
        if math.isfinite(loss):
            return loss
        raise WorkFailed(
            f"the loss became {loss} between steps {self.step - len(self._losses)} and {self.step}\n"
            f"  The last checkpoint before that is kept in {self.checkpoints.folder}.\n"
            f"  remedy: a lower training.schedule.{self.training.schedule.rate}, or training.precision=fp32"
        )

    def _evaluate(self) -> None:
        with self._watch.paused():
            found = self.problem.evaluate()
        if found:
            line = {"step": self.step, "epoch": self.step / self.per_epoch, **found}
            self.progress.evaluations.append(line)
            self.log.write(**line)
        self.problem.model.train()

    def _save(self) -> None:
        if self._losses:
            self._finite_loss()
        self._note_progress()
        if ranks.is_main():
            self.checkpoints.save(self.problem.state, self.optimizer, self.step, vars(self.progress))
            self._run.update(steps=self.step)

    def _note_progress(self) -> None:
        for names in distributed.gathered(list(self.unreadable.names)):
            self.unreadable.note(names)
        self.progress.training_seconds = self._watch.total()
        self.progress.unreadable = self.unreadable.names
        self.progress.losses = self._mean_losses().tolist() if self._losses else []

    def _stop(self, signal_name: str) -> None:
        if self.step % self.training.checkpoint_every_steps:
            self._save()
        raise Stopped(
            f"{signal_name} after step {self.step} of {self.total_steps}; the state is saved in "
            f"{self._run.folder.path}. Run the same command again to continue."
        )


@contextlib.contextmanager
def resources_in_words(training: Training) -> Iterator[None]:
    """Word the two ways in which a machine is too small: a GPU without memory, a loader process that was killed."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise WorkFailed(
            f"the GPU has no memory left: {str(error).splitlines()[0]}\n"
            f"  remedy: a smaller training.batch_size than {training.batch_size}, or a smaller image_size_px"
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or isinstance(error, WorkFailed | Stopped):
            raise
        raise MachineFailed(
            f"a loader process died: {str(error).splitlines()[0]}\n"
            "  The last checkpoint is kept; the same command goes on from there.\n"
            f"  remedy: usually memory: fewer than training.workers={training.workers}, or more memory for the job"
        ) from error
