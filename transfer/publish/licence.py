"""The licence of what is published: stated by the person who publishes it, and never guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.errors import UserError

_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.-]{1,60}")
OTHER = "other"


@dataclass(frozen=True)
class Licence:
    """A licence as Hugging Face's cards have it."""

    name: str
    """An identifier: apache-2.0, cc-by-nc-4.0, ..., or `other`."""
    full_name: str | None = None
    link: str | None = None

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
