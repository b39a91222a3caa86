"""Predictors asked and told step by step: slow, plain, and what the arrays must agree with."""

from __future__ import annotations

from heapq import nlargest
from math import prod

from prefetch_sim.sim.jit.rng import draw, uniform
from prefetch_sim.sim.predictors.base import Context, Online, Prediction
from prefetch_sim.sim.predictors.oracle import RECOVERY, miss_probabilities
from prefetch_sim.sim.workload.step import Step


def best(scores: list[float], first: int, m: int) -> list[int]:
    """The ``m`` flat ids with the highest of ``scores`` (ids ``first``…), ties by lowest id."""
    return nlargest(m, range(first, first + len(scores)), key=lambda x: (scores[x - first], -x))


class LayerFrequency(Online):
    def __init__(self, context: Context, distance: int) -> None:
        super().__init__(context)
        self.distance = distance
        self.workload = context.workload
        self.width, self.k = self.workload.experts, self.workload.top_k
        self.counts = [0.0] * (self.workload.layers * self.width)
        self.tokens = [0] * self.workload.layers

    def predict(self, step: Step, target: int) -> Prediction | None:
        seen = self.tokens[target]
        if not seen:
            return None
        first = target * self.width
        counts = self.counts[first : first + self.width]
        ids = best(counts, first, min(2 * self.k, self.width))
        scores = [counts[x - first] / seen for x in ids]
        return Prediction(ids * len(step.rows), scores * len(step.rows))

    def observe(self, step: Step, layer: int) -> None:
        ids, tokens = self.workload.routed(step, layer)
        for x, n in zip(ids, tokens or [1] * len(ids)):
            self.counts[x] += n
        self.tokens[layer] += len(step.rows)


class PreviousToken(Online):
    def __init__(self, context: Context, distance: int) -> None:
        super().__init__(context)
        self.distance = distance
        self.rows = context.workload.flat.tolist()
        self.k = context.workload.top_k
        self.first_rows = {start for _, start, _ in context.workload.requests}
        self.slots = self.repeated = 0

    def predict(self, step: Step, target: int) -> Prediction | None:
        if step.prefill:
            return None
        score = (self.repeated + 1) / (self.slots + 2)
        ids: list[int] = []
        scores: list[float] = []
        for row in step.rows:
            named = [-1] * self.k if row in self.first_rows else self.rows[row - 1][target]
            ids += named
            scores += [score if x >= 0 else 0.0 for x in named]
        return Prediction(ids, scores) if max(ids) >= 0 else None

    def observe(self, step: Step, layer: int) -> None:
        if step.prefill:
            return
        for row in step.rows:
            if row not in self.first_rows:
                now, before = self.rows[row][layer], self.rows[row - 1][layer]
                if now[0] >= 0 and before[0] >= 0:
                    self.slots += self.k
                    self.repeated += len(set(before).intersection(now))


class Transition(Online):
    trigger = "routed"
    distance = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        workload = context.workload
        self.width, self.k = workload.experts, workload.top_k
        self.rows = workload.flat.tolist()
        total = workload.layers * self.width
        self.followed = [0] * (total * self.width)
        self.served = [0] * total

    def predict(self, step: Step, target: int) -> Prediction | None:
        ids: list[int] = []
        scores: list[float] = []
        width, first = self.width, target * self.width
        m = min(2 * self.k, width)
        for row in step.rows:
            seen = [x for x in self.rows[row][target - 1] if x >= 0 and self.served[x]]
            if not seen:
                ids += [-1] * m
                scores += [0.0] * m
                continue
            mean = [0.0] * width
            for x in seen:
                share = 1.0 / (self.served[x] * len(seen))
                followed = self.followed[x * width : (x + 1) * width]
                mean = [a + share * b for a, b in zip(mean, followed)]
            named = best(mean, first, m)
            ids += named
            scores += [mean[x - first] for x in named]
        return Prediction(ids, scores) if max(ids) >= 0 else None

    def observe(self, step: Step, layer: int) -> None:
        if layer == 0:
            return
        width = self.width
        for row in step.rows:
            layers = self.rows[row]
            chosen = [y % width for y in layers[layer] if y >= 0]
            for x in layers[layer - 1]:
                if x >= 0 and chosen:
                    self.served[x] += 1
                    for e in chosen:
                        self.followed[x * width + e] += 1


class Oracle(Online):
    def __init__(self, context: Context, recall: float, distance: int) -> None:
        super().__init__(context)
        self.distance = distance
        self.flat, self.seed = context.workload.flat, context.seed
        self.k, self.width = context.workload.top_k, context.workload.experts
        self.miss = miss_probabilities(recall, self.k)
        self.m = self.k if recall == 1.0 else min(2 * self.k, self.width)
        right = [1.0 - p for p in self.miss]
        later = min(right[-1], RECOVERY * (1.0 - prod(right)))
        self.scores = right + [later] * (self.m - self.k)

    def observe(self, step: Step, layer: int) -> None:
        pass

    def predict(self, step: Step, target: int) -> Prediction | None:
        ids: list[int] = []
        scores: list[float] = []
        for row in step.rows:
            routed = self.flat[row, target].tolist()
            if routed[0] < 0:
                ids += [-1] * self.m
                scores += [0.0] * self.m
            else:
                ids += self.degrade(routed, row, target) if self.m > self.k else routed
                scores += self.scores
        return Prediction(ids, scores)

    def degrade(self, routed: list[int], row: int, layer: int) -> list[int]:
        wrong = [uniform(self.seed, row, layer, r) < self.miss[r] for r in range(self.k)]
        missed = [x for x, w in zip(routed, wrong) if w]
        named = [-1 if w else x for x, w in zip(routed, wrong)]
        taken = set(routed)
        for rank in range(self.k):
            if named[rank] < 0:
                named[rank] = self.other(taken, row, layer, rank)
        for rank in range(self.k, self.m):
            if missed and uniform(self.seed, row, layer, rank) < RECOVERY:
                named.append(missed.pop(0))
            else:
                named.append(self.other(taken, row, layer, rank))
        return named

    def other(self, taken: set[int], row: int, layer: int, rank: int) -> int:
        x = -1
        for attempt in range(8):
            bits = draw(self.seed, row, layer, (attempt + 1) << 8 | rank)
            x = int(self.flat[bits % len(self.flat), layer, (bits >> 40) % self.k])
            if x >= 0 and x not in taken:
                taken.add(x)
                return x
        first = layer * self.width
        for step in range(1, self.width + 1):
            y = first + (max(x, first) - first + step) % self.width
            if y not in taken:
                taken.add(y)
                return y
        return -1
