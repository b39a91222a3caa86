"""Capture: what is recorded is what the model used, for every family, padded or not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import command, run_cli
from families import FAMILIES, ODD, VOCAB, build, dense, mxfp4, save
from numpy.testing import assert_allclose

from prefetch_sim.traces.format import DECODE, PREFILL, Trace, TraceError, read_trace

torch = pytest.importorskip("torch", reason="needs the capture extra (torch)")
pytest.importorskip("transformers", reason="needs the capture extra (transformers)")

from prefetch_sim.traces.capture import session  # noqa: E402
from prefetch_sim.traces.capture.encoding import encode  # noqa: E402
from prefetch_sim.traces.capture.generate import Decoder, _to_cpu  # noqa: E402
from prefetch_sim.traces.capture.models import Loaded, check_device, load_model  # noqa: E402
from prefetch_sim.traces.capture.predictors import GatePredictor, live_predictors  # noqa: E402
from prefetch_sim.traces.capture.prompts import read_prompts  # noqa: E402
from prefetch_sim.traces.capture.recorder import Recording, RoutingRecorder  # noqa: E402
from prefetch_sim.traces.capture.session import Settings, capture, measure_overhead  # noqa: E402
from prefetch_sim.traces.capture.timing import TimingRecorder  # noqa: E402
from prefetch_sim.traces.states import open_states, read_gates  # noqa: E402

LENGTHS = (5, 11, 3, 8, 1, 7)
NEW = 6


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load_model(str(save(request.param, tmp_path_factory.mktemp(request.param))))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("Qwen3Moe", tmp_path_factory.mktemp("qwen"))


def write_prompts(path: Path, lengths: tuple[int, ...] = LENGTHS, **more: Any) -> Path:
    rng = np.random.default_rng(0)
    rows = [{"tokens": rng.integers(3, VOCAB, n).tolist(), **more} for n in lengths]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def fed(trace: Trace, request: int) -> Any:
    """Token ids that were fed to the model in one request, [1, S]."""
    assert trace.token_id is not None
    return torch.from_numpy(trace.token_id[trace.request_id == request]).long()[None]


@pytest.mark.parametrize("batch", [1, 4])
def test_routing_is_what_a_plain_forward_pass_uses(
    loaded: Loaded, batch: int, tmp_path: Path
) -> None:
    """Each request alone, without cache, padding or our recorder: what its experts are handed."""
    settings = Settings(NEW, batch, states=True, logits=True)
    trace = capture(loaded, write_prompts(tmp_path / "p.jsonl"), tmp_path / "t", settings)
    assert trace.model.moe_layer_indices == tuple(p.index for p in loaded.roles.moe)
    for request in range(len(LENGTHS)):
        used: list[Any] = []
        handles = [
            part.experts.register_forward_pre_hook(lambda _m, args, to=used: to.append(args[1:3]))
            for part in loaded.roles.moe
        ]
        with torch.no_grad():
            loaded.model(input_ids=fed(trace, request), use_cache=False)
        for handle in handles:
            handle.remove()
        rows = trace.request_id == request
        for layer, (ids, weights) in enumerate(used):
            order = weights.argsort(dim=1, descending=True, stable=True)
            np.testing.assert_array_equal(trace.experts[rows, layer], ids.gather(1, order))
            assert trace.weights is not None
            np.testing.assert_allclose(
                trace.weights[rows, layer], weights.gather(1, order), rtol=2e-3, atol=1e-4
            )


def test_routing_is_the_top_of_the_models_router_logits(loaded: Loaded, tmp_path: Path) -> None:
    """As the model itself gives them out; groups and biases have a test of their own below."""
    trace = capture(loaded, write_prompts(tmp_path / "p.jsonl"), tmp_path / "t", Settings(NEW, 3))
    config = loaded.model.config
    for request in range(len(LENGTHS)):
        with torch.no_grad():
            out = loaded.model(
                input_ids=fed(trace, request), use_cache=False, output_router_logits=True
            )
        rows = trace.request_id == request
        assert len(out.router_logits) == trace.model.moe_layers
        for layer, logits in enumerate(out.router_logits):
            chosen = selection(config, loaded.roles.moe[layer].router, logits)
            np.testing.assert_array_equal(
                np.sort(trace.experts[rows, layer], axis=1),
                np.sort(chosen.topk(trace.model.top_k, dim=1).indices, axis=1),
            )


def selection(config: Any, router: Any, logits: Any) -> Any:
    """What the published routers of DeepSeek and GLM select by; the logits for all others."""
    family = config.model_type
    if family == "deepseek_v2":
        scores = logits.softmax(dim=1)
        best = scores.view(len(scores), config.n_group, -1).max(dim=2).values
    elif family in ("deepseek_v3", "glm4_moe"):
        scores = logits.sigmoid() + router.e_score_correction_bias
        best = scores.view(len(scores), config.n_group, -1).topk(2, dim=2).values.sum(dim=2)
    else:
        return logits
    group = best.topk(config.topk_group, dim=1).indices
    allowed = torch.zeros_like(best).scatter_(1, group, 1).bool()
    size = scores.shape[1] // config.n_group
    return scores.masked_fill(~allowed.repeat_interleave(size, dim=1), -torch.inf)


def test_block_output_follows_from_the_recorded_set_and_weights(
    loaded: Loaded, tmp_path: Path
) -> None:
    """Run the experts again with nothing but the record: what the model's own run gave out."""
    settings = Settings(NEW, 1, states=True)
    prompts = write_prompts(tmp_path / "p.jsonl", (9,))
    trace = capture(loaded, prompts, tmp_path / "t", settings)
    outputs: list[Any] = []
    inputs: list[Any] = []

    def note(_module: Any, args: Any, output: Any) -> None:
        inputs.append(args[0])
        outputs.append(output)

    handles = [part.experts.register_forward_hook(note) for part in loaded.roles.moe]
    with torch.no_grad():
        loaded.model(input_ids=fed(trace, 0), use_cache=False)
        for handle in handles:
            handle.remove()
        assert trace.weights is not None
        for layer, part in enumerate(loaded.roles.moe):
            ids = torch.from_numpy(trace.experts[:, layer].astype(np.int64))
            weights = torch.from_numpy(trace.weights[:, layer].astype(np.float32))
            again = part.experts(inputs[layer], ids, weights)
            scale = outputs[layer].abs().max()
            torch.testing.assert_close(again / scale, outputs[layer] / scale, rtol=0, atol=3e-3)


