"""Sending a published folder to a hub: only what the person asks for, and only when they do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from benchmarks.errors import UserError, WorkFailed

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def checked_repository(name: str) -> str:
    """Return the repository's name. Raises UserError for what is no OWNER/NAME."""
    owner, separator, rest = name.partition("/")
    if not separator or not all(
        _NAME.fullmatch(part) and ".." not in part and "--" not in part for part in (owner, rest)
    ):
        rule = "OWNER/NAME of letters, digits, ., - and _"
        raise UserError.about("--push", name, rule, "e.g. --push my-lab/simmim-swin-base")
    return name


def listing(folder: Path, names: Sequence[str]) -> str:
    """Return what would go, a line for each file with its size."""
    sizes = [(folder / name).stat().st_size for name in names]
    width = max(map(len, names))
    return "\n".join(f"  {name:{width}}  {size:>13,} bytes" for name, size in zip(names, sizes, strict=True))


def push(folder: Path, names: Sequence[str], repository: str, *, public: bool) -> str:
    """Upload these files of the folder, and nothing else, by the login of huggingface_hub; return the address.

    A repository that is not there is made, private unless `public`. Raises UserError where it is there and public while
    that was not asked for, WorkFailed where the hub refuses.
    """
    api = HfApi()
    try:
        _require_private(api, repository, public)
        api.create_repo(repository, private=not public, exist_ok=True)
        info: Any = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(names),
            commit_message="Publish by mimbench",
        )
    except UserError:
        raise
    except Exception as error:  # hub clients raise many kinds; each means the same
        first = (str(error).strip().splitlines() or [""])[0]
        raise WorkFailed(
            f"{repository} was not uploaded: {type(error).__name__}: {first}\n"
            f"  remedy: `hf auth login`, then the same command again; the folder is whole: {folder}"
        ) from None
    return str(getattr(info, "commit_url", "") or repository)


def _require_private(api: HfApi, repository: str, public: bool) -> None:
    try:
        found = api.repo_info(repository)
    except RepositoryNotFoundError:
        return
    if not public and not found.private:
        rule = "a private repository, unless --public is given: everybody sees this one"
        raise UserError.about("--push", repository, rule, "add --public, or name another repository")
