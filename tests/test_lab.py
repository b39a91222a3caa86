"""The predictor laboratory: formulas, learning, splits, calibration, scores and errors."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import run_cli
from families import build
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch", reason="needs the capture extra (torch)")
pytest.importorskip("transformers", reason="needs the capture extra (transformers)")

from prefetch_sim.traces.format import read_trace, write_trace  # noqa: E402
from prefetch_sim.traces.info import trace_info  # noqa: E402
from prefetch_sim.traces.lab.calibration import calibration_error, fit_platt, share  # noqa: E402
from prefetch_sim.traces.lab.card import document_numbers, split_rows  # noqa: E402
from prefetch_sim.traces.lab.counts import KINDS, TINY, ActivationMatrix, LayerFrequency, one_hot  # noqa: E402
from prefetch_sim.traces.lab.hybrid import Hybrid, _union  # noqa: E402
from prefetch_sim.traces.lab.losses import LOSSES, Target  # noqa: E402
from prefetch_sim.traces.lab.networks import Stacked  # noqa: E402
from prefetch_sim.traces.lab.neural import Plan, train  # noqa: E402
from prefetch_sim.traces.lab.scoring import count_hits  # noqa: E402
from prefetch_sim.traces.lab.trained import load_predictor, predict, train_counting  # noqa: E402
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec  # noqa: E402
from prefetch_sim.traces.states import write_gates  # noqa: E402
from prefetch_sim.traces.trace import (  # noqa: E402
    DECODE,
    PREFILL,
    Prediction,
    PredictionInfo,
    Trace,
    TraceError,
    TraceMeta,
)
from prefetch_sim.traces.writer import TraceWriter  # noqa: E402

LAYERS, EXPERTS, TOP_K, HIDDEN = 3, 24, 3, 16
DOCUMENTS, LENGTH = 40, 60
SPEC = ModelSpec(
    name="made-up",
    layers=LAYERS,
    hidden=HIDDEN,
    experts=EXPERTS,
    top_k=TOP_K,
    expert_hidden=8,
    attention=GroupedQueryAttention(heads=2, kv_heads=1, head_dim=8),
    vocab=50,
)


def made_up(folder: Path, spec: ModelSpec = SPEC, seed: int = 0) -> Trace:
    """Routing that follows from the states by a fixed matrix a layer, written as capture does.

    ``layer_input`` decides it; ``gate_input`` of the layer before has nothing to do with it.
    """
    rng = np.random.default_rng(seed)
    tokens = DOCUMENTS * LENGTH
    inputs = rng.standard_normal((tokens, spec.layers, spec.hidden)).astype(np.float16)
    gates = rng.standard_normal((spec.layers, spec.hidden, spec.experts))
    logits = np.einsum("tld,lde->tle", inputs.astype(np.float64), gates)
    experts = np.argsort(-logits, axis=2)[:, :, : spec.top_k].astype(np.int16)
    recorded = {"weights": f"digest{seed} (digest of the routers)"}
    recorded["states"] = "layer_input, gate_input, logits, float16, beside the parts"
    meta = TraceMeta(model=spec, recorded=recorded)
    request = np.repeat(np.arange(DOCUMENTS, dtype=np.int32), LENGTH)
    trace = Trace(
        path=None,
        meta=meta,
        request_id=request,
        position=np.tile(np.arange(LENGTH, dtype=np.int32), DOCUMENTS),
        phase=np.tile((np.arange(LENGTH) >= LENGTH // 2).astype(np.int8), DOCUMENTS),
        token_id=rng.integers(0, 50, tokens).astype(np.int32),
        experts=experts,
        weights=None,
        document=rng.integers(0, 2**62, DOCUMENTS)[request],
    )
    states = {
        "layer_input": inputs,
        "gate_input": rng.standard_normal(inputs.shape).astype(np.float16),
        "logits": logits.astype(np.float16),
    }
    with TraceWriter(folder, meta, part_rows=700) as writer:
        for document in range(DOCUMENTS):
            rows = request == document
            piece = replace(
                trace,
                **{
                    name: getattr(trace, name)[rows]
                    for name in (
                        *("request_id", "position", "phase"),
                        *("token_id", "experts", "document"),
                    )
                },
            )
            writer.append(piece, {kind: values[rows] for kind, values in states.items()})
    write_gates(
        folder,
        gates.transpose(0, 2, 1).astype(np.float32),
        np.zeros((spec.layers, spec.experts), np.float32),
    )
    return read_trace(folder)


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return made_up(tmp_path_factory.mktemp("made-up") / "trace")


QUICK = Plan("pre-attention", 0, hidden=64, epochs=12, batch=128)


# ---- losses: against a direct double loop in float64


def looped(name: str, said: Any, routed: Any, logits: Any) -> float:
    """One layer's loss, [N, E] each, by the paper's formulas written out."""
    rows, experts = said.shape
    chance = 1 / (1 + np.exp(-said))
    top = 10 if experts >= 20 else int(routed.sum(axis=1).max())
    total, pairs = 0.0, 0.0
    for n in range(rows):
        order = sorted(range(experts), key=lambda e: -logits[n, e])
        rank = {e: r for r, e in enumerate(order)}
        mean = sum(logits[n]) / experts
        true = np.exp(logits[n]) / np.exp(logits[n]).sum()
        ours = np.exp(said[n]) / np.exp(said[n]).sum()
        for e in range(experts):
            p, y = chance[n, e], routed[n, e]
            bce = -(y * math.log(p) + (1 - y) * math.log(1 - p))
            if name == "mse":
                total += (said[n, e] - (logits[n, e] - mean)) ** 2
            elif name == "weighted-bce":
                total += (3.0 if rank[e] < top else 0.5) * bce
            elif name == "ranking-bce":
                middle = 30 * top // 10
                weight = 3.0 if rank[e] < top else 1.5 if rank[e] < middle else 0.5
                total += weight * bce
            elif name == "focal":
                right = p if y else 1 - p
                total += (0.25 if y else 0.75) * (1 - right) ** 2 * bce
            elif name == "kl":
                total += experts * true[e] * (math.log(true[e]) - math.log(ours[e]))
        for j in order[:top]:
            for k in order[:top]:
                if logits[n, j] > logits[n, k]:
                    pairs += max(0.0, 0.1 - (chance[n, j] - chance[n, k]))
    value = total / (rows * experts)
    return value + 0.3 * pairs / rows if name == "ranking-bce" else value


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("experts", [16, 40])
def test_loss_is_its_formula(name: str, experts: int) -> None:
    """Two layers at once are the sum of the two."""
    generator = torch.Generator().manual_seed(1)
    said, logits = torch.randn(2, 2, 7, experts, generator=generator, dtype=torch.float64)
    routed = torch.zeros_like(logits).scatter_(2, logits.topk(4, dim=2).indices, 1.0)
    found = LOSSES[name](said, Target(routed, logits))
    wanted = sum(looped(name, *(v[l].numpy() for v in (said, routed, logits))) for l in range(2))
    assert float(found) == pytest.approx(wanted, rel=1e-12)


def test_layers_side_by_side_train_as_each_alone() -> None:
    """No layer's gradient depends on the others."""
    torch.manual_seed(0)
    network = Stacked("arch1", 3, 5, 8, 6).double().eval()
    inputs = torch.randn(3, 9, 5, dtype=torch.float64)
    logits = torch.randn(3, 9, 6, dtype=torch.float64)
    routed = torch.zeros_like(logits).scatter_(2, logits.topk(2, dim=2).indices, 1.0)
    for loss in LOSSES.values():
        network.zero_grad()
        loss(network(inputs), Target(routed, logits)).backward()
        together = network.w1.grad.clone()
        for layer in range(3):
            network.zero_grad()
            one = slice(layer, layer + 1)
            loss(network(inputs)[one], Target(routed[one], logits[one])).backward()
            torch.testing.assert_close(network.w1.grad[layer], together[layer])