def test_greedy_tokens_are_those_of_generate(loaded: Loaded, tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "p.jsonl")
    trace = capture(loaded, prompts, tmp_path / "t", Settings(NEW, 4, states=True))
    for request, line in enumerate(prompts.read_text().splitlines()):
        prompt = json.loads(line)["tokens"]
        assert fed(trace, request)[0].tolist() == prompt + greedy(loaded, prompt)[:-1]


def greedy(loaded: Loaded, prompt: list[int]) -> list[int]:
    ids = torch.tensor(prompt)[None]
    mask = torch.ones_like(ids)
    how = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
    whole = loaded.model.generate(ids, attention_mask=mask, **how)
    new: list[int] = whole[0, len(prompt) :].tolist()
    return new


def test_rows_are_the_real_tokens_alone(loaded: Loaded, tmp_path: Path) -> None:
    """Left-padded, of different lengths, some ended by EOS: no row but of tokens that were fed."""
    prompts = write_prompts(tmp_path / "p.jsonl")
    trace = capture(loaded, prompts, tmp_path / "t", Settings(NEW, len(LENGTHS)))
    assert trace.token_id is not None
    for request, length in enumerate(LENGTHS):
        rows = trace.request_id == request
        given = json.loads(prompts.read_text().splitlines()[request])["tokens"]
        assert (trace.phase[rows] == PREFILL).sum() == length
        assert trace.token_id[rows][:length].tolist() == given
        # Short of NEW - 1 only where the text ended: its last token was not fed.
        steps = (trace.phase[rows] == DECODE).sum()
        assert steps == NEW - 1 or greedy(loaded, given)[steps] in loaded.stop
        np.testing.assert_array_equal(trace.position[rows], np.arange(rows.sum()))


