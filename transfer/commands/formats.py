"""`mimbench list formats`: the checkpoint layouts that can be read, and where encoders can be written to."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.catalogue import listing
from benchmarks.text.tables import aligned


def main(argv: Sequence[str]) -> int:
    """Print the list; return the exit code."""
    if argv:  # options are for other lists, and the catalogue says so
        return listing.main(["formats", *argv])
    from transfer.checkpoint.layouts.known import LAYOUTS, TIMM, plugin_layouts
    from transfer.commands.targets import TARGETS

    written = {layout: target for target in TARGETS for layout in TARGETS[target].layouts.values()}
    rows = [("format", "family", "convert --to", "whose files these are")]
    every = (*LAYOUTS, TIMM)
    rows += [(layout.name, layout.family, written.get(layout.name, ""), layout.description) for layout in every]
    for plugin, layout in plugin_layouts():
        rows.append((layout.name, layout.family, "", f"{layout.description} ({plugin.where})"))
    print("formats: found by content; .pth, .pt, .bin, .safetensors, and their shards\n")
    print(aligned(rows))
    return 0
