"""What many records have alike is held once, and no record says anything else for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.runs.find import find_runs
from benchmarks.runs.folder import read_record
from tests.reports import factory


def test_records_share_equal_parts_and_stay_what_their_files_say(tmp_path: Path) -> None:
    records = [factory.transfer(label, seed) for label in ("simmim", "supervised") for seed in range(2)]
    other = factory.ENVIRONMENT.model_copy(update={"host": "tower"})
    records.append(factory.transfer("simmim", 2, environment=other, recipe=factory.recipe(epochs=21)))
    for record in records:
        factory.write(tmp_path, record)
    found = {run.record.run_id: run.record for run in find_runs([str(tmp_path)]).runs}
    assert list(map(found.get, (record.run_id for record in records))) == records
    for run_id, record in found.items():
        alone = read_record(tmp_path / run_id)
        assert alone is not None
        assert (record.model_dump_json(), record.model_fields_set) == (alone.model_dump_json(), alone.model_fields_set)
        with pytest.raises(ValidationError, match="frozen"):
            record.seed = 7  # type: ignore[misc]
    first, second, third, _, last = (found[record.run_id] for record in records)
    assert first.encoder is second.encoder
    assert first.recipe is third.recipe
    assert first.environment is third.environment
    assert first.encoder is not None
    assert third.encoder is not None
    assert first.encoder is not third.encoder
    assert first.encoder.architecture is third.encoder.architecture
    assert last.environment.host == "tower"
    assert last.recipe.resolved["training"]["epochs"] == 21  # type: ignore[index, call-overload]
