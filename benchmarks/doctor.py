"""`mimbench doctor`: what this machine has, what is missing, what that is for, and the command that fixes it.

Needs only the standard library until it knows that the rest is there.
"""

from __future__ import annotations

import argparse
import ctypes.util
import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks import plugins
from benchmarks.text.tables import aligned
from benchmarks.version import COMMIT

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
DISTRIBUTION = "mimbench"
ROOM_GB = 5.0

PURPOSES = {
    "torch": "trains and runs the encoders",
    "torchvision": "image reading and transforms",
    "timm": "encoder architectures and augmentation",
    "numpy": "arrays",
    "pillow": "reads images; version 13 crashes timm's RandAugment (posterize to 0 bits)",
    "pydantic": "checks recipes and records",
    "pyyaml": "reads recipes",
    "safetensors": "encoder files that hold no code",
    "scipy": "splines that resize position tables",
    "huggingface_hub": "encoders of the hub: hf-hub:OWNER/NAME",
    "fsspec": "data at an address: data.root=s3://...",
    "scikit-learn": "the handwritten digits of the demo; palettes",
    "submitit": "writes the batch scripts of Slurm jobs",
    "rich": "progress on the terminal",
    "matplotlib": "charts of reports",
    "pandas": "tables of reports",
    "jinja2": "the HTML page of reports",
    "packaging": "compares versions",
    "argcomplete": "completion in the shell",
}
EXTRAS = {
    "detection": "tasks of kind detection (COCO)",
    "detectron2": "detection with engine=detectron2, beside its sources",
    "segmentation": "tasks of kind segmentation (ADE20K)",
    "remote": "shards on web servers: data.root=https://...",
    "s3": "shards on S3: data.root=s3://...",
    "tokens": "pretraining on the tokens of a frozen tokenizer",
    "jpeg": "data.decode=fast in pretraining",
    "video": "tasks of kind video (Kinetics-400)",
    "huggingface": "data.format=huggingface: folders of `datasets`, parquet files",
    "reports": "leaderboards as Parquet",
    "tensorboard": "training.track=[tensorboard]",
    "wandb": "training.track=[wandb]",
    "mlflow": "training.track=[mlflow]",
    "trackers": "the three trackers together",
    "docs": "the documentation as a site: make site",
    "test": "the checks and tests of this project",
}
SLURM = {"sbatch": "submits stages to a cluster", "squeue": "sees their state", "scontrol": "requeues them"}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's answer."""

    name: str
    state: Literal["ok", "missing", "wrong", "warning"]
    found: str
    purpose: str
    remedy: str = ""
    required: bool = False
    """Whether the base works only with it."""

    @property
    def breaks_the_base(self) -> bool:
        return self.required and self.state in ("missing", "wrong")


def main(argv: Sequence[str]) -> int:
    """Print the findings; return 0 when all that the base needs is there, else 1."""
    parser = argparse.ArgumentParser(
        prog="mimbench doctor",
        usage="mimbench doctor [-h] [--cluster NAME]",
        description="Say what this machine has, what is missing, what that is for, and the command that fixes it.",
        epilog="`mimbench doctor --cluster NAME` submits a job of one minute to the Slurm cluster NAME (slurm, or the "
        "YAML file of a cluster) and checks its nodes.",
    )
    parser.parse_args(argv)
    broken: list[str] = []
    for title, findings in (
        ("base", [python(), *requirements()]),
        ("extras (only for their tasks)", list(extras())),
        ("Slurm (only to submit to a cluster)", [slurm(name) for name in SLURM]),
        ("plugins (what other packages add)", [plugin(each) for each in plugins.every()]),
        ("this folder and its tools", [folder(Path.cwd()), git()]),
    ):
        if not findings:
            continue
        show(title, findings)
        broken += [finding.name for finding in findings if finding.breaks_the_base]
    print("importing torch, torchvision and timm ...", flush=True)
    findings = list(engine())
    show("engine", findings)
    broken += [finding.name for finding in findings if finding.breaks_the_base]
    print(f"The base is broken: {', '.join(broken)}." if broken else "Everything the base needs is here.")
    return 1 if broken else 0


