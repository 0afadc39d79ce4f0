"""Names that would like to be code are data in a published card: in YAML, in Markdown and in HTML."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from benchmarks.runs.folder import read_record
from benchmarks.text.markup import one_line
from tests.reports.hostile import NAMES
from tests.transfer.publish.test_publish import publish

MORE = [
    "---",
    "a\n---\nlicense: mit",
    "key: [1, 2",
    "!!python/object/apply:os.system [id]",
    "&a *a",
    "'\"",
    "# heading",
    "null",
]


@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_a_name_is_shown_as_it_is(name: str, simmim_run: Path, finetuned_run: Path, tmp_path: Path) -> None:
    """As the model's name, the folder of the data, the label, the recipe and the method of training."""
    run = tmp_path / "runs" / "one"
    shutil.copytree(finetuned_run, run)
    record = json.loads((run / "record.json").read_text())
    record["task"]["name"] = "imagefolder"
    record["data"]["root"] = f"/data/{name.replace('/', ' ')}"
    record["recipe"]["name"] = name
    record["encoder"] |= {"label": name, "method": name}
    (run / "record.json").write_text(json.dumps(record))
    assert read_record(run) is not None
    out = tmp_path / "out"
    assert publish(simmim_run, out, "--runs", str(tmp_path / "runs"), f"--name={name}") == 0
    text = (out / "README.md").read_text()
    card = ModelCard(text)
    shown = one_line(name)
    assert (card.data.license, card.data.library_name, card.data.model_name) == ("apache-2.0", "timm", shown)
    assert {each.task_name for each in card.data.eval_results or ()} == {shown}
    assert set(card.data.to_dict()) == {"license", "library_name", "pipeline_tag", "tags", "model-index"}
    tokens = [
        inner
        for token in MarkdownIt("commonmark").enable("table").parse(card.text)
        for inner in (token, *(token.children or ()))
    ]
    assert [token.content for token in tokens if token.type in ("html_block", "html_inline")] == []
    assert [token for token in tokens if token.type in ("link_open", "image", "em_open", "strong_open")] == []
    title = next(token for token in tokens if token.type == "inline")
    assert "".join(child.content for child in title.children or ()).strip("\u2068\u2069") == shown.strip()
