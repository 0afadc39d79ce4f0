"""The licence of what is published: stated by the person who publishes it, and never guessed."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from benchmarks.errors import UserError

_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]{1,60}")
OTHER = "other"
# fmt: off
LISTED = (
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1",
    "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "lppl-1.3c", "ms-pl",
    "mpl-2.0", "odc-by", "odbl", "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib",
    "pddl", "lgpl-lr", "deepfloyd-if-license", "llama2", "gemma", "unknown", "other",
)
# fmt: on
"""The identifiers that the Hub listed when this was written (huggingface.co/docs/hub/repositories-licenses). It adds
some now and then: another one is a reason for a note, and not for a refusal."""


@dataclass(frozen=True)
class Licence:
    """A licence as Hugging Face's cards have it."""

    name: str
    """An identifier: apache-2.0, cc-by-nc-4.0, ..., or `other`."""
    full_name: str | None = None
    link: str | None = None

    @property
    def note(self) -> str | None:
        """What a person should check of an identifier that was not on the Hub's list; None for those that were."""
        if self.name in LISTED:
            return None
        near = difflib.get_close_matches(self.name, LISTED, n=1, cutoff=0.6)
        guess = f"did you mean {near[0]}? " if near else ""
        there = "huggingface.co/docs/hub/repositories-licenses has those that the Hub knows, and it may refuse others"
        return f"--license {self.name} is an identifier that mimbench does not know: {guess}{there}"

    @property
    def words(self) -> str:
        return self.name if self.link is None else f"{self.full_name or self.name}: {self.link}"


def stated_licence(name: str | None, full_name: str | None, link: str | None) -> Licence:
    """Return the licence that a person states. Raises UserError where none is, or one in another form."""
    rule = "an identifier of huggingface.co/docs/hub/repositories-licenses, in small letters"
    if name is None:
        raise UserError.about(
            "--license", "(not given)", rule, "e.g. --license apache-2.0; the weights' own, if others made them"
        )
    if not _IDENTIFIER.fullmatch(name):
        raise UserError.about(
            "--license", name, rule, "e.g. apache-2.0, mit, cc-by-nc-4.0; or other with --license-link"
        )
    if name == OTHER and (link is None or not link.startswith("https://")):
        raise UserError.about(
            "--license-link", link or "(not given)", "an https address, for --license other", "add it"
        )
    if name != OTHER and (link is not None or full_name is not None):
        raise UserError.about("--license", name, "other, where its name or link is stated", "leave these out")
    return Licence(name, full_name, link)
