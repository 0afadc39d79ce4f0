"""What mkdocs adds to the pages of this folder: the repository's own pages, and the help of every command.

README.md is the site's first page, and each fact keeps its one place: nothing is copied into this folder.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
COMMANDS = "commands.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand elsewhere."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=_linked((ROOT / name).read_text(encoding="utf-8"))))
    files.append(File.generated(config, COMMANDS, content=_commands()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Leave the words alone of links that lead out of this folder to what is no page."""
    return re.sub(r"\[([^\]]*)\]\((?:\.\./)+(?:examples|benchmarks|tests)/[^)\s]*\)", r"\1", markdown)


def _linked(text: str) -> str:
    """Return a page of the repository's top with its links as they are on the site."""

    def on_site(link: re.Match[str]) -> str:
        words, target = link.groups()
        name, mark, place = target.partition("#")
        if re.match(r"[a-z]+:|#", target):
            return link[0]
        if name in PAGES or name.startswith("docs/"):
            return f"[{words}]({PAGES.get(name, name.removeprefix('docs/'))}{mark}{place})"
        return words  # a file of the repository that is no page

    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", on_site, text).replace("](docs/", "](")


def _commands() -> str:
    """Return the help of all verbs as one page."""
    sys.path.insert(0, str(ROOT))
    import mimbench

    parts = ["# Commands", f"```text\n{_help([])}\n```"]
    for verb in mimbench.VERBS:
        shown = _help([verb])
        parts += [f"## mimbench {verb}", f"```text\n{shown}\n```"]
        for command in _commands_of(shown):
            parts += [f"### mimbench {verb} {command}", f"```text\n{_help([verb, command])}\n```"]
    return "\n\n".join(parts) + "\n"


def _commands_of(shown: str) -> list[str]:
    """Return the commands that a verb's help lists; none for a verb that has no commands of its own."""
    if not re.search(r"^usage: mimbench [\w-]+ (\[-h\] )?(ACTION|REPORT|COMMAND|\{)", shown):
        return []
    listed = re.search(r"^(?:positional arguments|commands):\n(.*?)(?:\n\n|\Z)", shown, re.MULTILINE | re.DOTALL)
    return re.findall(r"^(?: {2}| {4})([a-z][a-z-]+)(?=\s|$)", listed[1], re.MULTILINE) if listed else []


def _help(words: list[str]) -> str:
    import mimbench

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        mimbench.main([*words, "--help"])
    return printed.getvalue().strip()
