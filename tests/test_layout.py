"""Facts about the whole repository: where packages come from, what `--help` imports, where verbs and links lead."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mimbench as entry
from tests.support.command import ROOT, mimbench
from tests.support.sources import repository_files

PACKAGES = ("benchmarks", "pretrain", "transfer", "slurm", "reports")
HEAVY = ("torch", "torchvision", "timm", "numpy", "pandas", "pydantic", "yaml", "rich", "matplotlib", "submitit")


@pytest.mark.parametrize("name", PACKAGES)
def test_package_is_imported_from_the_repository(name: str) -> None:
    package = importlib.import_module(name)
    assert Path(package.__file__ or "").resolve() == ROOT / name / "__init__.py"


@pytest.mark.parametrize("folder", [ROOT / "tests", *(path for path in (ROOT / "tests").rglob("*") if path.is_dir())])
def test_every_test_folder_is_a_package(folder: Path) -> None:
    holds_tests = any(folder.rglob("test_*.py"))
    assert (folder / "__init__.py").is_file() or not holds_tests


@pytest.mark.parametrize("name", [f"{package}/__init__.py" for package in PACKAGES] + ["slurm.py", "benchmarks/a.txt"])
def test_another_package_of_the_same_name_is_never_imported_in_place_of_ours(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise SystemExit('imported')\n")
    done = mimbench("list", "tasks", cwd=tmp_path)
    if name.endswith(".txt"):  # a folder of data hides no package
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == entry.WRONG
    assert done.stderr.startswith(f"error: import {Path(name.split('/')[0]).stem} = {tmp_path / name}\n  rule:   ")
    assert len(done.stderr.splitlines()) == 3


def test_the_version_is_that_of_the_project(tmp_path: Path) -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert mimbench("--version", cwd=tmp_path).stdout.startswith(f"mimbench {version}")
    assert entry.__version__ == version


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, mimbench; mimbench.main(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "mimbench" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_help_names_every_verb() -> None:
    done = mimbench("--help")
    assert done.returncode == 0
    for verb, (_, meaning) in entry.VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(meaning)}$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("verb", entry.VERBS)
def test_verb_leads_to_a_main_that_takes_its_arguments(verb: str) -> None:
    module = importlib.import_module(entry.VERBS[verb][0])
    lent = [entry.LENT[verb][1]] if verb in entry.LENT else []
    assert list(inspect.signature(module.main).parameters) == ["argv", *lent]


@pytest.mark.parametrize("verb", entry.VERBS)
def test_verb_teaches_itself_without_importing_torch(verb: str) -> None:
    code = "import sys, mimbench\ntry: mimbench.main(sys.argv[1:])\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, verb, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: mimbench")
    assert "torch" not in done.stderr.split()


def test_without_a_verb_the_help_is_shown_and_the_request_is_wrong() -> None:
    done = mimbench()
    assert done.returncode == 2
    assert done.stdout.startswith("usage: mimbench VERB")


def test_misspelt_verb_gets_four_parts_and_no_traceback() -> None:
    done = mimbench("docter")
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "error: verb = docter"
    assert lines[1].startswith("  rule: ")
    assert lines[2].startswith("  remedy: Did you mean doctor? ")
    assert len(lines) == 3


def test_output_into_a_closed_pipe_ends_quietly() -> None:
    command = f"{sys.executable} -m mimbench list references | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("references: ")
    assert done.stderr == ""


def _repository_links() -> list[tuple[str, str]]:
    pages = sorted(name for name in repository_files() if name.endswith(".md"))
    pattern = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
    found = [(page, a or b) for page in pages for a, b in pattern.findall((ROOT / page).read_text(encoding="utf-8"))]
    return [(page, target) for page, target in found if not re.match(r"[a-z]+:|#", target)]


@pytest.mark.parametrize(("page", "target"), _repository_links())
def test_link_between_pages_leads_to_a_file(page: str, target: str) -> None:
    assert ((ROOT / page).parent / target.split("#")[0]).exists()
