"""The study's tables and sentences in Markdown, from its CSV files and profiles alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from prefetch_sim.experiments import studies
from prefetch_sim.experiments.documents import table
from prefetch_sim.hardware_profiles import load_profile

FOLDER = Path(__file__).parent
SWEEPS = {name: FOLDER / f"{name}.yaml" for name in ("plane", "machines", "submit", "measured")}
RESULTS = studies.RESULTS / "copy_or_cpu"

# The sweeps' words for it. Each side may leave the cache as the prompt left it, or load behind.
KEEP = {"cpu": "cpu", "cheapest": "cheapest"}
BEHIND = {"cpu": "policy=cpu then=load", "cheapest": "policy=cheapest then=load"}
LINK, CPU = "hardware.host_link.gb_s", "hardware.cpu.expert_gb_s.bf16"
HIT, RUNTIME, MODEL = "trace.hit_rate", "runtime", "trace.synthetic"
SUBMIT, OVERLAP = "runtime.cpu.submit_us", "runtime.overlap"
IDEAL, ENGINE = "ideal overlap=grouped", "imp"
RUNTIMES = {IDEAL: "ideal", ENGINE: "imp"}
QWEN, GPT = "qwen3-30b-a3b", "gpt-oss-120b"
HITS = ("0.5", "0.75", "0.9")
TYPICAL = "0.75"
LINKS = (6.0, 12.5, 25.0, 50.0)
COPIED, SHARED = 14.90, 12.75  # tokens/s, FlashML-org/FreeToken#232
_SHOWN = {ENGINE: ("copy", "keep", "behind", "cheapest"), IDEAL: ("copy", "cpu", "cheapest")}
ENOUGH = 0.02  # a lead that the tables call one


class Results(NamedTuple):
    """Milliseconds a token: an index of axes, and columns copy, keep, behind, cpu, cheapest, ..."""

    plane: pd.DataFrame
    machines: pd.DataFrame
    submit: pd.DataFrame
    measured: pd.DataFrame


def read(folder: Path) -> Results:
    frames = {name: studies.read(folder, name) for name in SWEEPS}
    plane = frames["plane"].astype({LINK: float, CPU: float})
    submit, measured = (frames[name].astype({SUBMIT: float}) for name in ("submit", "measured"))
    return Results(
        _sides(plane, [MODEL, RUNTIME, HIT, LINK, CPU]),
        _sides(frames["machines"], [RUNTIME, HIT, "hardware"]),
        _sides(submit, ["hardware", OVERLAP, HIT, SUBMIT]),
        _sides(measured, [SUBMIT]),
    )


def _sides(frame: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    hits = frame.pivot(index=axes, columns="misses", values="hit_rate")
    ms = frame.pivot(index=axes, columns="misses", values="ms")
    found = pd.DataFrame({"copy": ms["load"], "keep": ms["cpu"], "behind": ms[BEHIND["cpu"]]})
    found["cpu"] = found[["keep", "behind"]].min(axis=1)
    found["cheapest"] = ms[[KEEP["cheapest"], BEHIND["cheapest"]]].min(axis=1)
    found["better"] = found[["copy", "cpu"]].min(axis=1)
    found["hits"], found["hits_kept"] = hits["load"], hits["cpu"]
    found["ratio"] = found["copy"] / found["cpu"]
    found["gain"] = found["better"] / found["cheapest"] - 1
    return found.reset_index()


def surface(results: Results, model: str, runtime: str, hit: str, side: str) -> pd.DataFrame:
    """[CPU GB/s, link GB/s]: time of copying over that of a ``side`` (cpu, keep)."""
    frame = results.plane
    chosen = frame[(frame[MODEL] == model) & (frame[RUNTIME] == runtime) & (frame[HIT] == hit)]
    return chosen.assign(of=chosen["copy"] / chosen[side]).pivot(
        index=CPU, columns=LINK, values="of"
    )


def turn(surface: pd.DataFrame, link: float) -> float:
    """The CPU's GB/s from which on it is faster; 0 where it always is, infinite where it never is.

    Between two points of the sweep along a straight line in both logarithms.
    """
    column = np.log(surface[link].to_numpy())
    rates = np.log(surface.index.to_numpy(dtype=float))
    if column[0] >= 0:
        return 0.0
    if column[-1] < 0:
        return float("inf")
    i = int(np.argmax(column >= 0))
    part = -column[i - 1] / (column[i] - column[i - 1])
    return float(np.exp(rates[i - 1] + part * (rates[i] - rates[i - 1])))


def place(name: str) -> tuple[float, float]:
    """A machine's GB/s: of its host link, and of experts on its CPU."""
    profile = load_profile(name)
    assert profile.host_link is not None
    assert profile.cpu is not None
    return profile.host_link.gb_s.value, profile.cpu.expert_gb_s.bf16.value


