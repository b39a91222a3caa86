"""Prefetch policies: each keeps the contract, and what each one proposes."""

from __future__ import annotations

from contracts import PrefetchContract
from contracts.prefetch import Case, chosen

from prefetch_sim.sim.config import registry


class TestTopK(PrefetchContract):
    policy = "top-k"


class TestThreshold(PrefetchContract):
    policy = "threshold"


class TestDeadlineAware(PrefetchContract):
    policy = "deadline-aware"


def test_every_policy_has_its_contract_class() -> None:
    covered = {c.policy for c in PrefetchContract.__subclasses__()}
    assert covered >= set(registry.names("prefetch"))


TOP_K, THRESHOLD, DEADLINE = (
    registry.find("prefetch", name) for name in ("top-k", "threshold", "deadline-aware")
)
ONE = Case(0, [4, 2, 7, 1], [0.9, 0.6, 0.5, 0.1], 1, 2)
# Two tokens, three candidates each, which share 2 and 4.
TWO = Case(0, [4, 2, 7, 2, 5, 4], [0.9, 0.6, 0.2, 0.8, 0.5, 0.4], 2, 2)


def test_top_k_and_no_more() -> None:
    assert chosen(TOP_K, ONE) == [(4, 0), (2, 0)]
    assert chosen(TOP_K, TWO) == [(4, 0), (2, 0), (5, 0)]


def test_extra_comes_after_and_ranks_lower() -> None:
    assert chosen(TOP_K, ONE._replace(extra=1)) == [(4, 0), (2, 0), (7, 1)]
    assert chosen(TOP_K, ONE._replace(extra=9)) == [(4, 0), (2, 0), (7, 1), (1, 1)]
    assert chosen(TOP_K, TWO._replace(extra=1)) == [(4, 0), (2, 0), (5, 0), (7, 1)]


def test_top_k_proposes_residents_too_as_they_are_to_stay() -> None:
    assert chosen(TOP_K, ONE._replace(resident=frozenset({4}))) == [(4, 0), (2, 0)]


def test_threshold_takes_all_that_reach_it_and_nothing_below() -> None:
    assert chosen(THRESHOLD, ONE._replace(threshold=0.5)) == [(4, 0), (2, 0), (7, 1)]
    assert chosen(THRESHOLD, ONE._replace(threshold=0.7)) == [(4, 0)]
    assert chosen(THRESHOLD, ONE._replace(threshold=0.95)) == []
    assert chosen(THRESHOLD, TWO._replace(threshold=0.5)) == [(4, 0), (2, 0), (5, 0)]


def test_one_token_below_the_threshold_leaves_the_choice_to_another() -> None:
    case = Case(0, [3, 5, 5, 3], [0.9, 0.2, 0.6, 0.1], 2, 2, threshold=0.5)
    assert chosen(THRESHOLD, case) == [(3, 0), (5, 0)]


def test_deadline_aware_stops_where_nothing_more_can_land_in_time() -> None:
    case = ONE._replace(extra=2, load_ns=10)
    assert [x for x, _ in chosen(DEADLINE, case._replace(lead_ns=40))] == [4, 2, 7, 1]
    assert [x for x, _ in chosen(DEADLINE, case._replace(lead_ns=39))] == [4, 2, 7]
    assert [x for x, _ in chosen(DEADLINE, case._replace(lead_ns=39, backlog_ns=10))] == [4, 2]
    assert chosen(DEADLINE, case._replace(lead_ns=9)) == []


def test_deadline_aware_counts_no_load_for_a_resident() -> None:
    case = ONE._replace(load_ns=10, lead_ns=10, resident=frozenset({4}))
    assert chosen(DEADLINE, case) == [(4, 0), (2, 0)]


def test_only_the_policy_that_reads_the_clock_says_so() -> None:
    timed = {
        n for n in registry.names("prefetch") if getattr(registry.find("prefetch", n), "TIMED", 0)
    }
    assert timed == {"deadline-aware"}
