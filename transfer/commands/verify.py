"""`mimbench checkpoint verify`: an encoder's features beside those of a witness, kept for records and reports."""

from __future__ import annotations

from transfer.checkpoint.content.selection import Selection
from transfer.encoder.proof.parity import compare, require_equal
from transfer.encoder.proof.plausible import implausible
from transfer.sources.kept_parity import keep_parity
from transfer.sources.opened import open_encoder
from transfer.sources.witness import find_witness


def verify(reference: str, against: str, architecture: str | None, selection: Selection, tolerance: float) -> str:
    """Compare an encoder with a witness, keep what was found beside a checkpoint file, and return it in words.

    Raises UserError for a reference or a witness that is none, WorkFailed where the two cannot be compared or differ.
    """
    encoder = open_encoder(reference, architecture, selection)
    witness = find_witness(against)
    parity = compare(
        encoder.weights,
        encoder.architecture,
        witness,
        against,
        image_size_px=encoder.image_size_px,
        names=encoder.names,
        tolerance=tolerance,
    )
    require_equal(parity, reference)
    same = witness.file_sha256 is not None and witness.file_sha256 == encoder.facts.get("file_sha256")
    parity = parity.model_copy(update={"same_file": same})
    lines = [
        f"equal: {parity.feature} of {parity.images} images of {parity.image_size_px} px differ by at most "
        f"{parity.difference:.1e} of their size from those of {against} ({parity.library}; allowed: {tolerance:.0e})"
    ]
    if same:
        lines.append(
            "note: the witness read the same file: it is read as there; that its tensors are right is not shown"
        )
    lines += [f"implausible: {odd}" for odd in implausible(encoder.weights)[:4]]
    if encoder.file is not None:
        kept = keep_parity(encoder.file, encoder.sha256, encoder.architecture, parity)
        lines.append(f"kept: {kept}" if kept else f"note: nothing can be written beside {encoder.file}: not kept")
    return "\n".join(lines)
