"""`mimbench checkpoint publish`: the folder made, loaded again by timm, and sent where that was asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.verbs.statement import EncoderStatement
from transfer.publish.card import card_bytes
from transfer.publish.folder import put, require_ours, staged
from transfer.publish.licence import Licence, stated_licence
from transfer.publish.model import Publication, find_published
from transfer.publish.push import checked_repository, listing, push
from transfer.publish.scores import Score, find_scores
from transfer.publish.timm_folder import CONFIG, WEIGHTS, Proof, config_bytes, prove, weights_bytes

CARD = "README.md"


def publish(args: argparse.Namespace) -> str:
    """Publish what the arguments name; return what was done, in words. Raises UserError and WorkFailed."""
    licence = stated_licence(args.license, args.license_name, args.license_link)
    repository = checked_repository(args.push) if args.push else None
    known = require_ours(args.out)
    model = find_published(args.encoder, EncoderStatement.of(args), with_head=args.head)
    scores = find_scores(model, args.runs)
    files = {WEIGHTS: weights_bytes(model), CONFIG: config_bytes(model, licence.name)}
    with staged(args.out, files) as stage:
        proof = prove(model, stage)
    card = card_bytes(model, scores, proof, licence, args.name or _name(args.out, repository), repository)
    names = put(args.out, {**files, CARD: card, **{score.file: score.public() for score in scores}}, known)
    said = _said(args.out, model, scores, proof, licence)
    if repository is None:
        return said
    going = f"to {repository} ({'public' if args.public else 'private'}):\n{listing(args.out, names)}"
    if args.dry_run:
        return f"{said}\nwould go {going}"
    return f"{said}\nsent {going}\n{push(args.out, names, repository, public=args.public)}"


def _name(out: Path, repository: str | None) -> str:
    return (repository or "").partition("/")[2] or out.absolute().name


def _said(out: Path, model: Publication, scores: tuple[Score, ...], proof: Proof, licence: Licence) -> str:
    what = f"a classifier of {model.num_classes:,} classes" if model.num_classes else "an encoder"
    numbers = sum(len(score.metrics) for score in scores)
    measured = f"{numbers} scores of {len(scores)} runs" if scores else "no scores (--runs says where runs lie)"
    lines = [f"published: {out}: {model.architecture.name}, {what}, {measured}", proof.in_words()]
    if model.use.published is not None:
        lines.append(f"note: its authors publish it at {model.use.published.page}, and their licence holds")
    if licence.note is not None:
        lines.append(f"note: {licence.note}")
    return "\n".join(lines)
