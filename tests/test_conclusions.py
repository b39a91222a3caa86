"""Conclusions: each sentence is said exactly where figures bear it, on results made up for that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_support import here, run_cli, small_trace, write_config

from prefetch_sim.experiments import runs
from prefetch_sim.experiments.commands import run
from prefetch_sim.experiments.conclusions import comparisons, figures
from prefetch_sim.experiments.conclusions.comparisons import Measured, Swept
from prefetch_sim.experiments.conclusions.evidence import evidence, of_one
from prefetch_sim.experiments.conclusions.figures import Reason
from prefetch_sim.experiments.conclusions.one_run import of_run
from prefetch_sim.experiments.conclusions.sweeps import of_sweep
from prefetch_sim.experiments.conclusions.turns import turns
from prefetch_sim.experiments.text import number
from prefetch_sim.sim import run as simulated
from prefetch_sim.sim.setup import engine_choice
from prefetch_sim.sim.setup.inputs import Inputs

REQUESTS = 10


def planted(
    tpot: float = 10.0,
    *,
    predictor: Sequence[dict[str, Any]] = (),
    eviction: str = "lru",
    total: float = 1000.0,
    runtime: float = 0.0,
    stall: dict[str, float] | None = None,
    busy: float = 0.5,
    ends: tuple[int, int, int] = (0, 0, 0),
    other: dict[str, int] | None = None,
    clairvoyant: float | None = None,
    resident: float | None = None,
    spread: float = 0.0,
    requests: int = REQUESTS,
    batch: int = 1,
    cpu: float = 0.0,
    misses: str = "load",
    warm: str = "none",
) -> dict[str, Any]:
    """A result. Of its time, what is neither a stall nor the runtime's is compute.

    ``ends``: prefetches timely, late, useless. ``spread``: how far requests differ in time from
    their mean, every other one up and down.
    """
    waits = dict.fromkeys(("demand_miss", "late_prefetch", "queueing", "storage", "cpu"), 0.0)
    waits |= stall or {}
    compute = total - runtime - sum(waits.values())
    timely, late, useless = ends
    proposals = {"redundant": 0, "cancelled": 0, "dropped": 0, **(other or {})}
    proposals |= {"timely": timely, "late": late, "useless": useless}
    bounds = {"compute": compute if resident is None else resident, "link": 1.0}
    bounds["clairvoyant"] = total if clairvoyant is None else clairvoyant
    signs = [1 if i % 4 in (0, 3) else -1 for i in range(requests)]
    return {
        "tpot_ms": {"mean": tpot},
        "decode_tokens_per_s": 1000 / tpot,
        "by_request": {
            "tpot_ms": [tpot + spread * sign for sign in signs],
            "output_tokens": [8] * requests,
        },
        "total_ms": total,
        "compute_ms": compute,
        "runtime_ms": runtime,
        "stall_ms": waits,
        "link_busy": {"host_link": busy},
        "prefetch": {"proposed": sum(proposals.values()), **proposals},
        "bounds_ms": bounds,
        "regret_ms": total - bounds["clairvoyant"],
        "cpu_rate": cpu,
        "predictors": {},
        "config": {
            "predictor": list(predictor),
            "cache": {"eviction": {"name": eviction}, "static": None, "warm": warm},
            "misses": {"policy": misses},
            "batch_size": batch,
        },
    }


GUESS = [{"name": "guess"}]


def said(lines: Sequence[str]) -> str:
    return "\n".join(lines)


# One run


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({}, "The largest part of the time, 100.0 %, is compute; hardly any is waiting"),
        (
            {"stall": {"demand_miss": 300, "queueing": 100}},
            "is compute; waiting for experts takes 40.0 %, above all for experts that nothing had "
            "loaded ahead (30.0 %)",
        ),
        (
            {"stall": {"storage": 700, "late_prefetch": 100}},
            "The largest part of the time, 80.0 %, is waiting for experts, above all for reads "
            "from storage (70.0 %)",
        ),
        (
            {"runtime": 600, "stall": {"late_prefetch": 200}},
            "60.0 %, is the runtime's own work; waiting for experts takes 20.0 %, above all for "
            "prefetches that are still on their way (20.0 %)",
        ),
    ],
)
def test_a_run_says_where_its_time_goes(result: dict[str, Any], words: str) -> None:
    assert words in of_run(planted(**result))[0]


def test_a_run_of_no_time_says_nothing() -> None:
    assert of_run(planted(total=0.0)) == []


@pytest.mark.parametrize(
    ("tpot", "words"),
    [
        (8.0, "helps: 8.00 ms a token against 10.0 ms a token without prediction, 20.0 % less"),
        (11.0, "hurts: 11.0 ms a token against 10.0 ms a token without prediction, 10.0 % more"),
        (10.02, "changes little: 10.0 ms a token against 10.0 ms a token"),
    ],
)
def test_prefetch_helps_or_hurts_against_the_same_run_without(tpot: float, words: str) -> None:
    result = planted(tpot, predictor=GUESS, ends=(5, 1, 1))
    assert f"Prefetch {words}" in said(of_run(result, planted()))
    for alone in (of_run(result), of_run(planted(tpot))):  # nothing to compare, nothing predicted
        assert "Prefetch" not in said(alone)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "the requests bear that out: 95 % interval -2.00 to -2.00 ms"),
        ({"spread": 20.0}, "the requests do not bear that out"),
        ({"requests": 7}, "too few requests to tell: 7 of the 8"),
        ({"batch": 4}, "requests depend on each other"),
    ],
)
def test_whether_the_requests_bear_it_out(change: dict[str, Any], words: str) -> None:
    both = {"requests": change.get("requests", REQUESTS)}
    lines = said(of_run(planted(8.0, predictor=GUESS, **change), planted(**both)))
    assert words in lines
    others = {"bear that out: 95", "do not bear", "too few", "depend on each"}
    assert sum(part in lines for part in others) == (2 if "do not" in words else 1)


def test_too_little_is_not_borne_out() -> None:
    """However sure it is."""
    for tpot, borne in ((9.96, False), (9.94, True)):
        found = evidence(planted(10.0), planted(tpot))
        assert found is not None
        assert (found.pairs.real, found.borne) == (True, borne)
        assert ("too little to count" in of_one(found)) == (not borne)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.05, "0.0500"), (-0.00123, "-0.00123"), (0.9996, "1.00"), (0.123, "0.123"), (1.5, "1.50"),
        (9.999, "10.0"), (123.4, "123"), (-2345.6, "-2,346"), (0.0, "0.000"), (-1e-9, "0.000"),
        (1e-6, "0.00000100"), (None, "–"),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_how_what_was_loaded_early_ended() -> None:
    result = planted(predictor=GUESS, ends=(50, 30, 20))
    words = (
        "Of 100 prefetches 50.0 % were there in time, 30.0 % came late and 20.0 % were not used."
    )
    assert words in of_run(result)
    nothing = planted(predictor=GUESS, other={"redundant": 7, "cancelled": 2, "dropped": 1})
    words = "Nothing was prefetched: of 10 proposals 7 were there or on their way, 2 were cancelled"
    assert f"{words} and 1 found no room." in of_run(nothing)
    assert "Nothing was proposed to be prefetched." in of_run(planted(predictor=GUESS))
    assert not any("prefetche" in line for line in of_run(planted()))


def test_a_time_per_token_has_no_reason_in_prefill() -> None:
    result = planted(predictor=GUESS, ends=(9, 175, 81))
    decode = {"timely": 80, "late": 1, "useless": 0}
    result["decode_prefetch"] = result["prefetch"] | decode
    assert figures.reasons(result) == []
    assert "Of 81 prefetches for decode 98.8 % were there in time, 1.2 % came late" in said(
        of_run(result)
    )
    result["tpot_ms"]["mean"] = None  # of prompts alone
    assert figures.reasons(result) == [Reason.WRONG, Reason.WINDOW]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"busy": 0.9}, [Reason.LINK]),
        ({"busy": 0.89}, []),
        ({"ends": (10, 11, 0)}, [Reason.WINDOW]),
        ({"ends": (10, 10, 0)}, []),
        ({"ends": (10, 30, 0), "busy": 0.95}, [Reason.LINK]),  # late, as the link is full
        ({"ends": (7, 0, 3)}, [Reason.WRONG]),
        ({"ends": (8, 0, 2)}, []),
        ({"total": 1100.0}, [Reason.COST]),  # all of it compute
        ({"total": 1100.0, "stall": {"queueing": 80.0}}, []),
        ({"total": 1100.0, "runtime": 60.0, "stall": {"queueing": 40.0}}, [Reason.COST]),
        ({"total": 900.0}, []),
        ({"total": 1100.0, "ends": (1, 2, 3)}, [Reason.COST, Reason.WRONG, Reason.WINDOW]),
    ],
)
def test_why_prefetch_fails(change: dict[str, Any], expected: list[Reason]) -> None:
    result = planted(**{"predictor": GUESS, "ends": (10, 0, 0), **change})
    assert figures.reasons(result, planted()) == expected
    assert figures.reasons(result) == [reason for reason in expected if reason is not Reason.COST]


@pytest.mark.parametrize(
    ("tpot", "change", "words"),
    [
        (12.0, {"busy": 0.95}, "Why it hurts: the host link is full (95.0 % busy)"),
        (
            8.0,
            {"ends": (1, 3, 0)},
            "What holds it back: of its prefetches that are used 75.0 % come late",
        ),
        (12.0, {"ends": (1, 0, 1)}, "Why it hurts: 50.0 % of its prefetches are never used"),
        (12.0, {"total": 1200.0}, "Why it hurts: it adds 200 ms of work and computing to the run"),
    ],
)  # fmt: skip
def test_reasons_are_told_with_their_figures(
    tpot: float, change: dict[str, Any], words: str
) -> None:
    result = planted(tpot, **{"predictor": GUESS, "ends": (10, 0, 0), **change})
    assert words in said(of_run(result, planted()))


def test_a_full_link_asks_for_fewer_loads_and_an_idle_one_for_earlier_ones() -> None:
    full, idle = "what helps is to load less", "loading ahead could use the rest"
    waiting: dict[str, Any] = {"stall": {"demand_miss": 400.0}}
    for result, expected in (
        (planted(busy=0.97, **waiting), [full]),
        (planted(busy=0.4, **waiting), [idle]),
        (planted(busy=0.4, predictor=GUESS, **waiting), []),  # it does already
        (planted(busy=0.4), []),  # nothing is waited for
    ):
        lines = said(of_run(result))
        assert [words for words in (full, idle) if words in lines] == expected


NO_MORE = (
    "No eviction and no prefetch can save more than 20.0 % of the time while every missing expert "
    "is loaded (the clairvoyant bound)"
)
ANY = "No policy can save more than 20.0 % of the time (the clairvoyant bound)."
NONE = (
    "No eviction and no prefetch can do better while every missing expert is loaded: this is the "
    "clairvoyant bound, within 1 %"
)
RESIDENT = "with every expert resident it takes 40.0 % less."


@pytest.mark.parametrize(
    ("clairvoyant", "resident", "cpu", "words"),
    [
        (800.0, 600.0, 0.0, f"{NO_MORE}; {RESIDENT}"),
        (995.0, 600.0, 0.0, f"{NONE}; {RESIDENT}"),
        (995.0, 995.0, 0.0, "It is as fast as with every expert resident, within 1 %."),
        (800.0, 600.0, 0.3, ANY),
    ],
)
def test_what_could_still_be_gained(
    clairvoyant: float, resident: float, cpu: float, words: str
) -> None:
    """Of what the CPU may compute, the bound is one of any policy."""
    misses = "cpu" if cpu else "load"
    result = planted(clairvoyant=clairvoyant, resident=resident, cpu=cpu, misses=misses)
    assert of_run(result)[-1] == words


def test_a_real_device_is_below_no_bound() -> None:
    measured = planted() | {"bounds_ms": None, "regret_ms": None}
    assert not any("bound" in line or "resident" in line for line in of_run(measured))


# A sweep


def point(result: dict[str, Any], **axes: str) -> Measured:
    predictors = result["config"]["predictor"]
    label = " ".join(
        f"{v}" if k == "name" else f"{k}={v}" for p in predictors for k, v in p.items()
    )
    names = {
        "predictor": label or "none",
        "cache.eviction": result["config"]["cache"]["eviction"]["name"],
    }
    given = {path.replace("__", "."): label for path, label in axes.items()}
    return Measured({**names, **given}, result)


def oracle(recall: float, **more: Any) -> list[dict[str, Any]]:
    return [{"name": "oracle", "recall": recall, **more}]


def test_axes_of_policies_and_of_conditions() -> None:
    axes = {
        "predictor", "predictor.recall", "prefetch.extra", "misses.policy", "cache.eviction",
        "cache.static", "cache.capacity", "hardware", "hardware.host_link.gb_s", "seed",
    }  # fmt: skip
    points = [Measured(dict.fromkeys(axes, value), planted()) for value in "xy"]
    swept = Swept(points)
    assert set(swept.condition_axes) == {
        "cache.capacity", "hardware", "hardware.host_link.gb_s", "seed"
    }  # fmt: skip
    assert set(swept.policy_axes) == axes - set(swept.condition_axes)


def test_the_best_policy_over_none_and_the_next() -> None:
    """On one machine each: 20 % less, then 10 % less; s3-fifo without prediction is between."""
    points = [
        *(point(planted(10.0), hardware=h) for h in ("a", "b")),
        point(planted(8.0, predictor=GUESS), hardware="a"),
        point(planted(9.0, predictor=GUESS), hardware="b"),
        *(point(planted(9.5, eviction="s3-fifo"), hardware=h) for h in ("a", "b")),
    ]
    lines = of_sweep(points)
    assert lines[0] == (
        "Fastest: hardware a, predictor guess, eviction lru: 125 tokens/s, 8.00 ms a token."
    )
    assert "- hardware b: 111 tokens/s, 9.00 ms a token with predictor guess, eviction lru" in lines
    assert "Best policy: predictor guess, eviction lru, fastest in 2 of 2 conditions." in lines
    assert (
        "Against no prediction it takes 15.0 % less (median of 2 conditions: 20.0 % less to "
        "10.0 % less) (borne out by the requests in 2 of 2)."
    ) in lines
    assert (
        "Against the next best, predictor none, eviction s3-fifo, it takes 10.5 % less (median of "
        "2 conditions: 15.8 % less to 5.3 % less) (borne out by the requests in 2 of 2)."
    ) in lines


def test_a_policy_that_sees_the_future_is_a_bound_and_not_the_best() -> None:
    points = [point(planted(t, eviction=e)) for e, t in (("lru", 10), ("fifo", 11), ("belady", 6))]
    lines = of_sweep(points)
    assert lines[0].startswith("Fastest: eviction lru")
    assert "Best policy: eviction lru." in lines
    assert any(line.endswith("the best of them takes 40.0 % less.") for line in lines)
    assert not any("see the future" in line for line in of_sweep(points[:2]))
    only = of_sweep([point(planted(t, eviction="belady"), seed=str(t)) for t in (5, 6)])
    assert only == [
        BOUNDS.format("eviction belady"),
        "Fastest: seed 5: 200 tokens/s, 5.00 ms a token.",
    ]


BOUNDS = "Every point sees the future ({}): these are bounds, which no engine can have."


def test_a_predictor_of_ones_own_is_said_to_be_unchecked() -> None:
    mine = [{"name": "mine.py", "older": 2}]
    points = [point(planted()), point(planted(5.0, predictor=mine))]
    told = "mine.py is not checked here for looking ahead, which no engine can do: "
    assert told + "prefetch-sim check mine.py tells." in of_sweep(points)
    assert told + "prefetch-sim check mine.py tells." in of_run(points[1].result)
    assert "looking ahead" not in said(of_run(planted(5.0, predictor=GUESS)))
    guesses = of_sweep([points[0], point(planted(5.0, predictor=GUESS))])
    assert not any("looking ahead" in line for line in guesses)


def test_bounds_alone_are_no_best_policy_and_no_prefetch() -> None:
    perfect = [point(planted(t, predictor=oracle(1.0, distance=d))) for d, t in ((1, 8), (2, 7))]
    lines = of_sweep(perfect)
    assert lines[0] == BOUNDS.format("an oracle")
    assert not any("Best policy" in line for line in lines)
    lines = of_sweep([*perfect, point(planted())])
    assert not any("Every point" in line for line in lines)
    helps = "helps in 2 of 2 comparisons with none (median 25.0 % less), hurts in 0."
    assert f"A perfect oracle {helps}" in lines
    warm = [point(planted(t, predictor=p, warm="popular")) for p, t in (((), 10.0), (GUESS, 8.0))]
    assert of_sweep(warm)[0] == BOUNDS.format("cache.warm popular in the trace itself")
    assert any(line.startswith("Prefetch beside policies that see") for line in of_sweep(warm))
    guess = of_sweep([*perfect, point(planted()), point(planted(8.0, predictor=GUESS))])
    assert any(line.startswith("Prefetch helps in 1 of 1 comparison") for line in guess)


@pytest.mark.parametrize(
    ("times", "said_of_it"),
    [
        ({"a": 10.0, "b": 10.0}, "No policy stands out: eviction a and eviction b take as long."),
        ({"a": 10.0, "b": 10.04}, "No policy stands out: eviction a and eviction b take as long."),
        (
            {"a": 10.0, "b": 10.04, "c": 12.0, "d": 10.01},
            "No policy stands out: eviction a and eviction d and 1 more take as long.",
        ),
        ({"a": 10.0, "b": 10.06}, "Best policy: eviction a."),
    ],
)
def test_a_tie_is_no_best_policy(times: dict[str, float], said_of_it: str) -> None:
    points = [
        point(planted(t, eviction=e, total=1000.0 + i)) for i, (e, t) in enumerate(times.items())
    ]
    lines = of_sweep(points)
    assert [line for line in lines if "policy" in line.lower()] == [said_of_it]


def test_a_run_without_prediction_is_no_tie_with_itself() -> None:
    """Without a predictor nothing of prefetch matters: runs that differ in that are one policy."""
    points = [
        point(planted(t + late, eviction=e, predictor=given), prefetch__policy=p)
        for e, t in (("lru", 10.0), ("mine.py", 8.0))
        for given, p, late in (
            ((), "top-k", 0.0),
            ((), "deadline-aware", 0.0),
            (oracle(0.5), "top-k", 1.0),
            (oracle(0.5), "deadline-aware", 2.0),
        )
    ]
    lines = of_sweep(points)
    assert lines[0].startswith("Fastest: predictor none, eviction mine.py: ")
    assert "Best policy: predictor none, eviction mine.py." in lines
    against = "Against the next best, predictor none, eviction lru, it takes 20.0 % less"
    assert any(line.startswith(against) for line in lines)
    guesses = [
        point(planted(8.0, predictor=GUESS, total=t), prefetch__policy=p)
        for p, t in (("top-k", 999.0), ("threshold", 998.0))
    ]
    tie = "predictor guess, policy top-k and predictor guess, policy threshold take as long"
    assert tie in said(of_sweep([*guesses, points[0]]))  # what predicts are two runs


def test_of_equal_times_none_is_the_fastest() -> None:
    rows = {"a": (9.0, 10.0, 10.0), "b": (10.0, 10.0, 10.0)}
    points = [
        point(planted(t, eviction=e), hardware=h)
        for e, row in rows.items()
        for h, t in zip("xyz", row)
    ]
    assert "Best policy: eviction a, fastest in 1 of 3 conditions." in of_sweep(points)


def test_where_requests_stand_on_both_sides_no_policy_is_the_best() -> None:
    times = {"lru": (20.0, 15.0, 10.0), "mine.py": (16.0, 15.0, 10.5)}
    points = [
        point(planted(t, eviction=e), cache__capacity=c)
        for e, row in times.items()
        for c, t in zip(("10%", "20%", "40%"), row)
    ]
    lines = of_sweep(points)
    assert not any("Best policy" in line for line in lines)
    assert (
        "No policy is best throughout: eviction mine.py is faster at capacity 10%, eviction lru "
        "at capacity 40% (borne out by the requests); open at capacity 20%."
    ) in lines


def test_of_three_those_that_are_compared_are_named_as_two() -> None:
    times = {"lru": (20.0, 15.0, 10.0), "mine.py": (16.0, 15.0, 10.5), "lfu": (15.0, 40.0, 40.0)}
    points = [
        point(planted(t, eviction=e), cache__capacity=c)
        for e, row in times.items()
        for c, t in zip(("10%", "20%", "40%"), row)
    ]
    assert (
        "No policy is best throughout: of the two that are best on average, eviction mine.py"
        in (said(of_sweep(points)))
    )


def test_an_axis_that_changes_nothing_is_said_to_and_names_no_fastest() -> None:
    points = [
        point(planted(t, eviction=e), hardware__host__memory_gib=gib)
        for gib in ("32", "64")
        for e, t in (("lru", 9.0), ("fifo", 10.0))
    ]
    lines = of_sweep(points)
    assert lines[0] == (
        "hardware.host.memory_gib changes nothing here: all values give the same figures."
    )
    assert lines[1] == "Fastest: eviction lru: 111 tokens/s, 9.00 ms a token."
    assert "Best policy: eviction lru." in lines
    assert "memory_gib" not in said(lines[1:])
    assert of_sweep(points[::2]) == lines[:1]  # nothing else was swept
    unlike = [*points[:3], point(planted(10.01, eviction="fifo"), hardware__host__memory_gib="64")]
    assert not any("changes nothing" in line for line in of_sweep(unlike))
    assert not any("changes nothing" in line for line in of_sweep(points[:3]))  # one has not run


def test_the_best_beats_most_others_where_both_were_run() -> None:
    """What ran in one easy condition alone is not the best."""
    times = {"a": {"x": 5, "y": 50}, "b": {"x": 6, "y": 60}, "c": {"x": 7, "y": 70}, "d": {"z": 1}}
    points = [
        point(planted(t, eviction=e), hardware=h)
        for e, row in times.items()
        for h, t in row.items()
    ]
    found = comparisons.ranking(Swept(points))
    assert found is not None
    assert found.order == [("a",), ("b",), ("c",)]  # of d nothing can be told
    assert (found.wins, found.contested) == (2, 2)


def test_conditions_alone_have_no_best_policy() -> None:
    lines = of_sweep([point(planted(t), cache__capacity=f"{t}%") for t in (10, 20)])
    assert lines == ["Fastest: capacity 10%: 100 tokens/s, 10.0 ms a token."]
    assert of_sweep([point(planted())]) == []


def test_a_condition_that_is_not_given_goes_unsaid() -> None:
    points = [point(planted(t), runtime__kernels=k) for k, t in (("none", 9.0), ("eager", 10.0))]
    points += [point(planted(8.0, eviction="fifo"), runtime__kernels="none")]
    assert of_sweep(points)[0] == "Fastest: eviction fifo: 125 tokens/s, 8.00 ms a token."
    assert of_sweep(points[:2])[0] == "Fastest: 111 tokens/s, 9.00 ms a token."


def test_where_prefetch_hurts_and_why() -> None:
    points = [
        *(point(planted(), hardware=h) for h in ("a", "b", "c")),
        point(planted(12.0, predictor=GUESS, busy=0.95, ends=(9, 1, 0)), hardware="a"),
        point(planted(11.0, predictor=GUESS, ends=(1, 9, 0)), hardware="b"),
        point(planted(9.0, predictor=GUESS, ends=(9, 1, 0)), hardware="c"),
    ]
    lines = of_sweep(points)
    assert (
        "Prefetch helps in 1 of 3 comparisons with none (median 10.0 % less), hurts in 2: the link "
        "is full (1), the window is too short (1)."
    ) in lines
    worst = lines[lines.index("It hurts most:") + 1 :]
    assert worst[0].startswith("- hardware a, predictor guess: 20.0 % more (the requests bear")
    assert "the host link is full (95.0 % busy)" in worst[0]
    assert worst[1].startswith("- hardware b, predictor guess: 10.0 % more")
    assert "90.0 % come late" in worst[1]
    helping = of_sweep([p for p in points if p.axes["hardware"] == "c"])
    assert (
        "Prefetch helps in 1 of 1 comparison with none (median 10.0 % less), hurts in 0." in helping
    )
    assert "It hurts most:" not in helping


def test_what_changes_little_may_have_loaded_nothing_and_oracles_are_not_counted() -> None:
    """They are left out of what prediction brings, but not out of the words."""
    guesses = ((9.0, (9, 0, 0)), (10.0, (9, 0, 0)), (10.01, (0, 0, 0)))
    points = [
        *(point(planted(), hardware=h) for h in "abc"),
        *(
            point(planted(t, predictor=GUESS, ends=e), hardware=h)
            for h, (t, e) in zip("abc", guesses)
        ),
        *(point(planted(t, predictor=oracle(0.5)), hardware=h) for h, t in zip("abc", (11, 12, 9))),
    ]
    lines = of_sweep(points)
    assert (
        "Prefetch helps in 1 of 3 comparisons with none (median 10.0 % less), changes little in 2 "
        "(in 1 of these nothing was loaded ahead), hurts in 0."
    ) in lines
    words = "against none they take less time in 1 of 3 comparisons, more in 2 (up to 20.0 %)."
    assert f"Oracles are not counted: {words}" in lines
    perfect = point(planted(8.0, predictor=oracle(1.0)), hardware="a")
    lines = of_sweep([one for one in points if "guess" not in one.axes["predictor"]] + [perfect])
    assert f"Oracles of a lower recall are not counted: {words}" in lines


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, ": nothing was proposed"),
        ({"other": {"redundant": 3}}, ": nothing was loaded ahead"),
        ({"ends": (9, 0, 0)}, ""),
    ],
)
def test_an_oracle_that_is_as_fast_has_not_failed_to_pay(more: dict[str, Any], why: str) -> None:
    points = [point(planted(10.0, predictor=oracle(r), total=999.0, **more)) for r in (0.5, 1.0)]
    lines = of_sweep([point(planted()), *points])
    first = lines.index("At the highest recall swept it is as fast as without prediction:")
    assert lines[first + 1] == f"- 1: all else being the same{why}"


def test_without_a_point_that_predicts_nothing_it_cannot_be_told() -> None:
    named = {"guess": 9.0, "other": 9.5}
    points = [point(planted(t, predictor=[{"name": n}])) for n, t in named.items()]
    words = "Whether prediction pays cannot be told"
    assert any(line.startswith(words) for line in of_sweep(points))
    assert not any(line.startswith(words) for line in of_sweep([*points, point(planted())]))


@pytest.mark.parametrize(
    ("times", "recall", "pays"),
    [
        ({0.5: 11.0, 0.75: 9.0, 1.0: 8.0}, 0.625, True),
        ({0.5: 10.0, 1.0: 8.0}, 0.5, True),
        ({0.5: 12.0, 0.75: 11.0, 1.0: 9.0}, 0.875, True),
        ({0.5: 9.0, 1.0: 8.0}, None, True),  # at every recall
        ({0.5: 12.0, 1.0: 10.0}, None, False),  # at none
        ({0.5: 9.0, 1.0: 11.0}, None, False),  # not at the highest
    ],
)
def test_the_recall_at_which_it_turns(
    times: dict[float, float], recall: float | None, pays: bool
) -> None:
    points = [
        point(planted(10.0)),
        *(point(planted(t, predictor=oracle(r))) for r, t in times.items()),
    ]
    (turn,) = turns(Swept(points))
    assert (turn.recall, turn.pays) == (pytest.approx(recall) if recall else None, pays)
    lines = said(of_sweep(points))
    texts = {
        "An oracle begins to pay at a recall of:": recall is not None,
        "It pays from the lowest recall swept on:": recall is None and pays,
        "At the highest recall swept it is as fast as without prediction:": times[1.0] == 10.0,
        "At the highest recall swept it does not pay:": times[1.0] > 10.0,
    }
    for text, is_said in texts.items():
        assert (text in lines) == is_said


AS_FAST = "At the highest recall swept it is as fast as without prediction:"
UNTOLD = "At the highest recall swept the requests do not tell it from no prediction:"


@pytest.mark.parametrize(
    ("best", "spread", "requests", "words"),
    [
        (9.97, 0.0, 10, AS_FAST),
        (9.97, 2.0, 10, AS_FAST),
        (9.5, 2.0, 10, UNTOLD),
        (8.0, 8.0, 10, UNTOLD),
        (12.0, 8.0, 10, UNTOLD),
        (8.0, 7.0, 7, "An oracle begins to pay at a recall of:"),  # too few to ask
    ],
)
def test_what_is_too_little_or_not_borne_out_does_not_pay(
    best: float, spread: float, requests: int, words: str
) -> None:
    base = planted(10.0, requests=requests)
    low = planted(11.0, predictor=oracle(0.5), requests=requests)
    perfect = planted(best, predictor=oracle(1.0), spread=spread, requests=requests)
    points = [point(base), point(low), point(perfect)]
    (turn,) = turns(Swept(points))
    assert (turn.alike, turn.untold) == (words == AS_FAST, words == UNTOLD)
    lines = of_sweep(points)
    assert words in lines
    begin = ("At the highest recall", "An oracle begins")
    assert sum(line.startswith(begin) for line in lines) == 1


def test_each_condition_turns_at_its_own_recall() -> None:
    points = []
    for hardware, slow in (("a", 12.0), ("b", 11.0)):
        points += [
            point(planted(10.0), hardware=hardware),
            point(planted(slow, predictor=oracle(0.5, distance=2)), hardware=hardware),
            point(planted(8.0, predictor=oracle(1.0, distance=2)), hardware=hardware),
        ]
    lines = of_sweep(points)
    first = lines.index("An oracle begins to pay at a recall of:")
    assert lines[first + 1 :] == [
        "- 0.75: hardware a, distance 2",
        "- 0.67: hardware b, distance 2",
    ]


def test_one_recall_is_no_line() -> None:
    points = [point(planted()), point(planted(9.0, predictor=oracle(0.9)))]
    assert turns(Swept(points)) == []


def test_of_many_points_the_best_of_each_condition_is_shown() -> None:
    points = [
        point(planted(t + ord(h), eviction=e), hardware=h)
        for h in "abc"
        for e, t in (("lru", 10), ("fifo", 9), ("belady", 1))
    ]
    for most, evictions in ((5, ["fifo"]), (6, ["fifo", "belady"])):  # with its bound, if all fit
        shown = comparisons.shown(Swept(points), most)
        assert [(p.axes["hardware"], p.axes["cache.eviction"]) for p in shown] == [
            (hardware, eviction) for hardware in "abc" for eviction in evictions
        ]
    assert [p.axes["hardware"] for p in comparisons.shown(Swept(points), 2)] == ["a", "b"]
    one = [point(planted(float(t), eviction=str(t))) for t in (5, 3, 4)]
    assert [p.axes["cache.eviction"] for p in comparisons.shown(Swept(one), 2)] == ["3", "4"]


# On the command line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_trace(tmp_path / "small.parquet", requests=9)
    return tmp_path


def test_a_run_ends_with_its_conclusion_and_begins_with_its_speed(folder: Path) -> None:
    config = write_config(folder / "run.yaml", trace="small.parquet", predictor="guess")
    shown = here("run", config, cwd=folder)
    found = json.loads(here("run", config, "--json", cwd=folder).stdout)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()[-len(found["conclusion"]) - 1 :]
    (alone,) = [line for line in lines if line.startswith("Prefetch ")]  # of a second run
    assert [line for line in lines if line != alone] == found["conclusion"]
    assert shown.stdout.index("speed") < shown.stdout.index("latency, ms")
    assert found["decode_tokens_per_s"] == pytest.approx(1000 / found["tpot_ms"]["mean"], rel=1e-5)
    assert found["tokens_per_s"] < found["decode_tokens_per_s"]  # prefills take longer
    bare = json.loads(here("run", config, "--json", "--set", "predictor=none", cwd=folder).stdout)
    assert f" against {number(bare['tpot_ms']['mean'])} ms a token without prediction" in alone


def test_a_second_run_is_of_few_layer_steps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run for people, where it predicts; on either engine."""
    config = write_config(folder / "run.yaml", trace=str(folder / "small.parquet"))
    steps = engine_choice.layer_steps(run.load(config, []))
    for predictor, engine in (("guess", "simpy"), ("guess", "compiled"), ("none", "simpy")):
        inputs = run.load(config, [f"predictor={predictor}", f"engine={engine}"])
        for most, again in ((steps - 1, False), (steps, predictor != "none")):
            monkeypatch.setitem(runs._AGAIN, engine, most)
            if engine == "simpy" or not again:
                assert (runs.without(inputs) is not None) == again