def test_nothing_is_recorded_after_the_end_of_a_text(qwen: Path, tmp_path: Path) -> None:
    """A stop token that the model gives in its third step ends that request there."""
    loaded = load_model(str(qwen))
    prompts = write_prompts(tmp_path / "p.jsonl")
    free = capture(loaded, prompts, tmp_path / "free", Settings(NEW, 6))
    rows = (free.request_id == 1) & (free.phase == DECODE)
    assert free.token_id is not None
    tokens = free.token_id[rows].tolist()
    stop = tokens[2]
    loaded.model.generation_config.eos_token_id = stop
    ended = capture(loaded, prompts, tmp_path / "ended", Settings(NEW, 6))
    assert ended.token_id is not None
    kept = ended.token_id[(ended.request_id == 1) & (ended.phase == DECODE)].tolist()
    assert kept == tokens[: tokens.index(stop)]
    assert stop not in ended.token_id[ended.phase == DECODE]


def test_states_are_what_the_router_read(loaded: Loaded, tmp_path: Path) -> None:
    """The recorded gate input, through the layer's own router, gives the recorded logits."""
    settings = Settings(NEW, 4, states=True, logits=True)
    trace = capture(loaded, write_prompts(tmp_path / "p.jsonl"), tmp_path / "t", settings)
    states = open_states(tmp_path / "t")
    every = np.ones(trace.tokens, bool)
    gates = read_gates(tmp_path / "t")
    assert gates is not None
    assert all(kind.rows == trace.tokens for kind in states.values())
    for layer, part in enumerate(loaded.roles.moe):
        read = torch.from_numpy(states["gate_input"].layer(layer, every)).float()
        _, logits = part.route(read)
        recorded = torch.from_numpy(states["logits"].layer(layer, every)).float()
        torch.testing.assert_close(logits, recorded, rtol=5e-2, atol=5e-2)
        by_hand = read @ torch.from_numpy(gates[0][layer]).T + torch.from_numpy(gates[1][layer])
        torch.testing.assert_close(by_hand, recorded, rtol=5e-2, atol=5e-2)
    # The first layer's input is its normed embedding, whatever came before the token.
    first = loaded.roles.moe[0]
    if first.index == 0:
        assert trace.token_id is not None
        assert first.input_norm is not None
        embedded = loaded.model.get_input_embeddings()(torch.from_numpy(trace.token_id).long())
        scale = getattr(loaded.model.config, "embedding_multiplier", 1)
        wanted = first.input_norm(embedded * scale).detach()
        seen = torch.from_numpy(states["layer_input"].layer(0, every)).float()
        torch.testing.assert_close(seen, wanted, rtol=2e-3, atol=2e-3)


def test_the_control_is_always_right(loaded: Loaded, tmp_path: Path) -> None:
    named = live_predictors(loaded, ["own-gate", "next-gate"], extra=1)
    out = tmp_path / "t.parquet"
    trace = capture(loaded, write_prompts(tmp_path / "p.jsonl"), out, Settings(NEW, 4), named)
    said = trace.predictions["own-gate"].experts[:, :, : trace.model.top_k]
    np.testing.assert_array_equal(np.sort(said, axis=2), np.sort(trace.experts, axis=2))
    assert (trace.predictions["next-gate"].experts[:, 0] == -1).all()
    assert (trace.predictions["next-gate"].experts[:, 1:] >= 0).all()


def test_the_best_is_named_first(qwen: Path, tmp_path: Path) -> None:
    """However near the router's scores are."""
    named = live_predictors(load_model(str(qwen)), ["own-gate"], extra=0)
    prompts = write_prompts(tmp_path / "p.jsonl")
    trace = capture(load_model(str(qwen)), prompts, tmp_path / "t", Settings(NEW, 4), named)
    np.testing.assert_array_equal(trace.predictions["own-gate"].experts, trace.experts)


def test_states_beyond_float16_stay_numbers() -> None:
    """bfloat16 holds what float16 does not; an infinity would spoil all that is trained on it."""
    wide = torch.tensor([[[3e38, -3e38, 7.0]]], dtype=torch.bfloat16)
    ids = torch.zeros(1, 1, 1, dtype=torch.int64)
    kept = _to_cpu(Recording(ids, ids.float(), layer_input=wide)).layer_input
    assert kept is not None
    assert kept.tolist() == [[[65504.0, -65504.0, 7.0]]]


