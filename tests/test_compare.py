"""Two runs side by side: pairs of the same requests, parts that add up, words that hold."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_support import ROOT, here, small_trace, write_config

from prefetch_sim.experiments.comparing import own, words
from prefetch_sim.experiments.comparing.changed import changes
from prefetch_sim.experiments.comparing.comparison import Comparison, compare, compared
from prefetch_sim.experiments.comparing.sides import meant
from prefetch_sim.experiments.comparing.signed import signed
from prefetch_sim.experiments.comparing.stored import read_rows
from prefetch_sim.experiments.comparing.swept import compare_rows
from prefetch_sim.experiments.sweeps import export, points
from prefetch_sim.experiments.sweeps.store import Store
from prefetch_sim.hardware_profiles import load_profile
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.results.paired import Paired
from prefetch_sim.sim.run import run

PAGE = ROOT / "docs/compare.md"
RUNTIME = {
    "name": "ideal",
    "kernels": "eager",
    "overlap": "grouped",
    "miss.us": 3,
}  # keeps books, so that its own work is a part


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compare")
    small_trace(path / "small.parquet", requests=10)
    write_config(path / "run.yaml", trace="small.parquet", runtime=RUNTIME)
    write_config(
        path / "early.yaml", trace="small.parquet", runtime=RUNTIME,
        predictor={"name": "guess", "placement": "inline", "cost_us": 2},
    )  # fmt: skip
    return path


def config(folder: Path, **keys: Any) -> RunConfig:
    base = yaml.safe_load((folder / "run.yaml").read_text())
    return RunConfig.model_validate({**base, "trace": str(folder / "small.parquet"), **keys})


@pytest.fixture(scope="module")
def early(folder: Path) -> Comparison:
    """Nothing predicted in A, all predicted in B, which takes time of the compute engine."""
    guess = {"name": "guess", "placement": "inline", "cost_us": 2}
    return compare(config(folder), config(folder, predictor=guess))


def test_parts_add_up_to_the_nanosecond(early: Comparison) -> None:
    parts = early.parts.values()
    assert sum(part.a for part in parts) == early.total.a
    assert sum(part.b for part in parts) == early.total.b
    assert sum(part.difference for part in parts) == early.total.difference
    assert early.total.a == round(early.a["total_ms"] * 1e6)
    assert {name for name, part in early.parts.items() if part.difference} >= {
        "compute",
        "runtime",
        "stall: demand_miss",
    }


def test_a_policy_that_differs_is_told_at_its_place(folder: Path) -> None:
    other = compare(config(folder), config(folder, cache={"capacity": "50%", "eviction": "fifo"}))
    assert other.changed["cache.eviction"] == ("lru", "fifo")
    assert [path for path, *_ in changes(other)] == list(other.changed)


def test_figures_are_those_of_the_two_runs(folder: Path, early: Comparison) -> None:
    alone = run(config(folder))
    assert early.a == alone
    assert early.tpot_ms.a == alone["tpot_ms"]["mean"]
    assert early.decode_tokens_per_s.a == alone["decode_tokens_per_s"]
    for figure in (
        early.tpot_ms,
        early.decode_tokens_per_s,
        early.tokens_per_s,
        early.ttft_ms,
    ):
        assert figure.paired is not None
        assert figure.a is not None
        assert figure.b is not None
        assert figure.paired.requests == 10
        assert figure.paired.difference == pytest.approx(figure.b - figure.a, abs=2e-6)
        assert figure.paired.low <= figure.paired.difference <= figure.paired.high


def test_what_differs_is_named_by_path(folder: Path) -> None:
    found = compare(
        config(folder, hardware={"name": "a100-pcie-40gb", "host_link": {"gb_s": 12}}),
        config(folder, cache={"capacity": {"experts": 12}, "eviction": "belady"}, name="other"),
    )
    assert changes(found) == [
        ("hardware.host_link", "gb_s=12", "none"),
        ("cache.capacity", "50 %", "12 experts"),
        ("cache.eviction", "lru", "belady"),
    ]


def test_words_of_a_difference_that_is_real(early: Comparison) -> None:
    pairs = early.tpot_ms.paired
    assert pairs is not None
    assert pairs.real
    said = words.said(early)
    faster = "faster" if pairs.difference < 0 else "slower"
    assert said[0].startswith(f"B is {faster}: ")
    assert "over 10 requests." in said[0]
    text = " ".join(said)
    hits = [f"{100 * side['hit_rate']['decode']:.1f} %" for side in (early.a, early.b)]
    assert f"from {hits[0]} to {hits[1]} of routed experts" in text
    in_time = early.b["decode_prefetch"]["timely"]
    assert 0 < in_time < early.b["prefetch"]["timely"]
    assert f"Of B's prefetches for decode {in_time:,} are in time" in text
    compute = early.parts["compute"].difference
    assert compute > 0
    assert f"Compute changes by +{compute / 1e6:.3f} ms, what predictors take" in text
    assert "Of A's" not in text
    shown = {what: (a, b) for what, a, b in words.facts(early)}
    assert shown["slot recall, guess"] == ("–", "100.0 %")
    assert "to the GPU, ahead" in shown


def test_what_the_cpu_leaves_is_no_cost_of_predictors(early: Comparison) -> None:
    """What a prediction brings is computed on the GPU, whose compute grows at no cost."""
    for rates, told in (((0.0, 0.0), True), ((0.5, 0.2), False), ((0.0, 0.2), False)):
        a, b = ({**side, "cpu_rate": rate} for side, rate in zip((early.a, early.b), rates))
        lines = words.said(replace(early, a=a, b=b))
        assert any("predictors take" in line for line in lines) == told


@pytest.mark.parametrize(
    ("share", "chained", "says"),
    [
        (-0.02, False, "faster"),
        (0.02, False, "slower"),
        (-0.02, True, "less surely faster"),
        (0.02, True, "less surely slower"),
        (-0.001, False, "about as fast"),
        (-0.001, True, "about as fast"),
    ],
)
def test_a_verdict_is_noticed_and_sure(
    early: Comparison, share: float, chained: bool, says: str
) -> None:
    ms = 100 * share
    pairs = Paired(10, ms, ms - 0.01, ms + 0.01, share, 0.9 if chained else 0.0)
    assert pairs.real
    found = replace(early, tpot_ms=replace(early.tpot_ms, paired=pairs))
    assert words.in_short(found) == says
    assert words.verdict(found).startswith(f"B is {says}: ")
    assert "0.000" not in words.verdict(found)


def test_batches_are_less_sure(folder: Path) -> None:
    found = compare(*(config(folder, batch_size=2, cache={"capacity": c}) for c in ("30%", "90%")))
    assert found.tpot_ms.paired is not None
    assert found.tpot_ms.paired.real
    assert words.in_short(found) == "less surely faster"


def test_too_few_requests_are_said_to_be(folder: Path) -> None:
    few = [config(folder, requests="0:3", seed=seed, cache={"capacity": c, "eviction": "random"})
           for seed, c in ((1, "50%"), (2, "60%"))]  # fmt: skip
    said = words.verdict(compare(*few))
    assert said.startswith("Too few requests to tell: 3 of the 8 that it takes. On them, B takes ")
    assert "ms a token" in said


def test_a_difference_of_draws_is_not_real(folder: Path) -> None:
    a, b = (config(folder, seed=s, cache={"capacity": "50%", "eviction": "random"}) for s in (1, 2))
    found = compare(a, b)
    pairs = found.tpot_ms.paired
    assert pairs is not None
    assert pairs.difference != 0
    assert not pairs.real
    assert words.verdict(found).startswith(
        "Per output token no difference can be told: on these 10 requests B takes"
    )


@pytest.mark.parametrize(
    ("of_tokens", "first", "words_of_first"),
    [
        (0.0, (142.0, 123.0, 158.0, 0.6, 0.0), "comes 142 ms later (+123 to +158)."),
        (0.0, (-142.0, -158.0, -123.0, -0.6, 0.9), "comes, less surely, 142 ms sooner"),
        (-2.0, (142.0, 123.0, 158.0, 0.6, 0.0), "comes 142 ms later"),
        (2.0, (142.0, 123.0, 158.0, 0.6, 0.0), ""),  # slower in both
        (0.0, (142.0, -2.0, 158.0, 0.6, 0.0), ""),
        (0.0, (142.0, 123.0, 158.0, 0.001, 0.0), ""),
    ],
)
def test_the_first_token_is_told_where_the_others_have_another_answer(
    early: Comparison, of_tokens: float, first: tuple[float, ...], words_of_first: str
) -> None:
    tokens = Paired(10, of_tokens, of_tokens - 1, of_tokens + 1, of_tokens / 100, 0.0)
    found = replace(
        early,
        tpot_ms=replace(early.tpot_ms, paired=tokens),
        ttft_ms=replace(early.ttft_ms, paired=Paired(10, *first)),
    )
    told = words.verdict(found)
    assert told.startswith("B is" if of_tokens else "Per output token no difference can be told: ")
    assert (f"; the first token {words_of_first}" in told) == bool(words_of_first)
    assert ("first token" in told) == bool(words_of_first)


def test_the_same_twice(folder: Path) -> None:
    found = compare(config(folder), config(folder, name="again"))
    assert words.said(found) == ["A and B take the same time."]
    assert changes(found) == words.facts(found) == []


def test_a_predictor_of_ones_own_is_said_to_be_unchecked(early: Comparison) -> None:
    assert own.foresight([early]) == []
    mine = replace(early, b={**early.b, "predictors": {"mine.py.0": {}, "mine.py.1": {}}})
    (told,) = own.foresight([early, mine])
    assert told.startswith("mine.py is not checked here for looking ahead")
    assert told.endswith(": prefetch-sim check mine.py tells.")


def test_no_difference_is_said_to_be_none(early: Comparison) -> None:
    """Per output token nothing differs, but the first token comes later; sizes that read alike."""
    total = replace(early.total, b=early.total.a + 5)
    noise = Paired(10, 1e-15, 0.0, 1e-15, 1e-17, 0.0)
    early = replace(early, ttft_ms=replace(early.ttft_ms, paired=None))
    same = replace(early, tpot_ms=replace(early.tpot_ms, paired=noise), total=total)
    assert words.verdict(same) == "A and B take the same time per output token."
    assert words.in_short(same) == "the same"
    assert signed(1e-15) == signed(0.0)
    open_ = replace(noise, difference=0.0, low=-1.0, high=1.0)
    wide = replace(same, tpot_ms=replace(early.tpot_ms, paired=open_))
    assert "B takes the same time a token, and on others" in words.verdict(wide)
    moved = {"host_to_gpu": {"demand": 98_000_000_000, "prefetch": 0, "behind": 0}}
    a = {**early.a, "bytes": {**early.a["bytes"], **moved}}
    more = {**a, "bytes": {**a["bytes"], "host_to_gpu": {**moved["host_to_gpu"], "behind": 1}}}
    told = words.reasons(replace(early, a=a, b=more))
    assert any(" as much to the GPU: " in line for line in told)
    more["bytes"]["host_to_gpu"] = {**moved["host_to_gpu"], "demand": 98_000_000_001}
    assert not any("to the GPU" in line for line in words.reasons(replace(early, a=a, b=more)))


def test_a_part_that_is_not_given_is_the_machines_own(folder: Path) -> None:
    machine = "rtx-4090"
    found = compare(
        config(folder, hardware=machine),
        config(folder, hardware={"name": machine, "cpu": "ddr5-dual-laptop"}),
    )
    (row,) = changes(found)
    own = load_profile(machine).cpu
    assert own is not None
    assert row == ("hardware.cpu", own.name, "ddr5-dual-laptop")


def test_a_request_with_no_output_has_nothing_to_compare(folder: Path) -> None:
    found = compare(config(folder, tokens=":4"), config(folder, tokens=":4", seed=3))
    assert words.verdict(found).startswith("No request has output tokens")
    assert found.as_json()["tpot_ms"]["difference"] is None


def test_batches_share_steps(folder: Path) -> None:
    batched = {"batch_size": 4}
    found = compare(config(folder, **batched), config(folder, cache={"capacity": "90%"}, **batched))
    assert found.tokens_per_s.paired is found.decode_tokens_per_s.paired is None
    assert found.tpot_ms.paired is not None
    assert found.tpot_ms.paired.requests == 10
    (caveat,) = words.caveats(found)
    assert caveat.startswith("Requests of a batch share steps")
    assert f"decode {found.decode_tokens_per_s.b:,.0f} tokens/s in B" in caveat
    assert sum(part.difference for part in found.parts.values()) == found.total.difference


def test_other_models_and_machines_of_one_topology(folder: Path) -> None:
    model = {"name": None, "expert_hidden": 1024}
    found = compare(config(folder), config(folder, model=model, hardware="l4"))
    pairs = found.tpot_ms.paired
    assert pairs is not None
    assert pairs.real
    assert pairs.difference > 0
    assert any("GB/s in place of" in reason for reason in words.reasons(found))
    fewer = compare(config(folder), config(folder, model={"top_k": 1}))
    assert fewer.total.difference < 0


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"requests": "0:5"}, "requests: A has all and B has '0:5'"),
        ({"tokens": "0:6"}, "tokens: A has all and B has '0:6'"),
        ({"layers": "0:2"}, "layers: A has all and B has '0:2'"),
        ({"trace": {"synthetic": "gpt-oss-20b", "requests": 2, "decode": 2}}, "trace: A has '"),
    ],
)
def test_other_requests_are_refused(folder: Path, keys: dict[str, Any], says: str) -> None:
    model = {"layers": 2} if "layers" in keys else {}
    with pytest.raises(ConfigError) as refused:
        compare(config(folder), config(folder, **keys, model=model))
    assert str(refused.value).startswith(says)
    assert str(refused.value).endswith("only runs of the same requests can be compared")


def test_the_same_requests_by_another_slice_or_copy(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.parquet"
    copy.write_bytes((folder / "small.parquet").read_bytes())
    found = compare(config(folder), config(folder, requests="0:10", trace=str(copy)))
    assert found.total.difference == 0


def test_finished_runs_are_compared_without_running_again(folder: Path, early: Comparison) -> None:
    assert compared(early.a, early.b) == early
    with pytest.raises(ValueError, match="no pairs"):
        compared(early.a, run(config(folder, requests="0:3")))


# The command


def test_the_command_says_what_the_function_says(folder: Path, early: Comparison) -> None:
    options = ("--b", "predictor={name: guess, placement: inline, cost_us: 2}")
    done = here("compare", "run.yaml", *options, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    plain = " ".join(done.stdout.split())
    for sentence in words.said(early):
        assert sentence in plain
    assert "predictor none guess placement=inline cost_us=2" in plain
    total = next(line for line in done.stdout.splitlines() if line.startswith("total "))
    assert len(total.split()) == 4
    told = json.loads(here("compare", "run.yaml", *options, "--json", cwd=folder).stdout)
    assert told["says"] == words.said(early)
    assert told["tpot_ms"] == early.as_json()["tpot_ms"]
    parts = [part["difference"] for part in told["parts_ms"].values()]
    assert sum(parts) == pytest.approx(told["total_ms"]["difference"], abs=1e-9)
    assert told["b"]["config"]["predictor"][0]["name"] == "guess"


def test_sides_may_be_files_and_more(folder: Path, early: Comparison) -> None:
    ways = (
        ("run.yaml", "--b", "early.yaml"),
        ("--a", "run.yaml", "--b", "early.yaml"),
        ("early.yaml", "--a", "predictor=none"),
        (
            "--a",
            "early.yaml",
            "--a",
            "predictor=none",
            "--b",
            "early.yaml",
            "--set",
            "requests=:10",
        ),
    )
    for way in ways:
        done = here("compare", *way, "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        flipped = way[0] == "early.yaml"
        assert told["total_ms"]["difference"] == early.as_json()["total_ms"]["difference"], way
        assert (told["a"]["prefetch"]["proposed"] > 0) is False, (way, flipped)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run.yaml"], "nothing to compare: say what differs, as with --b predictor=none"),
        (["run.yaml", "--b", "predictor"], "--b 'predictor': write --b path=value, or name a"),
        (["run.yaml", "--a", "=3"], "--a '=3': write --a path=value"),
        (["run.yaml", "--a", "seed=[1"], "--a 'seed=[1': not YAML"),
        (["run.yaml", "--a", "seed=1", "--set", "seed"], "--set 'seed': write --set path=value"),
        (
            ["run.yaml", "--a", "sead=1"],
            "run.yaml with --a: sead: unknown key; did you mean 'seed'?",
        ),
        (["run.yaml", "--b", "cache.eviction=lrru"], "run.yaml with --b: cache.eviction:"),
        (["--b", "seed=1"], "--a: of which config? Give CONFIG, or --a FILE"),
        (["--a", "run.yaml", "--b", "seed=1"], "--b: of which config? Give CONFIG, or --b FILE"),
        (["--a", "run.yaml", "--a", "early.yaml"], "--a: one config file, not both run.yaml and"),
        (["none.yaml", "--a", "seed=1"], "none.yaml: "),
        (["run.yaml", "--b", "requests=:4"], "requests: A has all and B has ':4'; only runs of"),
    ],
)
def test_mistakes_are_one_line(folder: Path, arguments: list[str], says: str) -> None:
    refused = here("compare", *arguments, cwd=folder)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("error: ")
    assert says in refused.stderr


def test_warnings_say_whose_they_are(folder: Path) -> None:
    told = here("compare", "run.yaml", "--b", "cache.capacity={experts: 7}", cwd=folder).stderr
    assert told.startswith("warning: B: the cache (")
    assert told.count("warning") == 1


# Points of a sweep


@pytest.fixture(scope="module")
def sweep(folder: Path) -> Path:
    axes = {
        "predictor": ["none", "guess", [{"name": "guess"}, {"name": "oracle", "recall": 0.5}]],
        "cache.capacity": ["50%", {"experts": 12}],
    }
    write_config(folder / "sweep.yaml", trace="small.parquet", runtime=RUNTIME, sweep=axes)
    done = here("sweep", "sweep.yaml", "--out", "swept", "--jobs", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "swept"


def test_points_of_a_sweep_are_compared_as_runs_are(folder: Path, sweep: Path) -> None:
    options = ("--a", "predictor=none", "--b", "predictor=[guess, {name: oracle, recall: 0.5}]")
    told = json.loads(here("compare", "--sweep", sweep, *options, "--json", cwd=folder).stdout)
    places = {place["at"]["cache.capacity"]: place for place in told["places"]}
    assert list(places) == ["50%", "experts=12"]
    for label, capacity in (("50%", "50%"), ("experts=12", {"experts": 12})):
        both = [{"name": "guess"}, {"name": "oracle", "recall": 0.5}]
        cache = {"capacity": capacity}
        direct = compare(config(folder, cache=cache), config(folder, cache=cache, predictor=both))
        assert places[label]["says"] == words.said(direct)
        assert places[label]["parts_ms"] == direct.as_json()["parts_ms"]
        assert places[label]["changed"] == {
            "predictor": ["none", "guess + oracle recall=0.5"],
        }
        recall = places[label]["b"]["predictors"]["guess"]["slot_recall"]
        assert recall == direct.b["predictors"]["guess"]["slot_recall"]


def test_a_table_of_places_and_one_place_in_full(folder: Path, sweep: Path) -> None:
    options = ("--sweep", sweep, "--a", "predictor=none", "--b", "predictor=guess")
    shown = here("compare", *options, cwd=folder).stdout
    assert "ms per output token, A: predictor=none, B: predictor=guess" in shown
    assert [line.split()[0] for line in shown.splitlines()[2:4]] == ["50%", "experts=12"]
    assert shown.splitlines()[-1].startswith("Of 2 places, B is ")
    one = here("compare", *options, "--a", "cache.capacity=50%", "--b", "cache.capacity=50%",
               cwd=folder).stdout  # fmt: skip
    assert "what it is made of" in one
    direct = here("compare", "run.yaml", "--b", "predictor=guess", cwd=folder).stdout
    assert one.splitlines()[-3:] == direct.splitlines()[-3:]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--b", "predictr=none"], "--b predictr: no axis of swept; did you mean 'predictor'?"),
        (["--b", "predictor=gess"], "--b predictor=gess: no such point in swept; did you mean"),
        (["--b", "cache.capacity=50%"], "--a: several points; say with --a cache.capacity=… which"),
        (["run.yaml", "--b", "predictor=none"], "--sweep: its points are finished; give no CONFIG"),
        (["--b", "predictor"], "--b 'predictor': write --b path=value"),
    ],
)
def test_mistakes_of_a_sweep(folder: Path, sweep: Path, arguments: list[str], says: str) -> None:
    a = [] if arguments[1] == "cache.capacity=50%" else ["--a", "predictor=none"]
    refused = here("compare", "--sweep", "swept", *a, *arguments, cwd=folder)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: {says}")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "meant_by"),
    [
        ({"eviction": "LRU"}, {"cache.eviction": "lru"}),
        ({"eviction": "mine"}, {"cache.eviction": "mine.py"}),
        ({"axis.cache.eviction": "mine.py"}, {"cache.eviction": "mine.py"}),
        ({"capacity": "20"}, {"cache.capacity": "20%"}),
        ({"batch_size": "1.0"}, {"batch_size": "1"}),
        ({"recall": "0.50"}, {"predictor": "oracle recall=0.5"}),
    ],
)
def test_sides_are_named_as_figures_name_axes(
    given: dict[str, str], meant_by: dict[str, str]
) -> None:
    labels = ["lru", "20%", "1", "oracle recall=0.5"], ["mine.py", "40%", "2", "none"]
    axes = ["cache.eviction", "cache.capacity", "batch_size", "predictor"]
    rows = [{f"axis.{axis}": text for axis, text in zip(axes, row)} for row in labels]
    assert meant(rows, axes, "--a", given, "swept") == meant_by


def test_a_point_that_failed_is_said_to_have(sweep: Path) -> None:
    rows, _ = read_rows(sweep)
    ran = [row for row in rows if row["axis.predictor"] != "guess"]
    failed = [{**row, "error": "first\nmine.py: no"} for row in rows if row not in ran]
    with pytest.raises(ConfigError) as refused:
        compare_rows(ran, "swept", {"predictor": "none"}, {"predictor": "guess"}, failed)
    assert str(refused.value) == "--b predictor=guess: that point failed: mine.py: no"


def test_a_policys_file_that_has_changed_since_is_told(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "changed_mine.py"
    before = "from prefetch_sim.sim.eviction.lru import *\n"
    mine.write_text(before)
    tree = {"trace": str(sweep.parent / "small.parquet"), "hardware": "l4"}
    axes = {"cache.eviction": ["lru", "changed_mine.py"]}
    lru, own_one = points.plan({**tree, "cache": {"capacity": "50%"}, "sweep": axes}, "here")
    with Store(tmp_path) as store:
        exported = export.write(tmp_path, [lru, own_one], store, unfinished=True)
    assert export.FILES not in exported[0]
    rows, _ = read_rows(sweep)
    for row in rows:
        row[export.FILES] = exported[1][export.FILES]

    def told() -> list[str]:
        found = compare_rows(rows, "swept", {"predictor": "none"}, {"predictor": "guess"})
        assert set(own.changed_since([found[0].comparison])) <= {*words.said(found[0].comparison)}
        return own.changed_since([place.comparison for place in found])

    assert told() == []
    mine.write_text(before + "# changed\n")
    assert told() == [
        "changed_mine.py has changed since: these are results of what it was; run the sweep again."
    ]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (elsewhere / "changed_mine.py").write_text("# another\n")
    assert [line.split(" has changed")[0] for line in told()] == [str(mine)]
    mine.write_text(before)
    assert told() == []
    mine.unlink()
    assert told() == []
    rows[0][export.FILES] = "{"  # edited
    assert told() == []


def test_a_folder_that_is_no_sweep(folder: Path, tmp_path: Path) -> None:
    options = ("--a", "predictor=none", "--b", "predictor=guess")
    refused = here("compare", "--sweep", tmp_path, *options, cwd=folder)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "is " in refused.stderr
    (tmp_path / "results.parquet").write_bytes((folder / "small.parquet").read_bytes())
    other = here("compare", "--sweep", tmp_path, *options, cwd=folder)
    assert "has no results by request" in other.stderr
    (tmp_path / "results.parquet").write_bytes(b"PAR1")
    damaged = here("compare", "--sweep", tmp_path, *options, cwd=folder)
    assert (damaged.returncode, damaged.stderr.count("\n")) == (2, 1)
    assert "cannot be read" in damaged.stderr


# The page


def blocks() -> list[tuple[str, str]]:
    """(command, what it prints) of the page; nothing where it shows none."""
    parts = PAGE.read_text(encoding="utf-8").split("```")
    found = []
    for i in range(1, len(parts), 2):
        if parts[i].startswith("sh\n"):
            after = parts[i + 2] if i + 2 < len(parts) and parts[i + 2][0] == "\n" else ""
            lines = parts[i].removeprefix("sh\n").replace("\\\n", " ").splitlines()
            found += [(line.strip(), "") for line in lines[:-1]] + [(lines[-1].strip(), after)]
    return found


def test_the_page_shows_what_its_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line that is shown, in its order."""
    monkeypatch.setenv("COLUMNS", "200")
    compared = 0
    for text, shown in blocks():
        arguments = [
            str(tmp_path / "swept") if word == "out/compared" else word
            for word in shlex.split(text)
        ]
        assert arguments.pop(0) == "prefetch-sim"
        done = here(*arguments, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        compared += arguments[0] == "compare"
        printed = iter([" ".join(line.split()) for line in done.stdout.splitlines()])
        for line in filter(None, (" ".join(line.split()) for line in shown.splitlines())):
            assert line in printed, f"{text} does not print, or not there: {line}"
    assert compared == 2