def test_arch_1_is_the_papers_layers() -> None:
    torch.manual_seed(0)
    stacked = Stacked("arch1", 2, 5, 8, 6)
    stacked.train()
    inputs = torch.randn(2, 64, 5)
    stacked(inputs)
    stacked.eval()
    for layer in range(2):
        norm = torch.nn.BatchNorm1d(8)
        plain = torch.nn.Sequential(
            torch.nn.Linear(5, 8),
            norm,
            torch.nn.GELU(),
            torch.nn.Dropout(0.1),
            torch.nn.Linear(8, 6),
        )
        plain.eval()
        with torch.no_grad():
            plain[0].weight.copy_(stacked.w1[layer].T)
            plain[0].bias.copy_(stacked.b1[layer, 0])
            plain[4].weight.copy_(stacked.w2[layer].T)
            plain[4].bias.copy_(stacked.b2[layer, 0])
            part = slice(layer * 8, layer * 8 + 8)
            for name in ("running_mean", "running_var"):
                getattr(norm, name).copy_(getattr(stacked.norm, name)[part])
        torch.testing.assert_close(stacked(inputs)[layer], plain(inputs[layer]))


# ---- learning


def recall(trace: Trace, folder: Path) -> float:
    speaker = load_predictor(folder)
    trace.predictions["it"] = predict(trace, speaker, TOP_K + 2)
    hits = count_hits(trace, "it")
    share = hits.slot_recall(TOP_K, hits.layers)
    del trace.predictions["it"]
    assert share is not None
    return share.value


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_learns_a_rule(captured: Trace, loss: str, tmp_path: Path) -> None:
    train(captured, tmp_path, replace(QUICK, architecture="linear", loss=loss, peak_rate=3e-2))
    assert recall(captured, tmp_path) > 0.75


@pytest.mark.parametrize("architecture", ["arch1", "arch2", "gate"])
def test_every_architecture_learns_a_rule(
    captured: Trace, architecture: Any, tmp_path: Path
) -> None:
    card = train(captured, tmp_path, replace(QUICK, architecture=architecture))
    assert card.losses[-1] < card.losses[0]
    assert recall(captured, tmp_path) > 0.6


