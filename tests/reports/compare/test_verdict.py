"""Rank correlations against SciPy, on the published runs and on runs at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import mimbench
from benchmarks.catalogue.published import REFERENCES
from benchmarks.runs.record import MetricValue
from reports.compare.early_verdict import conclusion, published
from reports.compare.rank_correlation import spearman
from reports.leaderboard.board import Request, make
from reports.leaderboard.notes import doubts_of_losses, words
from tests.reports import factory


@pytest.mark.parametrize("ties", [False, True])
def test_rho_is_scipy_s_and_the_interval_is_its_bootstrap_with_the_same_seed(ties: bool) -> None:
    draws = np.random.default_rng(2).normal(size=(2, 15))
    x, y = draws[0], draws[0] + draws[1]
    if ties:
        x, y = x.round(), y.round()
    found = spearman(list(x), list(y))
    assert found is not None
    assert found.n == 15
    assert found.rho == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    witness = scipy.stats.bootstrap(
        (x, y),
        lambda a, b: scipy.stats.spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = witness.confidence_interval
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize(("x", "y"), [([1, 2, 3, 4], [1, 2, 3, 4]), ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5])])
def test_too_few_pairs_or_no_variation_have_no_correlation(x: list[float], y: list[float]) -> None:
    assert spearman(x, y) is None


def test_the_model_hub_s_63_runs() -> None:
    """SciPy's Spearman on the file as its page has it, per model size."""
    found = {one.among.split(",")[0]: one for one in published()}
    assert sum(len(one.pairs) for one in found.values()) == 63
    expected = {"SwinV2-S": -0.6434, "SwinV2-B": -0.8740, "SwinV2-L": -0.9750, "SwinV2-H": -0.9441, "SwinV2-g": -0.9167}
    for size, rho in expected.items():
        verdict = found[size]
        losses, scores = [pair.signal for pair in verdict.pairs], [pair.score for pair in verdict.pairs]
        assert scipy.stats.spearmanr(losses, scores).statistic == pytest.approx(rho, abs=5e-5)
        assert verdict.correlation is not None
        assert verdict.correlation.rho == pytest.approx(rho, abs=5e-5)
        assert verdict.correlation.low < rho < verdict.correlation.high < 0


def study(root: Path, losses: list[float], probes: list[float]) -> Path:
    """Write encoders whose fine-tuned score rises by one from each to the next."""
    probe = factory.recipe("digits_knn")
    probe = probe.model_copy(update={"resolved": {**probe.resolved, "protocol": "knn"}})
    for number, (loss, knn) in enumerate(zip(losses, probes, strict=True)):
        value = MetricValue(last=loss, best=loss, best_epoch=1)
        parent = factory.pretrain(number, metrics={"masked_loss": value})
        factory.write(root, parent)
        use = factory.encoder(f"e{number}", sha256=factory.sha(str(number)))
        factory.write(root, factory.transfer(encoder=use, top1=80.0 + number, parents=(parent.run_id,)))
        factory.write(root, factory.transfer(encoder=use, top1=knn, recipe=probe))
    return root