def test_a_prompt_may_hold_any_character(tmp_path: Path) -> None:
    text = "one\u2028two\x85three\x0cfour"
    rows = [json.dumps({"prompt": text[:-6]}, ensure_ascii=False), json.dumps({"prompt": text})]
    (tmp_path / "p.jsonl").write_bytes("\r\n".join(rows).encode())
    assert [p.text for p in read_prompts(tmp_path / "p.jsonl")] == [text[:-6], text]


def test_a_predictor_that_is_none_names_the_nearest(qwen: Path, tmp_path: Path) -> None:
    done = capture_command(
        qwen, write_prompts(tmp_path / "p.jsonl"), tmp_path / "t", "--predictor", "next-gat"
    )
    assert (done.code, "did you mean 'next-gate'?" in done.err) == (2, True), done.err


def test_next_gate_reads_the_layer_before(qwen: Path, tmp_path: Path) -> None:
    loaded = load_model(str(qwen))
    settings = Settings(NEW, 2, states=True)
    named = live_predictors(loaded, ["next-gate:2"], extra=1)
    trace = capture(loaded, write_prompts(tmp_path / "p.jsonl"), tmp_path / "t", settings, named)
    read = open_states(tmp_path / "t")["gate_input"].layer(0, np.ones(trace.tokens, bool))
    router = loaded.roles.moe[2].router
    logits = torch.from_numpy(read).float() @ router.weight.T
    best = logits.topk(3, dim=1).indices.detach().numpy()
    agree = (trace.predictions["next-gate-2"].experts[:, 2] == best).mean()
    assert agree > 0.98  # the states are rounded to float16


