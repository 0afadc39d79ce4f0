"""Loss and gradient norm of the steps since the last log line, left on the device until they are needed."""

from __future__ import annotations

from torch import Tensor, stack, tensor, zeros

from benchmarks.engine.processes import exchange as distributed
from benchmarks.engine.processes.parallel import whole


class NotFinite(Exception):
    """The loss or the gradient of a step (0-based) is not finite."""

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(step)


class StepNumbers:
    """Loss and gradient norm of every step since the last log line. Every rank must ask for them at the same step."""

    def __init__(self) -> None:
        self._before: list[float] = []
        """Losses of steps before a resume, which were found finite."""
        self._steps: list[int] = []
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._overflows: list[Tensor] = []
        self.overflowed: list[int] = []
        """Steps of which `require_finite` found that their scaled gradients overflowed."""

    def __len__(self) -> int:
        return len(self._before) + len(self._losses)

    def note(self, step: int, loss: Tensor, norm: Tensor, overflow: Tensor | None = None) -> None:
        """Add one step (0-based); nothing waits for the device.

        `overflow` is above 0 where gradients, scaled for fp16, were not finite, and the step was left out for that.
        """
        self._steps.append(step)
        self._losses.append(loss.detach())
        self._norms.append(norm.detach())
        self._overflows.append(zeros(()) if overflow is None else overflow)

    def clear(self, before: list[float] | None = None) -> None:
        """Forget all steps but those `before` a resume."""
        self._before = list(before or [])
        self._steps, self._losses, self._norms, self._overflows, self.overflowed = [], [], [], [], []

    def losses(self) -> list[float]:
        """Return the loss of every step, the mean over ranks."""
        if not self._losses:
            return self._before
        values: list[float] = distributed.mean(stack(self._losses).float().cpu()).tolist()
        return self._before + values

    def last_norm(self) -> float | None:
        """Return the last step's gradient norm; 0 where there was none since a resume, None where it overflowed."""
        if not self._norms:
            return 0.0
        return None if self._steps[-1] in self.overflowed else float(whole(self._norms[-1]))

    def require_finite(self) -> None:
        """Raise NotFinite, on every rank, unless every step was finite on all of them.

        A step whose scaled gradients overflowed, with a finite loss, was left out and needs nothing else.
        """
        if not self._losses:
            return
        norms = [float(whole(norm)) for norm in self._norms]
        rows = [stack(self._losses).float().cpu(), tensor(norms), stack(self._overflows).cpu()]
        losses, gradients, overflows = distributed.mean(stack(rows))
        bad = ~losses.isfinite() | (~gradients.isfinite() & (overflows == 0))
        if bad.any():
            raise NotFinite(self._steps[int(bad.nonzero()[0])])
        self.overflowed = [self._steps[at] for at in overflows.nonzero().flatten().tolist()]
