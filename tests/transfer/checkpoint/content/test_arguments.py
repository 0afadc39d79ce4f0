"""Descriptions of encoders by other people: what would fetch or load weights is refused by name, and nothing is asked.

A real HTTP server on this machine counts the requests that arrive; timm's own weights file is what it would serve.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
from safetensors.torch import save_file

import mimbench
from benchmarks.encoder_arguments import SHAPING
from tests.transfer.checkpoint.encoders import SMALL, export, randomised


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """The requests that a server has been sent; its address is the first entry."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815 (http.server's name)

        def log_message(self, *_: object) -> None:
            """Say nothing: `seen` is what the test reads."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        seen.append(f"http://127.0.0.1:{server.server_port}/w.pth")
        yield seen
        server.shutdown()
        thread.join()


FOREIGN: dict[str, Any] = {
    "pretrained": True,
    "pretrained_cfg": {"url": "URL", "num_classes": 0},
    "pretrained_cfg_overlay": {"url": "URL", "hf_hub_id": None},
    "checkpoint_path": "other.pth",
    "cache_dir": "elsewhere",
    "features_only": True,
    "no_such_argument": 1,
}


def command_for(kind: str, folder: Path, arguments: dict[str, Any]) -> list[str]:
    """Write an encoder whose description of the `kind` gives the arguments; return what is typed to look at it."""
    inspect = ["checkpoint", "inspect"]
    if kind == "manifest.json":
        export(SMALL["vit"], folder)
        manifest = json.loads((folder / kind).read_text())
        manifest["architecture"]["arguments"] |= arguments
        (folder / kind).write_text(json.dumps(manifest))
        return [*inspect, str(folder)]
    folder.mkdir()
    save_file(randomised(SMALL["vit"]).state_dict(), folder / "model.safetensors")
    described = {**SMALL["vit"].arguments, **arguments}
    if kind == "config.json":
        text = json.dumps({"architecture": SMALL["vit"].name, "model_args": described})
        (folder / kind).write_text(text)
        return [*inspect, str(folder)]
    (folder / "e.yaml").write_text(json.dumps({"name": SMALL["vit"].name, "arguments": described}))
    return [*inspect, str(folder / "model.safetensors"), "--architecture", str(folder / "e.yaml")]


@pytest.mark.parametrize("kind", ["manifest.json", "config.json", "YAML"])
@pytest.mark.parametrize("name", FOREIGN)
def test_what_fetches_or_loads_weights_is_refused_by_name(
    kind: str, name: str, tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = {name: json.loads(json.dumps(FOREIGN[name]).replace("URL", asked[0]))}
    if name.startswith("pretrained_cfg"):
        given |= {"pretrained": True}
    code = mimbench.main(command_for(kind, tmp_path / "encoder", given))
    message = capsys.readouterr().err
    assert not asked[1:], "requests arrived"
    assert code == mimbench.WRONG
    assert f"arguments.{name} = " in message
    assert "rule:   an argument that shapes a model" in message
    assert "remedy: leave it out" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth", 10**6),
        ("embed_dim", 10**9),
        ("mlp_ratio", {"a": 1}),
        ("patch_size", [[[4]]]),
        ("img_size", [64] * 65),
        ("global_pool", "x" * 65),
    ],
)
def test_values_that_no_model_has_are_refused_by_name(
    name: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mimbench.main(command_for("manifest.json", tmp_path / "encoder", {name: value})) == mimbench.WRONG
    message = capsys.readouterr().err
    assert f"arguments.{name} = " in message
    assert len(message) < 1000


@pytest.mark.parametrize(("name", "value"), [("patch_size", 0), ("num_heads", 0), ("img_size", []), ("act_layer", "x")])
def test_arguments_that_timm_breaks_on_are_refused_in_words(
    name: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mimbench.main(command_for("config.json", tmp_path / "encoder", {name: value})) == mimbench.WRONG
    assert "an encoder that timm builds" in capsys.readouterr().err


def test_a_misspelt_argument_gets_the_nearest_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(command_for("YAML", tmp_path / "encoder", {"windw_size": 4})) == mimbench.WRONG
    assert "Did you mean window_size?" in capsys.readouterr().err


def test_none_of_the_known_arguments_is_timms_own_for_weights() -> None:
    """The parameters of timm's two functions that build a model, as Python lists them, are none of the model's."""
    builders = (timm.create_model, timm.models.build_model_with_cfg, timm.models.load_pretrained)
    taken = {name for builder in builders for name in builder.__code__.co_varnames[: builder.__code__.co_argcount]}
    assert {"pretrained", "checkpoint_path", "cache_dir", "pretrained_cfg_overlay"} <= taken
    assert not SHAPING & (taken - {"in_chans"})