def test_a_killed_capture_goes_on_and_loses_nothing(
    qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 in the middle, then the same command again, equals a capture in one go."""
    prompts = write_prompts(tmp_path / "p.jsonl", tuple(5 + i % 7 for i in range(400)))
    words = [
        *("trace", "capture", "--model", str(qwen), "--prompts", str(prompts)),
        *("--max-new-tokens", "24", "--batch-size", "8", "--temperature", "1", "--states", "-o"),
    ]
    broken = tmp_path / "broken"
    process = subprocess.Popen(command(*words, broken), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (broken / "part-00000.parquet").exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = read_trace(broken)
    assert 0 < len(before.requests) < 400
    validated = run_cli("trace", "validate", broken)
    assert (validated.code, "unfinished: 400" in validated.out) == (0, True)
    config = tmp_path / "run.yaml"
    config.write_text(f"trace: {broken}\ncache: {{capacity: 100%}}\n")
    simulated = run_cli("run", config)
    assert (simulated.code, "unfinished capture" in simulated.err) == (0, True), simulated.err
    # Measuring has a test of its own, and takes ten seconds.
    monkeypatch.setattr(session, "measure_overhead", lambda *_: session.Overhead(1.0, 1.0))
    for out in (broken, tmp_path / "whole"):
        assert run_cli(*words, out).code == 0
    mended, whole = read_trace(broken), read_trace(tmp_path / "whole")
    assert [r for r, _, _ in mended.requests] == list(range(400))
    np.testing.assert_array_equal(mended.token_id, whole.token_id)
    np.testing.assert_array_equal(mended.experts, whole.experts)
    assert open_states(broken)["gate_input"].rows == mended.tokens


def test_what_is_whole_is_kept_when_it_is_stopped(qwen: Path, tmp_path: Path) -> None:
    loaded = load_model(str(qwen))

    def stop(done: int, of: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    prompts = write_prompts(tmp_path / "p.jsonl")
    with pytest.raises(KeyboardInterrupt):
        capture(loaded, prompts, tmp_path / "t", Settings(NEW, 2), None, stop)
    assert [r for r, _, _ in read_trace(tmp_path / "t").requests] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("after", "says"), [(3, "3 of 6 requests kept"), (0, "no request is kept")]
)
def test_a_stopped_capture_says_how_much_is_kept(
    after: int, says: str, qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = session.generate
    done_before = iter((*range(0, after + 3, 3),) * 2)  # in batches of three, and two captures

    def stop(*batch: Any) -> Any:
        if next(done_before) >= after:
            raise KeyboardInterrupt
        return whole(*batch)

    monkeypatch.setattr(session, "generate", stop)
    prompts = write_prompts(tmp_path / "p.jsonl")
    for out in (tmp_path / "t", tmp_path / "t.parquet"):
        done = capture_command(qwen, prompts, out)
        assert done.code == 130
        assert done.err.endswith(
            f"stopped: {says}; run the same command again to go on with {out}\n"
        )


def test_other_settings_do_not_go_on_with_a_capture(qwen: Path, tmp_path: Path) -> None:
    loaded = load_model(str(qwen))
    prompts = write_prompts(tmp_path / "p.jsonl")
    capture(loaded, prompts, tmp_path / "t", Settings(NEW, 2))
    with pytest.raises(TraceError, match=r"sampling was .* is "):
        capture(loaded, prompts, tmp_path / "t", Settings(NEW + 1, 2))
    again = capture(loaded, prompts, tmp_path / "t", Settings(NEW, 3))
    assert [r for r, _, _ in again.requests] == list(range(len(LENGTHS)))


def test_a_predictors_time_may_be_another_when_it_goes_on(qwen: Path, tmp_path: Path) -> None:
    loaded = load_model(str(qwen))
    prompts = write_prompts(tmp_path / "p.jsonl")
    times = []
    for lengths in ("some", "all"):
        gates = live_predictors(loaded, ["next-gate"], extra=0)
        times.append(gates["next-gate"].info.time_us)

        def stop(done: int, of: int, some: bool = lengths == "some") -> None:
            if done >= 2 and some:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            capture(loaded, prompts, tmp_path / "t", Settings(NEW, 2), gates, stop)
    trace = read_trace(tmp_path / "t")
    assert len(trace.requests) == len(LENGTHS)
    assert trace.meta.predictions["next-gate"].time_us == times[0]


def test_timings_of_every_layer_and_pass(qwen: Path, tmp_path: Path) -> None:
    import pandas as pd

    loaded = load_model(str(qwen))
    prompts = write_prompts(tmp_path / "p.jsonl")
    capture(loaded, prompts, tmp_path / "t", Settings(NEW, 6, timing=True))
    frame = pd.concat(pd.read_parquet(p) for p in (tmp_path / "t").glob("timing-*.parquet"))
    assert set(frame["layer"]) == {0, 1, 2}
    assert (frame[["attention_us", "gate_us", "experts_us"]] > 0).all(axis=None)
    assert frame["prefill"].sum() == 3
    assert sorted(set(frame["tokens"])) == [1, max(LENGTHS)]
    assert len(frame) == 3 * NEW
    assert frame["context"].max() == max(LENGTHS) + NEW - 1


def test_timings_of_requests_done_again_are_not_counted_twice(qwen: Path, tmp_path: Path) -> None:
    """A kill leaves timings of a batch whose rows were still in hand; then the batch differs."""
    import pandas as pd

    loaded, out = load_model(str(qwen)), tmp_path / "t"
    prompts = write_prompts(tmp_path / "p.jsonl")
    capture(loaded, prompts, out, Settings(NEW, 2, timing=True))
    for part in out.glob("part-*"):
        part.unlink()
    capture(loaded, prompts, out, Settings(NEW, 4, timing=True))
    frame = pd.concat(pd.read_parquet(p) for p in out.glob("timing-*.parquet"))
    assert frame.query("prefill == 1 and layer == 0")["requests"].sum() == len(LENGTHS)


def test_overhead_compares_the_same_steps(
    qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything that the capture records, and with nothing, in turns."""
    loaded = load_model(str(qwen))
    calls: list[str] = []

    def count(owner: type, name: str) -> None:
        whole = getattr(owner, name)

        def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return whole(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    for owner, name in (
        (Decoder, "feed"),
        (RoutingRecorder, "take"),
        (TimingRecorder, "end_pass"),
        (GatePredictor, "predict"),
    ):
        count(owner, name)
    gates = live_predictors(loaded, ["next-gate"], extra=0)
    settings = Settings(NEW, 2, timing=True)
    measure_overhead(loaded, write_prompts(tmp_path / "p.jsonl"), settings, gates, rounds=1)
    plain, hooked = ["feed"] * NEW, ["feed", "end_pass", "take", "predict"] * NEW
    assert calls == plain + plain + hooked  # the first to warm up


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hello", "line 1: not JSON: Expecting value at character 1; a line is one request, such"),
        (
            '{"prompt": x}',
            "line 1: not JSON: Expecting value at character 12; a line is one request",
        ),
        (
            "prompt,document",
            "line 1: not JSON: Expecting value at character 1; a line is one request",
        ),
        ("[1]", "line 1: expected an object, not a list; a line is one request, such as {"),
        ('"hello"', "line 1: expected an object, not 'hello'; a line is one request, such as {"),
        ('{"promt": "x"}', "unknown key 'promt'; did you mean 'prompt'?"),
        ('{"prompt": ""}', "line 1: the prompt is empty"),
        ("[" * 100_000, "line 1: not JSON"),
        ('{"tokens": []}', "line 1: the prompt is empty"),
        ('{"tokens": [1, -2]}', "line 1: tokens: not a list of token ids"),
        ('{"tokens": [64]}', "line 1: token 64, the vocabulary has 64"),
        ('{"prompt": "x", "tokens": [1]}', "give either"),
        ('{"prompt": "text"}', "needs the model's tokenizer"),
        ('{"tokens": [' + ",".join(["3"] * 140) + "]}", "the model has 128 positions"),
        ("", "no prompts"),
    ],
)
def test_bad_prompts_are_named_by_their_line(
    line: str, message: str, qwen: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "p.jsonl"
    prompts.write_text(line + "\n")
    result = capture_command(qwen, prompts, tmp_path / "t")
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not list(tmp_path.glob("t/part-*"))


def test_models_that_cannot_be_recorded(qwen: Path, tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "p.jsonl")
    llama = dense(tmp_path / "llama")
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "config.json").write_text('{"model_type": "no-such-thing"}')
    broken = save("Qwen3Moe", tmp_path / "broken")
    next(broken.glob("*.safetensors")).write_bytes(b"nothing")
    for model, message in (
        (llama, "a dense model"),
        (odd, "cannot be loaded"),
        (broken, "cannot be loaded"),
        (tmp_path, "no config.json"),
    ):
        result = capture_command(model, prompts, tmp_path / "t")
        assert (result.code, message in result.err) == (2, True), result.err
        assert result.err.count("\n") == 1
        assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "acme_moe"},
            "does not know its model_type 'acme_moe'; a newer one may, or ",
        ),
        ({"model_type": "switch_transformers"}, "is an encoder-decoder model: only models that wr"),
        ({"model_type": "acme", "auto_map": {"AutoConfig": "own.Acme"}}, "needs code of its own ("),
        ({"model_type": None}, "cannot be loaded: its config.json has no model_type"),
        (
            {"model_type": "switch_transformers", "is_encoder_decoder": False},
            "no such model that w",
        ),
    ],
)
def test_what_transformers_does_not_load_is_a_whole_line(
    change: dict[str, Any],
    message: str,
    qwen: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And it never asks on the terminal whether to run a model's own code."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    config = json.loads((qwen / "config.json").read_text()) | change
    text = json.dumps({key: value for key, value in config.items() if value is not None})
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "own.py").write_text("raise RuntimeError")
    with pytest.raises(TraceError) as told:
        load_model(str(tmp_path))
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_a_tokenizer_that_does_not_load_is_told_in_whole_words(qwen: Path, tmp_path: Path) -> None:
    loaded = load_model(str(qwen / "config.json"))  # as good as its folder
    assert loaded.spec.name == qwen.name
    (tmp_path / "config.json").write_text('{"model_type": "acme"}')
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "text"}\n')
    with pytest.raises(
        TraceError, match=r"none that loads \(there is no tokenizer.json, or a pack"
    ):
        encode(replace(loaded, source=tmp_path), path, read_prompts(path), 1)


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:x"])
def test_a_device_that_is_none_is_a_short_line(device: str) -> None:
    with pytest.raises(TraceError) as told:
        check_device(device)
    assert str(told.value) == f"--device {device}: cpu or cuda"