def test_a_run_as_json_is_simulated_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Inputs] = []
    once = simulated.run_inputs

    def counted(inputs: Inputs) -> dict[str, Any]:
        ran.append(inputs)
        return once(inputs)

    monkeypatch.setattr(simulated, "run_inputs", counted)
    trace = str(folder / "small.parquet")
    config = write_config(folder / "run.yaml", trace=trace, predictor="guess")
    monkeypatch.setattr(runs, "run_inputs", counted)
    for options, times in (([], 2), (["--json"], 1)):
        ran.clear()
        assert run_cli("run", config, *options).code == 0
        assert len(ran) == times


def test_output_tokens_of_a_batch_are_awaited_together(folder: Path) -> None:
    config = write_config(folder / "run.yaml", trace="small.parquet", batch_size=3)
    found = json.loads(here("run", config, "--json", cwd=folder).stdout)
    tokens = sum(found["by_request"]["output_tokens"])
    at_once = tokens / 1000 * found["tpot_ms"]["mean"]  # s, as if no two were awaited at once
    assert tokens / at_once * 1.5 < found["decode_tokens_per_s"] < tokens / at_once * 3.001
    assert tokens / found["decode_tokens_per_s"] < found["total_ms"] / 1000


def test_a_sweep_ends_with_its_conclusion(folder: Path) -> None:
    axes = {
        "predictor": ["none", "guess", *({"name": "oracle", "recall": r} for r in (0.5, 1.0))],
        "cache.eviction": ["lru", "fifo"],
        "cache.capacity": ["30%", "50%", "70%"],
    }
    config = write_config(folder / "s.yaml", trace="small.parquet", sweep=axes)
    done = here("sweep", config, "--out", "out", "--jobs", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    table, _, conclusion = done.stdout.partition("\n\n")
    rows = [row for row in table.splitlines() if row.startswith(("none", "guess", "oracle"))]
    assert (
        3 <= len(rows) <= 6
    )  # the best of each capacity, and what sees the future if it is faster
    assert (
        f"{len(rows)} of 24 points shown, the fastest of each condition; --all shows all" in table
    )
    assert conclusion.startswith("Fastest: ")
    assert "Best policy: " in conclusion
    assert "Prefetch helps in " in conclusion
    written = (folder / "out" / "conclusion.md").read_text()
    assert [line for line in written.splitlines() if line] == conclusion.splitlines()
    assert "conclusion.md" in done.stderr

    again = here("sweep", config, "--out", "out", "--all", cwd=folder)
    table = again.stdout.partition("\n\n")[0]
    assert sum(row.startswith(("none", "guess", "oracle")) for row in table.splitlines()) == 24
    assert "--all" not in again.stdout
