"""A file from a real server: what breaks off is continued, and what is wrong never lies there under its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

from benchmarks.errors import UserError, WorkFailed
from tests.transfer.published.server import Served, serving
from transfer.sources.published import download as module
from transfer.sources.published.download import NotFetched, download

CONTENT = bytes(range(256)) * 9000  # 2.3 MB: several chunks


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(module, "WAITS_S", (0.0, 0.0))
    with serving(CONTENT) as found:
        yield found


def fetch(served: Served, folder: Path, size: int | None = None) -> bytes:
    download(served.address, folder / "weights.pth", "fetching", size)
    assert os.listdir(folder) == ["weights.pth"]  # nothing else stays
    return (folder / "weights.pth").read_bytes()


def test_a_broken_download_is_continued(served: Served, tmp_path: Path) -> None:
    served.answers = ["break:1500000", "break:100"]
    assert fetch(served, tmp_path) == CONTENT
    assert served.asked == [None, "bytes=1500000-", "bytes=1500100-"]


def test_it_is_continued_by_the_next_command(served: Served, tmp_path: Path) -> None:
    served.answers = ["break:1000000", 503, 503, 503]
    with pytest.raises(NotFetched, match=r"503.*3 times in a row|503"):
        download(served.address, tmp_path / "weights.pth", "fetching")
    assert not (tmp_path / "weights.pth").exists()
    assert fetch(served, tmp_path) == CONTENT
    assert served.asked[-1] == "bytes=1000000-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(served: Served, tmp_path: Path) -> None:
    served.answers = ["break:1000000", 500, 500, 500]
    with pytest.raises(NotFetched):
        download(served.address, tmp_path / "weights.pth", "fetching")
    served.content, served.state = CONTENT[::-1], '"second"'
    assert fetch(served, tmp_path) == CONTENT[::-1]


@pytest.mark.parametrize("state", [None, 'W/"weak"'])
def test_without_a_state_of_the_file_it_is_fetched_anew(served: Served, tmp_path: Path, state: str | None) -> None:
    served.state, served.answers = state, ["break:1000000"]
    assert fetch(served, tmp_path) == CONTENT
    assert served.asked == [None, None]


def test_a_server_without_ranges(served: Served, tmp_path: Path) -> None:
    served.ranges, served.answers = False, ["break:1000000"]
    assert fetch(served, tmp_path) == CONTENT


def test_what_was_begun_is_longer_than_the_file(served: Served, tmp_path: Path) -> None:
    served.answers = ["break:1000000", 416]
    assert fetch(served, tmp_path) == CONTENT
    assert served.asked == [None, "bytes=1000000-", None]


def test_redirects_are_followed_to_safe_addresses_alone(served: Served, tmp_path: Path) -> None:
    served.answers = [f"{served.address}?again"]
    assert fetch(served, tmp_path) == CONTENT
    for unsafe in ("http://example.org/weights.pth", "ftp://127.0.0.1/weights.pth", "file:///etc/passwd"):
        served.answers = [unsafe]
        with pytest.raises(NotFetched, match=r"no https address|not allowed"):
            download(served.address, tmp_path / "other.pth", "fetching")
    assert not (tmp_path / "other.pth").exists()


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final(served: Served, tmp_path: Path, status: int) -> None:
    served.answers = [status]
    with pytest.raises(NotFetched, match=f"answers {status}"):
        download(served.address, tmp_path / "weights.pth", "fetching")
    assert len(served.asked) == 1


def test_a_passing_fault_is_not(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served.answers = [502, 429]
    assert fetch(served, tmp_path) == CONTENT
    assert "answers 502 Bad Gateway; trying again in 0 s" in capsys.readouterr().err


@pytest.mark.usefixtures("served")
def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match="refused"):
        download("http://127.0.0.1:1/weights.pth", tmp_path / "weights.pth", "fetching")


def test_without_a_network_it_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.invalid` is a domain that no network has (RFC 2606); a proxy of this machine is not asked."""
    monkeypatch.setattr(module, "_OPENER", build_opener(ProxyHandler({})))
    with pytest.raises(NotFetched, match=r"nowhere\.invalid"):
        download("https://nowhere.invalid/weights.pth", tmp_path / "weights.pth", "fetching")
    assert "trying again" not in capsys.readouterr().err


def test_a_page_in_place_of_the_file(served: Served, tmp_path: Path) -> None:
    served.kind = "text/html; charset=utf-8"
    with pytest.raises(NotFetched, match="page of HTML"):
        download(served.address, tmp_path / "weights.pth", "fetching")


def test_another_size_than_the_published(served: Served, tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match="2,304,000 bytes, and not the 7"):
        download(served.address, tmp_path / "weights.pth", "fetching", 7)
    assert fetch(served, tmp_path, len(CONTENT)) == CONTENT


def test_no_room(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: real._replace(free=1000))
    with pytest.raises(WorkFailed, match="no room"):
        download(served.address, tmp_path / "weights.pth", "fetching")


def test_a_part_that_is_a_link_is_not_written_through(served: Served, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / ".weights.pth.part").symlink_to(target)
    with pytest.raises(UserError, match="it is a link"):
        download(served.address, tmp_path / "weights.pth", "fetching")
    assert target.read_text() == "mine"