def test_a_full_disk_leaves_whole_parts_and_goes_on(qwen: Path, tmp_path: Path) -> None:
    """Writes fail from the third file on; afterwards the same capture ends what is missing."""
    import errno

    import pyarrow.parquet as pq

    loaded = load_model(str(qwen))
    prompts = write_prompts(tmp_path / "p.jsonl", (40,) * 12)
    whole = pq.write_table

    def full(*args: Any, **kwargs: Any) -> None:
        Path(args[1]).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(args[1]))

    from prefetch_sim.traces.capture import session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "PART_ROWS", 100)
        calls = []

        def third(*args: Any, **kwargs: Any) -> None:
            calls.append(1)
            (full if len(calls) > 2 else whole)(*args, **kwargs)

        patch.setattr(pq, "write_table", third)
        with pytest.raises(OSError, match="No space left"):
            capture(loaded, prompts, tmp_path / "t", Settings(NEW, 2, states=True))
        patch.setattr(pq, "write_table", whole)
        assert len(read_trace(tmp_path / "t").requests) < 12
        assert not list((tmp_path / "t").glob(".*.tmp"))
        trace = capture(loaded, prompts, tmp_path / "t", Settings(NEW, 2, states=True))
    assert [r for r, _, _ in trace.requests] == list(range(12))
    assert open_states(tmp_path / "t")["gate_input"].rows == trace.tokens


