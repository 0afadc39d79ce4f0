"""An encoder of a person's own code as the source of a transfer: `python:MODULE:FACTORY`."""

from __future__ import annotations

from pydantic import JsonValue

from benchmarks.encoders import Architecture, InitStage, Normalisation
from benchmarks.engine.own_code import build_own, code_use, source_file, trust
from benchmarks.runs.record import EncoderUse
from transfer.checkpoint.content.digest import weights_sha256
from transfer.sources.source import Source, known_stage, stated_history

METHOD = "own code"


def own_source(reference: str, label: str | None, stage: InitStage | None, pretrained_on: str | None) -> Source:
    """Run the factory that a person named and return its encoder.

    One without any weights, such as raw pixels, is as untrained as random weights. Raises what `build_own` raises, and
    UserError where nobody says how far an encoder with weights was trained.
    """
    trust(reference)
    model = build_own(Architecture(name=reference), None, 0, 0.0)
    weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    found_stage = known_stage(stage, reference) if weights else "random"
    method = METHOD if weights else "none"
    arguments: dict[str, JsonValue] = {} if model.in_chans == 3 else {"in_chans": model.in_chans}
    use = EncoderUse(
        label=label or reference.rpartition(":")[2],
        reference=reference,
        method=method,
        init_stage=found_stage,
        epochs=None if weights else 0,
        architecture=Architecture(name=reference, arguments=arguments),
        sha256=weights_sha256(weights) if weights else None,
        history=stated_history(method, pretrained_on, found_stage, None) if weights else (),
        code=code_use(reference, model),
    )
    mean, std = (tuple(map(float, values)) for values in (model.own.mean, model.own.std))
    normalisation = Normalisation(mean, std, "its own code")
    remarks = (f"{reference}: the code in {source_file(reference)} runs in this process",)
    return Source(use, method, normalisation, (lambda: weights) if weights else None, remarks=remarks)