def tables(results: Results) -> dict[str, str]:
    return {
        "answer": _answer(results),
        "turn": _turn(results),
        "machines": _machines(results),
        "cheapest": _cheapest(results),
        "submit": _submit(results),
        "measured": _measured(results),
    }


def machines(results: Results, runtime: str, hit: str) -> pd.DataFrame:
    """By name, in the sweep's order."""
    frame = results.machines
    chosen = frame[(frame[RUNTIME] == runtime) & (frame[HIT] == hit)].set_index("hardware")
    order = sorted(chosen.index, key=lambda name: (place(name)[1] / place(name)[0], name))
    return chosen.loc[order]


def _answer(results: Results) -> str:
    on = machines(results, ENGINE, TYPICAL)
    ideal = machines(results, IDEAL, TYPICAL)
    copies = [name for name in on.index if on["ratio"][name] < 1]
    free = [name for name in ideal.index if ideal["ratio"][name] < 1]
    lead = on["ratio"] - 1
    ratios = [
        turn(surface(results, model, runtime, TYPICAL, "cpu"), link) / link
        for model, runtime in ((QWEN, IDEAL), (QWEN, ENGINE), (GPT, ENGINE))
        for link in LINKS[2:]
    ]
    low, high = min(ratios), max(ratios)
    every = results.machines[results.machines[RUNTIME] == ENGINE]
    loses = every[every["gain"] < -ENOUGH]
    hits = loses[HIT].value_counts()
    kept = every[(every[HIT] == TYPICAL) & (every["keep"] < every["copy"])]
    lost = {
        how: -submit(results, "rtx-4090", how, "0.9")["gain"][80.0]
        for how in ("grouped", "per_expert")
    }
    handed = submit(results, "rtx-4090", "grouped", TYPICAL)
    first = handed.index[handed["gain"] > 0].min()
    copies_from = handed.index[handed["ratio"] < 1].min()
    by = results.measured.set_index(SUBMIT)
    copied, shared = by["copy"].iloc[0], by["cheapest"]
    kept_hits, hits_of_lru = _percent(on["hits_kept"].mean()), _percent(on["hits"].mean())
    lines = [
        f"**Compare two numbers: GB/s of the CPU on experts, and GB/s of the host link.** At 75 % "
        f"hits it turns where the first is {low:.1f} to {high:.1f} times the second (links of 25 "
        f"and 50 GB/s, both runtimes; experts of 3 and of 13 MB). Below that copy; above it let "
        f"the CPU compute, and load behind for later tokens.",
        f"An engine that never copies in decode needs a CPU {_times(results, 'keep')} times as "
        f"fast as the link: its cache stays as the prompt left it and hits {kept_hits} in place of "
        f"{hits_of_lru}. With imp's costs it is still faster than copying on {len(kept)} of "
        f"{len(on)} machines.",
        f"With imp's costs and 75 % hits, {len(on) - len(copies)} of {len(on)} machines are faster "
        f"with the CPU than copying, by up to {_percent(lead.max())} ({lead.idxmax()}); copying "
        f"wins on {_listed(copies)}. With a runtime that costs nothing it wins on {_listed(free)}.",
        f"**`cheapest`**, with imp, gains more than 2 % on {(every['gain'] > ENOUGH).sum()} of "
        f"{len(every)} pairs of machine and hit rate, at most {_percent(every['gain'].max())}, and "
        f"loses more than 2 % on {len(loses)}, at most {_percent(-every['gain'].min())}; "
        f"{hits.get('0.9', 0)} of these are at 90 % hits, {hits.get('0.5', 0)} at 50 %.",
        f"It loses as it compares when copy and CPU are through and nothing else: not that a GPU "
        f"that computes its experts together (`grouped`) does so beside the CPU but after a copy, "
        f"nor that CPU and link slow each other down, nor bookkeeping. On an RTX 4090 at 90 % hits "
        f"it loses {_percent(lost['grouped'])}; with `per_expert`, {_percent(lost['per_expert'])}.",
        f"What handing over costs moves the choice: on an RTX 4090 with imp, `cheapest` leads from "
        f"{first:g} µs a layer on, and copying beats the CPU from {copies_from:g} µs on (of "
        f"{_listed([f'{us:g}' for us in handed.index])} µs).",
        f"**The one machine on which both were measured says otherwise.** FreeToken on an RTX 4090 "
        f"beside a Threadripper Pro 5955WX copied at {COPIED:.2f} tokens/s, here {_speed(copied)}; "
        f"sharing out between link and CPU made {SHARED:.2f}, here {_speed(shared[80.0])} with 80 "
        f"µs a layer to hand over and {_speed(shared.iloc[-1])} with {shared.index[-1]:g}. What an "
        f"engine takes to hand over and to merge decides, and that is hardly ever published.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _times(results: Results, side: str) -> str:
    """The CPU's rate over the link's where it turns, at the typical hit rate."""
    found = [
        turn(surface(results, QWEN, runtime, TYPICAL, side), link) / link
        for runtime in RUNTIMES
        for link in LINKS[1:]
    ]
    return f"{min(found):.1f} to {max(found):.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none"


def _turn(results: Results) -> str:
    rows = []
    for model, runtime, hits in (
        (QWEN, IDEAL, HITS),
        (QWEN, ENGINE, HITS),
        (GPT, ENGINE, ("0.75",)),
    ):
        for hit in hits:
            for side, what in (("cpu", "yes"), ("keep", "no")):
                of = surface(results, model, runtime, hit, side)
                cells = [_rate(of, turn(of, link)) for link in LINKS]
                name = f"{model}, {RUNTIMES[runtime]}, {float(hit):.0%} hits".replace("%", " %")
                rows.append([name if side == "cpu" else "", what, *cells])
    return table(["", "loads behind", *(f"link {link:g} GB/s" for link in LINKS)], rows)


def _rate(of: pd.DataFrame, rate: float) -> str:
    if rate == 0:
        return f"< {of.index[0]:g}"
    return f"> {of.index[-1]:g}" if np.isinf(rate) else f"{rate:.0f}"


def _machines(results: Results) -> str:
    found = {runtime: machines(results, runtime, TYPICAL) for runtime in (ENGINE, IDEAL)}
    rows = []
    for name in found[ENGINE].index:
        link, cpu = place(name)
        cells = [name, f"{link:g}", f"{cpu:g}"]
        for runtime, sides in _SHOWN.items():
            cells += [_speed(found[runtime].loc[name][side]) for side in sides]
        rows.append([*cells, _advice(found[ENGINE].loc[name])])
    head = ["machine", "link", "CPU", "copy", "CPU", "CPU, loads behind", "cheapest"]
    return table([*head, "ideal: copy", "CPU", "cheapest", "best with imp"], rows)


def _speed(ms: float) -> str:
    return f"{1000 / ms:.3g}"


def _advice(row: pd.Series) -> str:
    """What is fastest; ``cheapest`` only if it is so by more than ``ENOUGH``."""
    if row["gain"] > ENOUGH:
        return "cheapest"
    side = "copy" if row["ratio"] < 1 else "CPU"
    return side if abs(np.log(row["ratio"])) > ENOUGH else "either"


def _cheapest(results: Results) -> str:
    rows = []
    for runtime, name in RUNTIMES.items():
        for hit in HITS:
            gain = machines(results, runtime, hit)["gain"]
            cells = [f"{round(100 * x) + 0:+d} %" for x in (gain.min(), gain.median(), gain.max())]
            counts = [str((gain > ENOUGH).sum()), str((gain < -ENOUGH).sum())]
            rows.append([f"{name}, {float(hit):.0%} hits".replace("%", " %"), *cells, *counts])
    head = ["", "least", "median", "most", "machines that gain over 2 %", "that lose over 2 %"]
    return table(head, rows)


def _submit(results: Results) -> str:
    frame = results.submit
    names = list(dict.fromkeys(frame["hardware"]))
    rows = []
    for us in sorted(set(frame[SUBMIT])):
        cells = [
            _cell(submit(results, name, overlap, TYPICAL).loc[us])
            for overlap in ("grouped", "per_expert")
            for name in names
        ]
        rows.append([f"{us:g}", *cells])
    heads = [f"{how}{name}" for how in ("", "per_expert: ") for name in names]
    return table(["`cpu.submit_us`, µs", *heads], rows)


def _measured(results: Results) -> str:
    """Tokens a second, by what handing over takes."""
    frame = results.measured
    sides = ("copy", "keep", "behind", "cheapest")
    rows = [[f"{row[SUBMIT]:g}", *(_speed(row[s]) for s in sides)] for _, row in frame.iterrows()]
    rows.append(["measured", f"{COPIED:.2f}", "–", "–", f"{SHARED:.2f}"])
    return table(["`cpu.submit_us`, µs", "copy", "CPU", "CPU, loads behind", "cheapest"], rows)


def submit(results: Results, hardware: str, overlap: str, hit: str) -> pd.DataFrame:
    """By what handing over costs, µs."""
    frame = results.submit
    same = (frame["hardware"] == hardware) & (frame[OVERLAP] == overlap) & (frame[HIT] == hit)
    return frame[same].set_index(SUBMIT).sort_index()


def _cell(row: pd.Series) -> str:
    """Tokens a second of copying, of the CPU, of ``cheapest``; the fastest in bold."""
    best = row[["copy", "cpu", "cheapest"]].min()
    return " / ".join(
        f"**{_speed(row[s])}**" if row[s] == best else _speed(row[s])
        for s in ("copy", "cpu", "cheapest")
    )