def test_command_makes_one_file_and_prints_the_overhead(
    qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = write_prompts(tmp_path / "p.jsonl", document="book")
    out = tmp_path / "t.parquet"
    result = capture_command(qwen, prompts, out, "--predictor", "next-gate")
    assert result.code == 0, result.err
    assert "of the rate without" in result.out
    assert not list(tmp_path.glob("*.parts"))
    trace = read_trace(out)
    assert trace.document is not None
    assert len(np.unique(trace.document)) == 1
    monkeypatch.setattr(session, "measure_overhead", lambda *_: session.Overhead(1.0, 1.0))
    again = capture_command(qwen, prompts, out, "--predictor", "next-gate")
    assert again.out.startswith(f"{out}: finished already, 6 requests, "), again.err
    other = capture_command(qwen, prompts, out)
    assert other.code == 2
    assert f"{out}: holds another trace: predictors were next-gate, are none; use another file" in (
        other.err
    )
    for _ in range(2):
        folder = capture_command(qwen, prompts, tmp_path / "t")
    assert "t: finished already, 6 requests, " in folder.out


def capture_command(model: Path, prompts: Path, out: Path, *more: str) -> Any:
    return run_cli(
        *("trace", "capture", "--model", str(model), "--prompts", str(prompts)),
        *("-o", str(out), "--max-new-tokens", str(NEW), "--batch-size", "3", *more),
    )


@pytest.mark.parametrize("family", sorted(ODD))
def test_odd_routers(family: str, tmp_path: Path) -> None:
    """Recorded as any; what cannot be had of them is said."""
    loaded = load_model(str(save(family, tmp_path / "model")))
    prompts = write_prompts(tmp_path / "p.jsonl")
    if family == "DeepseekV4":
        assert capture(loaded, prompts, tmp_path / "plain", Settings(NEW, 4)).tokens > sum(LENGTHS)
        with pytest.raises(TraceError, match="layer_input of this architecture"):
            capture(loaded, prompts, tmp_path / "t", Settings(NEW, 4, states=True))
        with pytest.raises(TraceError, match="more than the gate input"):
            loaded.roles.moe[0].route(torch.zeros(1, 32))
        return
    one = capture(loaded, prompts, tmp_path / "one", Settings(NEW, 1, states=True, logits=True))
    if family == "MiniMax":
        with pytest.raises(TraceError, match="--batch-size 1"):
            capture(loaded, prompts, tmp_path / "many", Settings(NEW, 4))
        alike = write_prompts(tmp_path / "alike.jsonl", (6, 6, 6))
        assert len(capture(loaded, alike, tmp_path / "alike", Settings(NEW, 3)).requests) == 3
        return
    many = capture(loaded, prompts, tmp_path / "many", Settings(NEW, 4))
    np.testing.assert_array_equal(one.experts, many.experts)
    gates = live_predictors(loaded, ["own-gate"], extra=0)
    said = capture(loaded, prompts, tmp_path / "t", Settings(NEW, 4), gates).predictions["own-gate"]
    np.testing.assert_array_equal(np.sort(said.experts, axis=2), np.sort(one.experts, axis=2))
    logits = open_states(tmp_path / "one")["logits"].layer(1, np.ones(one.tokens, bool))
    assert (logits < 0).any()
    if family == "Gemma4Text":  # a softmax of them is its probabilities
        assert_allclose(np.exp(logits.astype(float)).sum(axis=1), 1, rtol=1e-2)


def test_a_shape_from_the_modules(tmp_path: Path) -> None:
    """Of a family whose config is not known; shared experts count, as they cost time."""
    loaded = load_model(str(save("Flint", tmp_path / "model")))
    spec = loaded.spec
    assert (spec.expert_hidden, spec.shared_experts, spec.shared_hidden) == (16, 1, 24)
    trace = capture(loaded, write_prompts(tmp_path / "p.jsonl"), tmp_path / "t", Settings(NEW, 1))
    assert "modules" in trace.meta.recorded["shape"]


def test_layers_of_nothing_but_experts_have_no_states(tmp_path: Path) -> None:
    """Their input norm gives out what the gate reads: predicting from it would be no prediction."""
    loaded = load_model(str(save("NemotronH", tmp_path / "model")))
    prompts = write_prompts(tmp_path / "p.jsonl")
    assert capture(loaded, prompts, tmp_path / "t", Settings(NEW, 1)).model.moe_layers == 1
    with pytest.raises(TraceError, match="nothing but experts"):
        capture(loaded, prompts, tmp_path / "u", Settings(NEW, 1, states=True))


def test_experts_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="9 experts are routed to, 8 have weights"):
        load_model(str(save("Zaya", tmp_path / "model")))