def test_signals_of_the_runs_at_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = study(tmp_path, [0.5, 0.4, 0.3, 0.25, 0.2, 0.1], [60.0, 61.0, 59.0, 64.0, 63.0, 70.0])
    section, frozen = make(Request((str(runs),))).sections
    loss, knn = section.verdicts
    assert (section.title, frozen.title, frozen.verdicts) == ("digits (fine-tuned)", "digits (frozen)", ())
    assert loss.signal.words.startswith("masked_loss of pretraining")
    assert loss.correlation is not None
    assert loss.correlation.rho == pytest.approx(-1)
    assert knn.signal.words.startswith("top1 by knn (digits_knn, ")
    assert knn.correlation is not None
    assert knn.correlation.rho == pytest.approx(scipy.stats.spearmanr(range(6), [60, 61, 59, 64, 63, 70]).statistic)
    assert mimbench.main(["report", "verdict", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "Spearman -1.00 [-1.00, -1.00] (bootstrap, n = 6)" in said
    assert "SwinV2-B" in said


def test_losses_under_other_masks_are_other_signals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        value = MetricValue(last=0.1 * number, best=0.1, best_epoch=1)
        recipe = factory.recipe("digits_simmim")
        masking = {"mask_ratio": 0.6 if number < 3 else 0.8}
        recipe = recipe.model_copy(update={"resolved": {**recipe.resolved, "masking": masking}})
        parent = factory.pretrain(number, metrics={"masked_loss": value}, recipe=recipe)
        factory.write(tmp_path, parent)
        use = factory.encoder(f"e{number}", sha256=factory.sha(str(number)))
        factory.write(tmp_path, factory.transfer(encoder=use, top1=80.0 + number, parents=(parent.run_id,)))
    (section,) = make(Request((str(tmp_path),))).sections
    assert [len(one.pairs) for one in section.verdicts] == [3, 3]
    assert all("no rank correlation (3 encoders" in one.words for one in section.verdicts)
    assert mimbench.main(["report", "verdict", str(tmp_path)]) == 0
    assert "a lower one need not be better: they differ in masking." in " ".join(capsys.readouterr().out.split())


def test_losses_on_data_sets_of_other_sizes_are_not_trusted_and_how_each_learned_is_no_reason(tmp_path: Path) -> None:
    value = MetricValue(last=0.1, best=0.1, best_epoch=1)
    for folder, images in (("alike", [1079, 1079, 1079]), ("sizes", [100, 1079, 1079])):
        for number, count in enumerate(images):
            recipe = factory.recipe("digits_simmim", epochs=100 * (number + 1))
            found = factory.data(f"{count} images, content 90aa11bb22cc33dd")
            parent = factory.pretrain(number, metrics={"masked_loss": value}, recipe=recipe, data=found)
            factory.write(tmp_path / folder, parent)
            use = factory.encoder(f"e{number}", sha256=factory.sha(str(number)))
            factory.write(tmp_path / folder, factory.transfer(encoder=use, top1=80.0, parents=(parent.run_id,)))
    doubts = {name: [*doubts_of_losses(make(Request((str(tmp_path / name),))))] for name in ("alike", "sizes")}
    assert doubts["alike"] == []
    (said,) = doubts["sizes"]
    assert "they differ in data." in said


def test_what_a_rung_pruned_is_accounted_for_and_no_failure(tmp_path: Path) -> None:
    why = "rate-base_lr=0.1 at 0.3 of its training: held-out loss 0.5 after epoch 30 is number 3 of 4; 2 go on"
    factory.write(tmp_path, factory.pretrain(1, status="preempted", error=why, pruned=why, finished_at=None))
    factory.write(tmp_path, factory.transfer())
    board = make(Request((str(tmp_path),)))
    (left,) = board.left_out
    assert left.reason == f"pruned by a rung: {why}"
    said = words(board)
    assert "1 left out (1 pruned by a rung)" in said.account
    assert any("cannot be seen from those alone that it chose" in note for note in said.notes)


def test_an_encoder_finds_its_pretraining_by_its_weights_where_no_parent_is_named(tmp_path: Path) -> None:
    parent = factory.pretrain(metrics={"avg_dist_px": MetricValue(last=12.5)}, exported_sha256=factory.sha("carried"))
    factory.write(tmp_path, parent)
    for label, weights in (("carried", "carried"), ("renamed", "carried"), ("stranger", "another")):
        use = factory.encoder(label, sha256=factory.sha(weights))
        factory.write(tmp_path, factory.transfer(encoder=use), name=label)
    (section,) = make(Request((str(tmp_path),))).sections
    assert [[pair.name for pair in one.pairs] for one in section.verdicts] == [["carried", "renamed"]]


def test_choosing_by_the_lowest_loss_on_published_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Against the source's table as it stands beside the plan, by pandas and SciPy."""
    path = REFERENCES / "swinv2_simmim.csv"
    table = (
        pd.read_csv(path)
        .pivot_table(index=["backbone", "variant"], columns="metric", values="value")
        .dropna(subset=["masked_loss", "top1"])
    )
    lost = [size.top1.max() - size.top1[size.masked_loss.idxmin()] for _, size in table.groupby("backbone")]
    found = conclusion()
    assert found.runs == len(table) == 63
    assert found.largest_regret == pytest.approx(max(lost))
    assert found.correlation is not None
    assert found.correlation.rho == pytest.approx(scipy.stats.spearmanr(table.masked_loss, table.top1).statistic)
    assert {count for _, count in found.turned} == {3}
    assert mimbench.main(["report", "verdict"]) == 0
    first = " ".join(capsys.readouterr().out.split())
    assert "costs at most 0.07 points of accuracy within a size; over all 63 runs Spearman -0.90." in first
