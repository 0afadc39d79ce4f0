"""Data that a page carries in itself beside its tables, compressed; its script makes rows of them to show."""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib

KIND = "application/json+gzip+base64"
"""The type of the script element that holds them, which no browser runs."""
BLOCK = re.compile(rf'(<script type="{re.escape(KIND)}"[^>]*>)([A-Za-z0-9+/=]*)(</script>)')


def packed(value: object) -> str:
    """Return a value as JSON, compressed, in base64."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()


def unpacked(page: str) -> str:
    """Return a page with its data as text, a value a line: how they are compressed depends on the version of zlib.

    Data that cannot be read are left as they are.
    """

    def opened(block: re.Match[str]) -> str:
        try:
            text = gzip.decompress(base64.b64decode(block[2], validate=True)).decode()
        except (ValueError, OSError, EOFError, zlib.error):
            return block[0]
        return f"{block[1]}\n{text.replace('],[', '],' + chr(10) + '[')}\n{block[3]}"

    return BLOCK.sub(opened, page)
