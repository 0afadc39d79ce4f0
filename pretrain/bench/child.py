"""One program in a process of its own, which does a round whenever it is asked to: `python -m pretrain.bench.child`.

A process each: so no program's settings, memory or modules reach another's. The first line on stdin says what to build
(`Order`); every further line asks for a round. Each answer on stdout is one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks import huge_pages
from benchmarks.config import Config, Recipe
from benchmarks.errors import UserError, WorkFailed, printable
from pretrain.recipe import PretrainRecipe

OWN = "mimbench"
"""The name of the program that the others are compared with."""


class Order(Config):
    """What a child is to build."""

    part: str
    name: str
    shown: str | None = None
    """Its name in the record, where that is another."""
    path: str | None
    recipe_name: str
    recipe: PretrainRecipe
    threads: int
    processes: int = 1
    """How many processes train together; each is a child of its own, with torchrun's variables."""
    began_s: float = 0.0
    """When its process was started, in seconds since 1970."""


def main() -> None:
    """Build the program and answer until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    order = Order.model_validate_json(sys.stdin.readline())
    if order.name == OWN:
        huge_pages.ask()
    try:
        from benchmarks.engine.processes.exchange import joined  # torch, which takes seconds
        from benchmarks.engine.watch.resources import resources_in_words

        with joined(), resources_in_words(order.recipe.training):
            _serve(order, answer)
    except UserError as error:
        answer(error=str(error))
    except WorkFailed as error:
        answer(failed=str(error))
    except (KeyboardInterrupt, BrokenPipeError):  # whoever asked is stopped, too, or gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())
    except Exception as error:
        if order.name == OWN:
            raise
        traceback.print_exc()
        answer(error=str(_cannot(order, error)))


def _cannot(order: Order, error: Exception) -> UserError:
    """Return the error for another program that is not whole, or does not do what the recipe asks for."""
    said = printable(f"{type(error).__name__}: {error}".partition("\n")[0])
    rule = f"a program that is installed whole and can do this work; it ended with {said}"
    remedy = "leave it out, repair it, or take a recipe that it can train"
    return UserError.about("--peer", order.name if order.path is None else f"{order.name}={order.path}", rule, remedy)


def _serve(order: Order, answer: Any) -> None:
    import torch

    torch.set_num_threads(order.threads)
    from benchmarks.engine.device import choose_device, device_name, multiplied_in, peak_memory_mb
    from benchmarks.engine.flops import matrix_flops_per_second, seconds_of
    from benchmarks.families.products import product_by_onednn
    from pretrain.bench.programs import program
    from pretrain.method.fast_step import ONEDNN

    training = order.recipe.training
    device = choose_device(training)
    path, imported_s = None if order.path is None else Path(order.path), time.time() - order.began_s
    base = peak_memory_mb(device)
    built = program(order.part, order.name, Recipe(order.recipe_name, order.recipe, ()), path)
    about = {"ways": built.ways, "flops_per_image": built.flops_per_image, "parameters": built.parameters}
    answer(device=device_name(device), **about, base_mb=base, parts_s={"imports": imported_s, **built.parts_s})
    for line in sys.stdin:
        if line.strip() == "rate":
            product = product_by_onednn if ONEDNN in built.ways else torch.matmul
            answer(flops_per_second=matrix_flops_per_second(device, multiplied_in(training), product))
            continue
        cpu = time.process_time()
        seconds = seconds_of(built.round, device)
        answer(seconds=seconds, cpu_seconds=time.process_time() - cpu, memory_mb=peak_memory_mb(device))


if __name__ == "__main__":
    main()