def show(title: str, findings: Sequence[Finding]) -> None:
    """Print findings under a title."""
    rows = aligned([(f.state, f.name, f.found, f.purpose) for f in findings]).splitlines()
    print(f"{title}")
    for row, finding in zip(rows, findings, strict=True):
        print(f"  {row}")
        if finding.remedy:
            print(f"           remedy: {finding.remedy}")
    print(flush=True)


def python() -> Finding:
    """Check the interpreter against 3.11, the oldest that this project is tested with."""
    fits = sys.version_info >= (3, 11)
    remedy = "" if fits else "sudo apt install python3.11 python3.11-venv, then build .venv with it"
    return Finding("python", "ok" if fits else "wrong", platform.python_version(), "3.11 or newer", remedy, True)


def requirements(extra: str = "") -> Iterator[Finding]:
    """Yield one finding per package that the base, or else `extra`, asks for."""
    try:
        from packaging.requirements import Requirement

        declared = [Requirement(text) for text in _declared()]
    except (ImportError, importlib.metadata.PackageNotFoundError) as error:
        yield Finding(DISTRIBUTION, "missing", str(error), "this project itself", pip_install(*this_project()), True)
        return
    for each in declared:
        in_base = each.marker is None or each.marker.evaluate({"extra": ""})
        in_extra = each.marker is not None and not in_base and each.marker.evaluate({"extra": extra})
        if (in_extra if extra else in_base) and each.name != DISTRIBUTION:
            yield package(each.name, each.specifier, required=not extra)


def _declared() -> list[str]:
    """Return every requirement, extras with a marker, in the form of a wheel's metadata.

    A checkout's pyproject.toml comes first: the metadata of an editable install may be older.
    """
    source = ROOT / "pyproject.toml"
    if not source.is_file():
        return importlib.metadata.requires(DISTRIBUTION) or []
    project = tomllib.loads(source.read_text(encoding="utf-8"))["project"]
    base: list[str] = project["dependencies"]
    optional = project["optional-dependencies"].items()
    return base + [f'{each}; extra == "{extra}"' for extra, texts in optional for each in texts]


def package(name: str, allowed: SpecifierSet, required: bool) -> Finding:
    """Compare the installed version of `name` with `allowed`, a specifier set such as `>=11,<13`."""
    purpose = PURPOSES.get(name.lower(), "")
    remedy = pip_install(f"{name}{allowed}")
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "missing", f"none, needs {allowed}", purpose, remedy, required)
    if not allowed.contains(version, prereleases=True):
        return Finding(name, "wrong", f"{version}, needs {allowed}", purpose, remedy, required)
    return Finding(name, "ok", version, purpose, required=required)


def extras() -> Iterator[Finding]:
    """Yield one finding per extra, and one for each system library or source folder that an extra lacks."""
    for extra, purpose in EXTRAS.items():
        lacking = [each for each in requirements(extra) if each.state != "ok"]
        names = ", ".join(each.name if each.state == "missing" else f"{each.name} {each.found}" for each in lacking)
        found = f"needs {names}" if lacking else "installed"
        remedy = pip_install(*this_project(extra)) if lacking else ""
        yield Finding(extra, "missing" if lacking else "ok", found, purpose, remedy)
    if _installed("opencv-python") and ctypes.util.find_library("GL") is None:
        yield Finding("libGL", "missing", "none", "opencv-python, for segmentation", "sudo apt install libgl1")
    yield detectron2()


def detectron2() -> Finding:
    """Look for detectron2's sources, which are on no package index."""
    name, purpose = "detectron2 sources", "with the extra detectron2: engine=detectron2"
    found = importlib.util.find_spec("detectron2")
    if found is not None and found.submodule_search_locations:
        return Finding(name, "ok", str(Path(next(iter(found.submodule_search_locations))).parent), purpose)
    remedy = "git clone https://github.com/facebookresearch/detectron2 && export PYTHONPATH=$PWD/detectron2"
    return Finding(name, "missing", "none", purpose, remedy)


