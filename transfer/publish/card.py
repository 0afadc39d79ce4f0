"""The model card: scores, provenance and limits for people, and the same scores for programs in its front matter."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from benchmarks.errors import WorkFailed
from benchmarks.history import in_words
from benchmarks.text.markup import markdown, one_line
from transfer.publish.licence import Licence
from transfer.publish.model import Publication
from transfer.publish.scores import Score, eval_results
from transfer.publish.timm_folder import Proof

_NOBODY = "OWNER/NAME"
"""What stands in examples where nothing says how the repository is called."""


def card_bytes(
    model: Publication, scores: Sequence[Score], proof: Proof, licence: Licence, name: str, repository: str | None
) -> bytes:
    """Return `README.md`. Names out of records and files are data in it: they mean nothing in Markdown, HTML or YAML.

    Raises WorkFailed where Hugging Face's own library does not read the card back as it was meant.
    """
    data = _front_matter(model, eval_results(scores, repository), licence, one_line(name))
    body = "\n".join(_body(model, scores, proof, licence, one_line(name), repository or _NOBODY))
    text = f"---\n{data.to_yaml()}\n---\n\n{body}\n"
    _validate(text, data, scores, repository)
    return text.encode()


def _front_matter(model: Publication, results: list[EvalResult], licence: Licence, name: str) -> ModelCardData:
    kind = "image-classification" if model.num_classes else "image-feature-extraction"
    return ModelCardData(
        license=licence.name,
        license_name=licence.full_name,
        license_link=licence.link,
        library_name="timm",
        pipeline_tag=kind,
        tags=[kind, "mimbench", "timm"],
        model_name=name if results else None,
        eval_results=results or None,
    )


def _validate(text: str, data: ModelCardData, scores: Sequence[Score], repository: str | None) -> None:
    """Raise WorkFailed unless the card's text, read by the library, has the data, and every number with its run."""
    read = ModelCard(text)
    found: Any = read.data
    wanted = eval_results(scores, repository)
    if wanted:
        index = eval_results_to_model_index(str(data.model_name), wanted)
        _, again = model_index_to_eval_results(index)
        if again != wanted or found.eval_results != wanted:
            raise WorkFailed("the model card's model-index does not hold the scores that were measured")
    if found.license != data.license or not read.text.strip().startswith("# "):
        raise WorkFailed("the model card is not read as it was written")


def _body(
    model: Publication, scores: Sequence[Score], proof: Proof, licence: Licence, name: str, repository: str
) -> list[str]:
    what = f"a classifier of {model.num_classes:,} classes" if model.num_classes else "an encoder of images"
    return [
        f"# {markdown(name)}",
        "",
        f"{_cell(model.architecture.name)}, {what}, written by mimbench {version('mimbench')}.",
        "",
        "## Scores",
        "",
        *_scores(model, scores),
        "",
        "## Provenance",
        "",
        *_table(("", ""), _provenance(model, proof)),
        "",
        "## Use",
        "",
        *_use(model, repository),
        "",
        "## Limits",
        "",
        *(f"- {sentence}" for sentence in _limits(model, scores)),
        "",
        "## Licence",
        "",
        f"{_cell(licence.words)}, as whoever published this states it.",
    ]


def _scores(model: Publication, scores: Sequence[Score]) -> list[str]:
    if not scores:
        return ["None were given: no run on record started from these weights, where it was looked for."]
    rows = [
        (
            score.task.name,
            score.data,
            score.protocol,
            score.recipe,
            str(score.record.seed),
            f"{name} {value:g} {score.unit(name)}".rstrip(),
            score.record.run_id,
        )
        for score in scores
        for name, value in score.metrics.items()
    ]
    head = ("task", "data", "protocol", "recipe", "seed", "score", "run")
    said = "the run that trained this model" if model.num_classes else "runs that started from these very weights"
    return [*_table(head, rows), "", f"Measured by {said}; the last epoch's. Each is in `runs/`, with its recipe."]


def _provenance(model: Publication, proof: Proof) -> list[tuple[str, str]]:
    use = model.use
    shape = f"{model.image_size_px} px, {model.architecture.in_chans} channels"
    mean, std = (
        ", ".join(f"{value:.4g}" for value in each) for each in (model.normalisation.mean, model.normalisation.std)
    )
    rows = [
        ("architecture", model.architecture.name),
        ("images", f"{shape}; mean {mean}; standard deviation {std}"),
        ("parameters", f"{sum(each.numel() for each in model.tensors.values()):,} with buffers"),
        ("method", use.method),
        ("stage", use.init_stage if not model.num_classes else "fine-tuned with its head"),
        ("training", in_words(use.history) if use.history else "not known"),
        ("epochs", "not known" if use.epochs is None else str(use.epochs)),
    ]
    if model.recipe is not None:
        rows += [("recipe", f"{model.recipe[0]} ({model.recipe[1]})")]
    if model.record is not None:
        rows += [("run", model.record.run_id)]
    if use.published is not None:
        rows += [("from", f"{use.published.name}: {use.published.page}, file sha256 {use.published.file_sha256}")]
    return [*rows, ("sha256 of the encoder", str(use.sha256)), ("check", proof.in_words())]


def _use(model: Publication, repository: str) -> list[str]:
    head = "" if model.num_classes else ", num_classes=0"
    return [
        "```python",
        "import timm",
        "",
        f'model = timm.create_model("hf-hub:{repository}", pretrained=True{head}).eval()',
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)",
        "```",
        "",
        "From a folder: `local-dir:FOLDER` in place of `hf-hub:...`. With mimbench:",
        "",
        "```",
        f"mimbench {_verb(model)} hf-hub:{repository} --stage {_stage(model)}",
        "```",
    ]


def _verb(model: Publication) -> str:
    return "evaluate TASK --model" if model.num_classes else "transfer TASK --encoder"


def _stage(model: Publication) -> str:
    if not model.num_classes:
        return model.use.init_stage
    return "supervised" if model.use.init_stage == "random" else "fine-tuned"


def _limits(model: Publication, scores: Sequence[Score]) -> list[str]:
    measured = sorted({score.data for score in scores})
    data = ", ".join(_cell(name) for name in measured)
    said = (
        f"Measured on {data} alone; nothing is known of it elsewhere." if data else "Nothing was measured of it here."
    )
    known = model.use.pretraining_data
    trained = "What it was trained on is not known, so test images may have been among it." if known is None else ""
    few = {score.task.name for score in scores if sum(s.task.name == score.task.name for s in scores) == 1}
    seeds = f"One run each: {', '.join(sorted(few))}; a second seed would give another score." if few else ""
    size = f"It was checked at {model.image_size_px} px; other sizes give other features."
    classes = (
        "Its classes are in the order of training; their names are not known."
        if (model.num_classes and not model.classes)
        else ""
    )
    return [each for each in (said, trained, seeds, size, classes, *(_cell(note) for note in model.notes)) if each]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(text: str) -> str:
    return markdown(one_line(text))