def test_nothing_leaks_from_shuffled_targets(captured: Trace, tmp_path: Path) -> None:
    """Targets of other tokens: no better than guessing by how often each expert is used."""
    train(captured, tmp_path / "shuffled", replace(QUICK, shuffled=True))
    train_counting(captured, tmp_path / "frequency", "layer-frequency")
    chance = recall(captured, tmp_path / "frequency")
    assert recall(captured, tmp_path / "shuffled") == pytest.approx(chance, abs=0.05)
    assert chance < 0.35


def test_input_without_information_scores_at_chance(captured: Trace, tmp_path: Path) -> None:
    train(captured, tmp_path, replace(QUICK, kind="cross-layer", distance=1))
    assert recall(captured, tmp_path) < 0.35


def test_it_never_speaks_of_documents_it_was_trained_on(captured: Trace, tmp_path: Path) -> None:
    card = train(captured, tmp_path, replace(QUICK, epochs=1))
    said = predict(captured, load_predictor(tmp_path), TOP_K).experts[:, 0, 0] >= 0
    rows = split_rows(captured)
    np.testing.assert_array_equal(said, rows["held-out"])
    assert not set(card.documents) & set(document_numbers(captured)[said].tolist())


@pytest.mark.parametrize("distance", [0, 1, 2])
def test_distance_is_that_of_the_states(tmp_path: Path, distance: int) -> None:
    """Where every layer routes alike by the first layer's state, distance costs nothing."""
    trace = made_up(tmp_path / "t")
    for part in sorted((tmp_path / "t").glob("part-*.layer_input.npy")):
        values = np.load(part)
        # Layer l's state decides layer l + distance: move it there.
        moved = np.roll(values, -distance, axis=1)
        np.save(part, moved)
    plan = replace(QUICK, architecture="linear", peak_rate=3e-2, distance=distance)
    train(trace, tmp_path / "p", plan)
    said = predict(trace, load_predictor(tmp_path / "p"), TOP_K)
    assert (said.experts[:, :distance] == -1).all()
    assert recall(trace, tmp_path / "p") > 0.75


def test_the_gate_is_where_it_starts(captured: Trace, tmp_path: Path) -> None:
    """Here the gate decides by what the predictor reads: right before anything is learned."""
    plan = replace(QUICK, architecture="gate", epochs=1, peak_rate=1e-6)
    train(captured, tmp_path, plan)
    assert recall(captured, tmp_path) > 0.99


def test_a_share_of_the_documents(captured: Trace, tmp_path: Path) -> None:
    whole = train(captured, tmp_path / "whole", replace(QUICK, epochs=1))
    quarter = replace(QUICK, epochs=1, share=0.25)
    part = train(captured, tmp_path / "part", quarter)
    assert quarter.name == "pre-attention-25pc"
    assert set(part.documents) < set(whole.documents)
    assert len(part.documents) == 7 + 4  # of 28 to train on, and 4 to calibrate


def test_flops_of_what_is_read() -> None:
    """A gate reads its own input alone, also where the predictor reads two."""
    both = Stacked("gate", 2, 2 * HIDDEN, 8, EXPERTS)
    both.start_at(torch.randn(2, EXPERTS, HIDDEN), torch.zeros(2, EXPERTS))
    assert both.flops == 2 * (2 * HIDDEN * 8 + 8 * EXPERTS + HIDDEN * EXPERTS)
    assert Stacked("arch2", 1, HIDDEN, 1, EXPERTS).flops == 2 * (HIDDEN + EXPERTS)


def test_gates_of_another_model_are_refused(captured: Trace, tmp_path: Path) -> None:
    trace = made_up(tmp_path / "t")
    write_gates(
        tmp_path / "t", np.zeros((LAYERS, EXPERTS, 5), np.float32), np.zeros((LAYERS, EXPERTS))
    )
    with pytest.raises(TraceError, match="another model's"):
        train(trace, tmp_path / "p", replace(QUICK, architecture="gate"))


def test_training_is_repeatable(captured: Trace, tmp_path: Path) -> None:
    said = []
    for name in ("a", "b"):
        train(captured, tmp_path / name, replace(QUICK, epochs=2, architecture="arch1"))
        said.append(predict(captured, load_predictor(tmp_path / name), TOP_K).experts)
    np.testing.assert_array_equal(said[0], said[1])


