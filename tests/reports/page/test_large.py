"""Tables whose rows the page carries as data: what a person sees, and what `report verify` makes of them."""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path
from typing import Any

import mimbench
from tests.reports import browser, factory
from tests.reports.page.test_browser import column


def test_rows_of_a_large_table_come_from_the_page_s_data(chromium: Any, tmp_path: Path) -> None:
    """Of 240 encoders the first 200 are rows of the page; sorted, filtered and opened, the others are no less there."""
    for number in range(240):
        factory.write(tmp_path / "runs", factory.transfer(f"</script>{number:03}", 0, 60 + number / 10))
    asked = ["report", "leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path)]
    assert mimbench.main([*asked, "--formats", "html,json"]) == 0
    path = tmp_path / "leaderboard.html"
    with browser.opened(chromium, path) as seen:
        section = seen.page.locator("section.task")
        section.locator("output", has_text="240 rows, the first 200 of each group shown").wait_for()
        assert len(column(seen, "digits", 0)) == 200
        section.locator("thead button").nth(1).click()
        section.locator("thead button").nth(1).click()
        assert column(seen, "digits", 1)[:2] == ["60.00 (n = 1)", "60.10 (n = 1)"]
        section.get_by_role("searchbox").fill("script>003")
        assert column(seen, "digits", 0) == ["</script>003"]
        section.locator("tbody td.words").first.click()
        details = section.locator("details[open]")
        assert details.locator("summary").inner_text() == "</script>003 digits_finetune, 1 run"
        known = dict(zip(details.locator("dt").all_inner_texts(), details.locator("dd").all_inner_texts(), strict=True))
        assert known["Encoder sha256"] == factory.sha("</script>003")
        section.get_by_role("searchbox").fill("")
        section.get_by_role("button", name="Show more rows").click()
        assert len(column(seen, "digits", 0)) == 240
        assert seen.complaints == []
        assert seen.requests == [path.as_uri()]
    assert mimbench.main(["report", "verify", str(tmp_path)]) == 0


def test_data_compressed_by_another_zlib_agree_and_changed_data_do_not(tmp_path: Path) -> None:
    for number in range(201):
        factory.write(tmp_path / "runs", factory.transfer(f"encoder-{number:03}", 0, 60 + number / 10))
    asked = ["report", "leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path), "--formats", "html"]
    assert mimbench.main(asked) == 0
    path = tmp_path / "leaderboard.html"
    text = path.read_text(encoding="utf-8")
    (block,) = re.findall(r'<script type="application/json\+gzip\+base64" class="more">([^<]*)</script>', text)
    data = gzip.decompress(base64.b64decode(block))
    for level, content, code in ((1, data, 0), (6, data.replace(b"60.00", b"99.00"), 1)):
        again = base64.b64encode(gzip.compress(content, level)).decode()
        assert again != block
        path.write_text(text.replace(block, again), encoding="utf-8")
        assert mimbench.main(["report", "verify", str(path)]) == code