def plugin(added: plugins.Plugin) -> Finding:
    """Load what another package adds, and say what is wrong with it."""
    state, name = plugins.state_of(added), f"{added.group}: {added.name}"
    if state == "ok":
        return Finding(name, "ok", added.where, f"mimbench.{added.group}")
    rule, _, remedy = state.partition("\n  rule:   ")[2].partition("\n  remedy: ")
    return Finding(name, "wrong", added.where, " ".join(rule.split()), remedy)


def slurm(command: str) -> Finding:
    """Look for one of Slurm's client commands."""
    path = shutil.which(command)
    if path:
        return Finding(command, "ok", path, SLURM[command])
    return Finding(
        command, "missing", "none", SLURM[command], "work on a login node, or: sudo apt install slurm-client"
    )


def folder(path: Path) -> Finding:
    """Check that runs can be written below `path`, and that there is room for some."""
    purpose = "runs/, data/ and pipelines/ are written here"
    if not os.access(path, os.W_OK):
        return Finding("folder", "warning", f"{path} is read-only", purpose, "cd to a folder of yours, or use --runs")
    free_gb = shutil.disk_usage(path).free / 1e9
    if free_gb < ROOM_GB:
        return Finding("folder", "warning", f"{free_gb:.1f} GB free", purpose, f"free {ROOM_GB:g} GB, or use --runs")
    return Finding("folder", "ok", f"{free_gb:.0f} GB free", purpose)


def git() -> Finding:
    """Look for git, which a copy of the code that states its commit does not need."""
    path = shutil.which("git") or (f"not needed: {COMMIT} states the commit" if COMMIT.is_file() else None)
    purpose = "notes the commit of this code in every record"
    return Finding("git", "ok" if path else "warning", path or "none", purpose, "" if path else "sudo apt install git")


PROBE = """
import json, timm, torch, torchvision
torchvision.ops.nms
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
old = bool(gpus) and not torch.cuda.is_bf16_supported(including_emulation=False)
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus, "without_bf16": old}))
"""


def engine() -> Iterator[Finding]:
    """Import torch, torchvision and timm together in a process of their own, and count the GPUs."""
    purpose = "torch, torchvision and timm fit together"
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        again = pip_install("--force-reinstall", "torch", "torchvision", "timm")
        yield Finding("import", "wrong", reason, purpose, again, True)
        return
    found = json.loads(done.stdout.splitlines()[-1])
    yield Finding("import", "ok", f"torch {found['torch']}, CUDA {found['cuda'] or 'none'}", purpose, required=True)
    yield gpus(found["gpus"], found["cuda"], found["without_bf16"])


def gpus(names: Sequence[str], cuda: str | None, without_bf16: bool = False) -> Finding:
    """Return the finding about the GPUs that torch sees; none is a warning only where the machine has one."""
    purpose = "pretraining on real data"
    if names and without_bf16:
        remedy = "training.precision=fp16 (or inference.precision=fp16) in recipes that say bf16"
        return Finding("GPU", "warning", f"{', '.join(names)}, without bf16", purpose, remedy)
    if names:
        return Finding("GPU", "ok", ", ".join(names), purpose)
    if shutil.which("nvidia-smi") is None:
        return Finding("GPU", "missing", "none; the CPU is used", purpose)
    remedy = "nvidia-smi shows the driver; " + (f"it must support CUDA {cuda}" if cuda else pip_install("torch"))
    return Finding("GPU", "warning", "nvidia-smi is here, but torch sees no GPU", purpose, remedy)


def pip_install(*what: str) -> str:
    """Return the command that installs `what` for this interpreter, with the tested versions where they are known."""
    pins = ROOT / "constraints.txt"
    tested = ["-c", str(pins)] if pins.is_file() else []
    return shlex.join([sys.executable, "-m", "pip", "install", *tested, *what])


def this_project(extra: str = "") -> list[str]:
    """Return pip's arguments for this project: the checkout where there is one, else the distribution."""
    wanted = f"[{extra}]" if extra else ""
    return ["-e", f"{ROOT}{wanted}"] if (ROOT / "pyproject.toml").is_file() else [f"{DISTRIBUTION}{wanted}"]


def _installed(name: str) -> bool:
    return any(True for _ in importlib.metadata.distributions(name=name))