def test_states_of_a_capture_that_failed_are_not_the_next_ones(qwen: Path, tmp_path: Path) -> None:
    """Their part was never written; another model's capture begins in the same folder."""
    import pyarrow.parquet as pq

    prompts = write_prompts(tmp_path / "p.jsonl")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "x")

    loaded, settings = load_model(str(qwen)), Settings(NEW, 2, states=True, logits=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        with pytest.raises(OSError, match="No space"):
            capture(loaded, prompts, tmp_path / "t", settings)
    assert list((tmp_path / "t").glob("*.npy"))
    (tmp_path / "t" / ".draft.tmp").touch()  # not ours
    other = load_model(str(save("Olmoe", tmp_path / "other")))
    capture(other, prompts, tmp_path / "t", Settings(NEW, 2))
    assert open_states(tmp_path / "t") == {}
    assert read_gates(tmp_path / "t") is None
    assert (tmp_path / "t" / ".draft.tmp").exists()


def test_mxfp4_experts_are_widened(tmp_path: Path) -> None:
    """Their kernels would hide the routing."""
    pytest.importorskip("accelerate", reason="needs the capture extra (accelerate)")
    loaded = load_model(str(mxfp4(tmp_path / "model")))
    assert all(v.dtype == torch.bfloat16 for v in loaded.roles.moe[0].experts.parameters())
    trace = capture(loaded, write_prompts(tmp_path / "p.jsonl"), tmp_path / "t", Settings(NEW, 4))
    assert len(trace.requests) == len(LENGTHS)


def test_another_models_weights_have_another_digest(qwen: Path, tmp_path: Path) -> None:
    """Also where only what is not a router differs."""
    loaded = load_model(str(qwen))
    before = loaded.digest
    assert load_model(str(qwen)).digest == before
    with torch.no_grad():
        loaded.model.model.layers[1].self_attn.v_proj.weight.mul_(1.01)
    assert replace(loaded).digest != before


def test_a_finished_file_is_not_captured_over(qwen: Path, tmp_path: Path) -> None:
    """Said before the model is loaded: this one could not be."""
    out = tmp_path / "t.parquet"
    out.write_bytes(b"mine")
    result = capture_command(tmp_path / "no-model", write_prompts(tmp_path / "p.jsonl"), out)
    assert (result.code, "exists already" in result.err) == (2, True), result.err
    assert out.read_bytes() == b"mine"
    model = save("Qwen3Moe", tmp_path / "model")
    result = capture_command(model, tmp_path / "p.jsonl", model)
    assert (result.code, "which is no part of a trace" in result.err) == (2, True), result.err


def test_families_differ_in_what_makes_routing_hard() -> None:
    """The checkpoints are what the tests above take them for."""
    v3 = build("DeepseekV3")
    bias = [v for n, v in v3.state_dict().items() if "e_score_correction_bias" in n]
    assert bias
    assert all(v.abs().sum() > 0 for v in bias)
