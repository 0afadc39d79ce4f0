"""What pyproject.toml cannot say: copies of the code state their commit, and their description has no broken links."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from benchmarks.version import COMMIT, git_commit  # noqa: E402 (its folder is on no path before)


def state_commit(copy: Path) -> None:
    """Write into a copy of the code which commit it was taken from; a copy without one says nothing."""
    stated = copy / COMMIT.relative_to(HERE)
    commit = git_commit()
    stated.unlink(missing_ok=True)  # of an earlier build, or a hard link to the sources
    if commit is not None:
        stated.write_text(commit, encoding="utf-8")


class BuildWithCommit(build_py):
    """The modules of a wheel, with their commit. An editable installation asks git at every run."""

    def run(self) -> None:
        """Copy the modules."""
        super().run()
        if not self.editable_mode:
            state_commit(Path(self.build_lib))


class ArchiveWithCommit(sdist):
    """A source archive with its commit."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Lay out the files of the archive."""
        super().make_release_tree(base_dir, files)
        state_commit(Path(base_dir))


def without_links_into_the_repository(text: str) -> str:
    """Return Markdown without its pictures and with the words alone of links that lead to files beside it."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)\n*", "", text)
    return re.sub(r"\[([^\]]+)\]\((?!https?://)[^)]*\)", r"\1", text)


setup(
    cmdclass={"build_py": BuildWithCommit, "sdist": ArchiveWithCommit},
    long_description=without_links_into_the_repository((HERE / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