def test_layers_in_groups_train_as_all_at_once(
    captured: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real models do not fit at once; every layer is its own predictor either way."""
    from prefetch_sim.traces.lab import neural

    plan = replace(QUICK, architecture="linear", peak_rate=3e-2)
    train(captured, tmp_path / "whole", plan)
    monkeypatch.setattr(neural, "GROUP_BYTES", 1)
    train(captured, tmp_path / "single", plan)
    assert len(torch.load(tmp_path / "single" / "weights.pt", weights_only=True)) == LAYERS
    both = [recall(captured, tmp_path / name) for name in ("whole", "single")]
    assert both[0] == pytest.approx(both[1], abs=0.03)


# ---- calibration


def test_platt_finds_slope_and_offset() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((4000, 8)) * 5
    routed = rng.random(scores.shape) < 1 / (1 + np.exp(-(0.7 * scores - 1.5)))
    assert fit_platt(scores, routed) == pytest.approx((0.7, -1.5), abs=0.05)
    slope, offset = fit_platt(scores + 500, routed)  # however far from zero
    assert (slope, offset + 500 * slope) == pytest.approx((0.7, -1.5), abs=0.05)


def test_held_out_slot_recall_is_what_the_score_says(captured: Trace, tmp_path: Path) -> None:
    card = train(captured, tmp_path / "p", replace(QUICK, epochs=2))
    said = predict(captured, load_predictor(tmp_path / "p"), SPEC.top_k)
    meta = captured.meta.model_copy(update={"predictions": {"p": said.info}})
    hits = count_hits(replace(captured, meta=meta, predictions={"p": said}), "p")
    assert card.slot_recall == pytest.approx(hits.pooled("slots", SPEC.top_k, hits.later), abs=0.01)
    assert share([(1, 4), (3, 4)]) == 0.5
    assert share([]) is None


def test_calibration_error_of_known_cases() -> None:
    assert calibration_error(np.full(100, 0.25), np.arange(100) % 4 == 0) == pytest.approx(0)
    assert calibration_error(np.full(100, 0.9), np.zeros(100, bool)) == pytest.approx(0.9)


@pytest.mark.parametrize("kind", ["pre-attention", "token-table"])
def test_the_error_told_is_that_of_documents_held_out(
    captured: Trace, kind: str, tmp_path: Path
) -> None:
    """Of the experts that it names: as ``score`` has it, but for the mean over layers."""
    every = replace(captured, phase=np.full_like(captured.phase, DECODE))
    if kind in KINDS:
        card = train_counting(captured, tmp_path, kind)
    else:
        card = train(captured, tmp_path, replace(QUICK, epochs=2))
    said = predict(every, load_predictor(tmp_path), SPEC.named())
    held = split_rows(captured)["held-out"]
    right = (said.experts[held][..., None] == captured.experts[held][:, :, None, :]).any(-1)
    errors = [
        calibration_error(said.scores[held, layer].astype(float).ravel(), right[:, layer].ravel())
        for layer in range(LAYERS)
    ]
    assert card.calibration_error == pytest.approx(np.mean(errors), abs=2e-4)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_recorded_scores_are_probabilities(captured: Trace, loss: str, tmp_path: Path) -> None:
    train(captured, tmp_path, replace(QUICK, architecture="linear", loss=loss, peak_rate=3e-2))
    said = predict(captured, load_predictor(tmp_path), EXPERTS)
    spoken = said.experts[:, 0, 0] >= 0
    right = (said.experts[spoken][..., None] == captured.experts[spoken][:, :, None, :]).any(-1)
    assert calibration_error(said.scores[spoken].astype(float).ravel(), right.ravel()) < 0.03


# ---- counting


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_counting_predictors_read_only_the_past(captured: Trace, kind: str) -> None:
    """Routing from a row on, changed at will, changes nothing that is said of that row.

    Except what the same token was routed to in the layers before.
    """
    made = KINDS[kind]
    model = made(made.fit(captured, np.ones(captured.tokens, bool)))
    row = 3 * LENGTH + 47
    assert captured.phase[row] == DECODE  # in prefill they know nothing of the past at all
    other = replace(captured, experts=captured.experts.copy())
    rng = np.random.default_rng(5)
    for layer in range(LAYERS):
        changed = other.experts.copy()
        changed[row, layer:] = rng.permutation(EXPERTS)[:TOP_K]
        changed[row + 1 :] = rng.permutation(EXPERTS)[:TOP_K]
        before = model.scores(captured, np.array([row]), layer)
        after = made(model.tables).scores(replace(other, experts=changed), np.array([row]), layer)
        assert_allclose(before, after)


def test_the_present_token_does_not_choose_the_stored_request(captured: Trace) -> None:
    """Of two requests stored, one is alike in its past, the other in the token to be predicted."""
    rows = np.isin(captured.request_id, [0, 1])
    model = ActivationMatrix(ActivationMatrix.fit(captured, rows))
    row = 3 * LENGTH + 47
    mixed = replace(captured, experts=captured.experts.copy())
    mixed.experts[3 * LENGTH : row] = captured.experts[:47]
    mixed.experts[row:] = captured.experts[LENGTH + 47]
    likeness = model.scores(mixed, np.array([row]), 0)[0]
    of_past = model.tables["stored"][0, 0] + TINY * model.tables["frequency"][0]
    assert_allclose(likeness, of_past)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("layer-frequency", EXPERTS),
        ("previous-token", EXPERTS + TOP_K),
        ("token-table", 2 * EXPERTS),
        ("transition", (1 + TOP_K) * EXPERTS),
        ("combined", (2 + 2 * TOP_K) * EXPERTS),
        ("activation-matrix", 28 * TOP_K + 2 * EXPERTS),  # 70 % of the requests are stored
    ],
)
def test_counting_costs_what_it_looks_up(
    captured: Trace, kind: str, numbers: int, tmp_path: Path
) -> None:
    info = train_counting(captured, tmp_path, kind).info
    assert (info.bytes, info.flops) == (4 * numbers, numbers + 2 * EXPERTS)
    assert info.time_us is not None


def test_a_layer_that_never_routed_is_not_spoken_of(captured: Trace, tmp_path: Path) -> None:
    sparse = replace(captured, experts=captured.experts.copy())
    sparse.experts[:, 1] = -1
    for kind in KINDS:
        train_counting(sparse, tmp_path / kind, kind)
        said = predict(captured, load_predictor(tmp_path / kind), TOP_K).experts
        assert (said[:, 1] == -1).all()
        assert (said[:, 2] >= 0).any()


def test_frequency_is_the_share_of_tokens(captured: Trace) -> None:
    rows = split_rows(captured)["train"]
    tables = LayerFrequency.fit(captured, rows)
    for layer in range(LAYERS):
        assert_allclose(
            tables["frequency"][layer], one_hot(captured, layer)[rows].mean(axis=0), rtol=1e-6
        )


def test_figures_of_the_gpt_oss_recording() -> None:
    """Recall among the first 4 and 8 named, as published beside the recording."""
    path = Path(__file__).parents[2] / "shared/data/gpt-oss-20b/gpt_oss_20b_decode_routing.npz"
    if not path.exists():
        pytest.skip("needs ../shared/data/gpt-oss-20b")
    from prefetch_sim.traces.importers import import_trace

    trace = import_trace(path)
    order = np.random.default_rng(0).permutation(len(trace.requests))
    test = np.isin(trace.request_id, order[: len(order) // 5])
    published = {
        "layer-frequency": (0.288, 0.501),
        "previous-token": (0.437, 0.625),
        "token-table": (0.611, 0.802),
        "transition": (0.602, 0.810),
        "combined": (0.712, 0.896),
    }
    rows = np.flatnonzero(test)
    for kind, wanted in published.items():
        model = KINDS[kind](KINDS[kind].fit(trace, ~test))
        found, layers = np.zeros(2), 0
        for layer in range(trace.model.moe_layers):
            said = model.scores(trace, rows, layer)
            best = np.argsort(-said, axis=1)[:, :8]
            right = (best[:, :, None] == trace.experts[rows, layer][:, None, :]).any(axis=2)
            found += right[:, :4].mean(), right.sum(axis=1).mean() / 4
            layers += 1
        assert found / layers == pytest.approx(wanted, abs=0.01), kind


# ---- hybrids


def test_hybrids(captured: Trace, tmp_path: Path) -> None:
    """Average: between the two in log odds. Union: the near one's top-k, then the far one's."""
    linear = replace(QUICK, architecture="linear", peak_rate=3e-2)
    train(captured, tmp_path / "near", linear)
    train(captured, tmp_path / "far", replace(linear, kind="cross-layer", distance=1))
    near, far = load_predictor(tmp_path / "near"), load_predictor(tmp_path / "far")
    union = predict(captured, Hybrid(far, near, "union"), 2 * TOP_K).experts
    spoken = np.flatnonzero(union[:, 1, 0] >= 0)
    alone = predict(captured, near, TOP_K).experts
    other = predict(captured, far, TOP_K).experts
    for row in spoken[:50]:
        for layer in (1, 2):
            first = union[row, layer, :TOP_K]
            assert set(first) == set(alone[row, layer])
            both = set(alone[row, layer]) | set(other[row, layer])
            assert set(union[row, layer, : len(both)]) == both
    alone = predict(captured, near, 2 * TOP_K).experts
    np.testing.assert_array_equal(union[:, 0], alone[:, 0])  # the far one is silent in layer 0
    average = Hybrid(far, near, "average")
    blocks = zip(average.blocks(captured), far.blocks(captured), near.blocks(captured))
    for (rows, mean), (_, a), (_, b) in blocks:
        keep = ~np.isnan(mean[1, :, 0])
        assert_allclose(mean[1:][:, keep], ((a + b) / 2)[1:][:, keep], rtol=1e-5)
        assert_allclose(mean[0][keep], b[0][keep])  # the far one is silent in layer 0
        assert rows.stop - rows.start == mean.shape[1]


def test_a_union_keeps_the_order_of_each() -> None:
    far = np.array([[[5, 4, 3, 2, -9, -9, -9.0]]])
    near = np.array([[[-9, -9, -9, -9, -5, -6, -7.0]]])
    assert np.argsort(-_union(far, near, 3)[0, 0]).tolist() == [4, 5, 6, 0, 1, 2, 3]


def test_a_prompts_tokens_know_nothing_of_each_other(captured: Trace) -> None:
    """They run at once: what is said of one in prefill depends on no other's routing."""
    prompt = replace(captured, phase=np.full_like(captured.phase, PREFILL))
    changed = replace(prompt, experts=prompt.experts.copy())
    row = 3 * LENGTH + 17
    changed.experts[:row] = np.random.default_rng(5).permutation(EXPERTS)[:TOP_K]
    for made in KINDS.values():
        model = made(made.fit(captured, np.ones(captured.tokens, bool)))
        for layer in range(LAYERS):
            said = model.scores(prompt, np.array([row]), layer)
            assert_allclose(said, model.scores(changed, np.array([row]), layer), err_msg=made.kind)


def test_a_network_and_a_counting_predictor_together(
    captured: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They speak of the same runs of rows, however short these are."""
    from prefetch_sim.traces.lab import trained

    train(captured, tmp_path / "a", replace(QUICK, epochs=1))
    train_counting(captured, tmp_path / "b", "combined")
    both = Hybrid(load_predictor(tmp_path / "b"), load_predictor(tmp_path / "a"), "average")
    whole = predict(captured, both, TOP_K)
    monkeypatch.setattr(trained, "BLOCK", 100)
    np.testing.assert_array_equal(predict(captured, both, TOP_K).experts, whole.experts)


# ---- scores


def test_scores_by_hand() -> None:
    spec = SPEC.model_copy(update={"layers": 1, "experts": 6, "top_k": 2})
    experts = np.array([[[0, 1]], [[2, 3]], [[0, 2]], [[4, 5]]], np.int16)
    named = np.array([[[0, 1, 2]], [[2, 0, 3]], [[-1, -1, -1]], [[0, 1, 2]]], np.int16)
    info = PredictionInfo(trigger="layer_start", distance=0, flops=0, bytes=0, description="")
    scores = np.array([[[0.9, 0.8, 0.1]]] * 4, np.float16)
    trace = Trace(
        path=None,
        meta=TraceMeta(model=spec, predictions={"p": info}),
        request_id=np.array([0, 0, 1, 1], np.int32),
        position=np.array([0, 1, 0, 1], np.int32),
        phase=np.array([0, 1, 0, 1], np.int8),
        token_id=None,
        experts=experts,
        weights=None,
        predictions={"p": Prediction(info, named, scores)},
    )
    hits = count_hits(trace, "p")

    def value(share: Any) -> float:
        return float(share.value)

    assert value(hits.slot_recall(2, [0])) == pytest.approx(3 / 6)
    assert value(hits.slot_recall(3, [0])) == pytest.approx(4 / 6)
    assert value(hits.exact_set(2, [0])) == pytest.approx(1 / 3)
    assert value(hits.exact_set(3, [0])) == pytest.approx(2 / 3)
    assert value(hits.top_1([0])) == pytest.approx(2 / 3)
    assert value(hits.slot_recall(2, [0], "decode")) == pytest.approx(1 / 4)
    assert hits.slot_recall(2, [0], "prefill").value == 1
    # Each score in a bin of its own: |0.9 - 1| + |0.8 - 1| + 0.1, then |1.8 - 1| + 1.6 + |0.2 - 1|.
    assert hits.calibration["prefill"] == pytest.approx(0.4 / 3, abs=1e-3)
    assert hits.calibration["decode"] == pytest.approx(3.2 / 6, abs=1e-3)
    decode = hits.slot_recall(2, [0], "decode")
    assert decode is not None
    assert (decode.low, decode.high) == (0.0, 0.5)


def test_interval_covers_the_spread_of_documents(captured: Trace, tmp_path: Path) -> None:
    """Half of its width is about two standard errors of the mean over documents."""
    train_counting(captured, tmp_path, "layer-frequency")
    captured.predictions["f"] = predict(captured, load_predictor(tmp_path), TOP_K)
    hits = count_hits(captured, "f")
    del captured.predictions["f"]
    found = hits.slot_recall(TOP_K, [0, 1, 2])
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    sets = hits.sets.sum(axis=(1, 2))
    right = hits.named[..., TOP_K - 1].sum(axis=(1, 2))[sets > 0] / sets[sets > 0] / TOP_K
    error = right.std(ddof=1) / math.sqrt(len(right))
    assert (found.high - found.low) / 4 == pytest.approx(error, rel=0.35)


# ---- the command


def test_nobody_foresees_the_first_layers(tmp_path: Path) -> None:
    """A predictor that speaks a layer ahead is not credited with what it names in layer 0."""
    routed = np.array([[[0, 1]] * 3] * 2)
    said = {
        name: (routed, np.ones(routed.shape), "gate_input", d) for name, d in (("a", 0), ("b", 1))
    }
    spec = SPEC.model_copy(update={"layers": 3, "experts": 6, "top_k": 2})
    trace = Trace.from_arrays(spec, routed, predictions=said)
    assert count_hits(trace, "a").layers == [0, 1, 2]
    assert count_hits(trace, "b").layers == [1, 2]
    write_trace(tmp_path / "t.parquet", trace)
    note = "prediction 'b' speaks 1 layer ahead: what it names in layers below 1 counts nowhere"
    assert note in run_cli("trace", "validate", tmp_path / "t.parquet").out
    scored = run_cli("trace", "score", tmp_path / "t.parquet")
    assert note in scored.err
    assert "'a'" not in scored.err


def test_train_predict_score(captured: Trace, tmp_path: Path) -> None:
    out = tmp_path / "predictors"
    done = run_cli(
        *("trace", "train", captured.path, "-o", out, "--hidden", 32, "--epochs", 2),
        *("--predictor", "pre-attention", "--predictor", "cross-layer:2"),
        *("--predictor", "token-table"),
    )
    assert done.code == 0, done.err
    assert sorted(p.name for p in out.iterdir()) == [
        "cross-layer-2",
        "pre-attention",
        "token-table",
    ]
    assert done.out.count(", held-out slot recall ") == 3, done.out
    again = run_cli("trace", "train", captured.path, "-o", out, "--predictor", "token-table")
    assert "there already" in again.out
    changed = captured.experts.copy()
    changed[0] = np.roll(changed[0], 1, axis=1)
    write_trace(tmp_path / "more.parquet", replace(captured, experts=changed))
    more = run_cli(
        *("trace", "train", tmp_path / "more.parquet", "-o", out, "--predictor", "token-table")
    )
    assert (more.code, "other data" in more.err) == (2, True)
    other = run_cli("trace", "train", captured.path, "-o", out, "--predictor", "pre-attention")
    assert (other.code, "other settings" in other.err) == (2, True)
    trace = tmp_path / "t.parquet"
    names = [out / "pre-attention", f"{out}/cross-layer-2+{out}/pre-attention"]
    done = run_cli(
        *("trace", "predict", captured.path, "-o", trace),
        *(word for name in names for word in ("--predictor", name)),
    )
    assert done.code == 0, done.err
    found = read_trace(trace).predictions
    assert set(found) == {"pre-attention", "cross-layer-2_avg_pre-attention"}
    assert found["pre-attention"].info.time_us is not None
    assert found["pre-attention"].info.flops == 2 * (HIDDEN * 32 + 32 * EXPERTS)
    told = run_cli(
        *("trace", "predict", trace, "-o", tmp_path / "u.parquet"),
        *("--predictor", out / "cross-layer-2"),
    )
    assert told.code == 2
    assert f"{trace}: predictor cross-layer-2 reads gate_input, which lies beside" in told.err
    assert f"not in this file: give {captured.path}" in told.err
    about = run_cli("trace", "info", trace, "--json").out
    assert f"float16, beside the parts of {captured.path}" in about
    shown = run_cli("trace", "score", trace)
    assert shown.code == 0, shown.err
    assert "±" in shown.out
    assert "decode, layers 1 and on, %" in shown.out
    assert "half of the 95 % interval" in " ".join(shown.out.split())
    assert run_cli("trace", "score", trace, "--json").out.startswith("{")
    simulated = run_cli(
        *("trace", "validate", trace),
    )
    assert simulated.code == 0


def test_stopped_by_hand_it_says_what_is_kept(
    captured: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    words = ("trace", "train", captured.path, "-o", tmp_path / "p", "--predictor", "token-table")
    first = run_cli(*words)
    documents = len(np.unique(document_numbers(captured)))
    saw = len(load_predictor(tmp_path / "p" / "token-table").card.documents)
    assert f"{saw} of {documents} documents ({documents - saw} held out)" in first.out
    monkeypatch.setattr("prefetch_sim.traces.lab.trained.train_counting", stop)
    done = run_cli(*words, "--predictor", "transition")
    assert done.code == 130
    assert done.err.endswith("stopped: 1 of 2 predictors kept; run again to go on\n")
    monkeypatch.setattr("prefetch_sim.traces.lab.trained.predict", stop)
    out = tmp_path / "out.parquet"
    said = run_cli(
        *("trace", "predict", captured.path, "-o", out, "--predictor", tmp_path / "p/token-table")
    )
    assert said.code == 130
    assert said.err == f"stopped: {out} is not written; run again to begin anew\n"
    assert not out.exists()


def test_info_claims_no_states_of_a_copy(captured: Trace, tmp_path: Path) -> None:
    write_trace(tmp_path / "copy.parquet", captured)
    copy = trace_info(read_trace(tmp_path / "copy.parquet"))["recorded"]["states"]
    assert copy.endswith("float16, beside the parts of the capture, not in this file")
    assert trace_info(captured)["recorded"] == captured.meta.recorded


def test_what_cannot_be_trained_or_spoken(captured: Trace, tmp_path: Path) -> None:
    assert captured.path is not None
    plain = tmp_path / "plain.parquet"
    write_trace(plain, captured)
    train(captured, tmp_path / "p", replace(QUICK, epochs=1))
    wider = made_up(tmp_path / "wider", SPEC.model_copy(update={"hidden": 24}))
    other = made_up(tmp_path / "other", seed=1)
    few = tmp_path / "few.parquet"
    keep = captured.request_id < 3
    write_trace(
        few,
        replace(
            captured,
            **{
                n: getattr(captured, n)[keep]
                for n in ("request_id", "position", "phase", "token_id", "experts", "document")
            },
        ),
    )
    damaged = tmp_path / "damaged"
    train(captured, damaged, replace(QUICK, epochs=1))
    (damaged / "weights.pt").write_bytes(b"nothing")
    far = train(
        captured, tmp_path / "far", replace(QUICK, kind="cross-layer", distance=1, epochs=1)
    )
    assert " 1 layer ahead" in far.info.description
    out = ["-o", tmp_path / "out.parquet", "--predictor"]
    for arguments, message in (
        (("train", plain, "-o", tmp_path / "x", "--predictor", "pre-attention"), "give the folder"),
        (("train", few, "-o", tmp_path / "x", "--predictor", "token-table"), "3 documents"),
        (("train", plain, "-o", tmp_path / "x", "--predictor", "pre-atention"), "did you mean"),
        (("train", plain, "-o", tmp_path / "x", "--predictor", "cross-layer:0"), "layer 1 at"),
        (("train", plain, "-o", tmp_path / "x", "--loss", "bce"), "--loss"),
        (("train", plain, "-o", tmp_path / "x", "--device", "gpu"), "--device gpu"),
        (("train", captured.path, "-o", tmp_path / "x", "--predictor", "cross-layer:3"), "only 3"),
        (("train", plain, "-o", tmp_path / "x", "--predictor", "transition:1"), "no distance"),
        (("train", plain, "-o", tmp_path / "x", "--predictor", "token-table:9"), "only 3"),
        (("predict", captured.path, *out, f"{tmp_path / 'p'}+{tmp_path / 'far'}"), "other way"),
        (("predict", wider.path, *out, tmp_path / "p"), "hidden 16, not on"),
        (
            ("predict", other.path, *out, tmp_path / "p"),
            "predictor pre-attention: trained on made-up (weights digest0), "
            "this trace is of made-up (weights digest1): train one on a capture of it",
        ),
        (
            ("predict", plain, *out, tmp_path / "p"),
            "reads layer_input, which lies beside the parts of the capture, not in this file: give",
        ),
        (("predict", captured.path, *out, damaged), "damaged"),
        (("predict", captured.path, *out, tmp_path), "not a trained predictor"),
        (
            ("predict", captured.path, *out, "next-gate:2"),
            "'trace capture --predictor next-gate:2'",
        ),
        (("train", captured.path, "-o", tmp_path / "x", "--predictor", "next-gate"), "next-gate"),
        (("score", plain), "no predictor was recorded"),
    ):
        done = run_cli("trace", *arguments)
        assert (done.code, message in done.err) == (2, True), (arguments, done.err)
        assert done.err.count("\n") == 1
        assert not (tmp_path / "out.parquet").exists()
        assert not list(tmp_path.glob("x/*/predictor.json"))


def test_a_trained_predictor_speaks_while_the_model_runs(tmp_path: Path) -> None:
    """Live, and afterwards from the recorded states: the same but for float16."""
    from test_capture import write_prompts

    from prefetch_sim.traces.capture.models import load_model
    from prefetch_sim.traces.capture.predictors import live_predictors
    from prefetch_sim.traces.capture.session import Settings, capture

    build("Qwen3Moe").save_pretrained(tmp_path / "model")
    loaded = load_model(str(tmp_path / "model"))
    many = write_prompts(tmp_path / "many.jsonl", (20,) * 30)
    learned = capture(loaded, many, tmp_path / "learned", Settings(1, 8, states=True))
    train(learned, tmp_path / "pre-attention", replace(QUICK, epochs=3))
    named = live_predictors(loaded, [str(tmp_path / "pre-attention")], extra=1)
    few = write_prompts(tmp_path / "few.jsonl", (9, 4, 6), document="apart")
    trace = capture(loaded, few, tmp_path / "t", Settings(5, 2, states=True), named)
    later = predict(trace, load_predictor(tmp_path / "pre-attention"), 3)
    assert (later.experts == trace.predictions["pre-attention"].experts).mean() > 0.98
    again = capture(loaded, many, tmp_path / "again", Settings(1, 8), named)
    silent = again.predictions["pre-attention"].experts[:, 0, 0] < 0
    np.testing.assert_array_equal(silent, ~split_rows(again)["held-out"])
    build("Qwen3Moe", seed=9).save_pretrained(tmp_path / "stranger")
    done = run_cli(
        *("trace", "capture", "--model", tmp_path / "stranger", "--prompts", few),
        *("-o", tmp_path / "u", "--predictor", tmp_path / "pre-attention"),
    )
    assert (done.code, "the model here is stranger (weights " in done.err) == (2, True), done.err
    assert not (tmp_path / "u").exists()
