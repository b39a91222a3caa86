"""``advise``: what it takes for granted, what it answers, and how near measured runs are."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from cli_support import run_cli

from prefetch_sim import run as api_run
from prefetch_sim.experiments.advising import band, check, near, options, points, words
from prefetch_sim.experiments.advising.advice import advise, limits
from prefetch_sim.experiments.advising.answer import Advice
from prefetch_sim.experiments.advising.choices import point
from prefetch_sim.experiments.advising.machine import GIB, Here, find
from prefetch_sim.experiments.advising.near import CHECKED
from prefetch_sim.experiments.advising.placements import HITS, Way, first_layers, hits, placed, ways
from prefetch_sim.experiments.advising.question import Question
from prefetch_sim.experiments.advising.situation import Situation, settle
from prefetch_sim.experiments.advising.targets import ALL_IN_MEMORY, LARGEST_CARD, judged
from prefetch_sim.experiments.advising.targets import Way as Reaches
from prefetch_sim.experiments.documents import fill
from prefetch_sim.experiments.field_check.rows import read_study
from prefetch_sim.experiments.text import number
from prefetch_sim.hardware_profiles import (
    Chip,
    ProfileError,
    list_profiles,
    load_profile,
    load_runtime,
)
from prefetch_sim.hardware_profiles.drafts import as_yaml, draft
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree, set_path

ROOT = Path(__file__).parents[1]
ELSEWHERE = Here(None, None, "", 0)
# A small model on a card with less memory than it needs.
SMALL = {"gpu": "RTX 3060 5GB", "ram": "32GB", "model": "allenai/OLMoE-1B-7B", "quant": "Q4_K_M"}
ASKED = ("--gpu", "RTX 3060 5GB", "--ram", "32GB", "--model", "olmoe-1b-7b", "--quant", "Q4_K_M")


def settled(**given: Any) -> Situation:
    return settle(Question.of(**SMALL | given), lambda: ELSEWHERE)


@cache
def answered(**given: Any) -> Advice:
    return advise(Question.of(**SMALL | given), look=lambda: ELSEWHERE)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("ram", "32GB", 32 * GIB),
        ("ram", "0.5 TiB", 512 * GIB),
        ("ram", "16", 16 * GIB),
        ("target", "20tok/s", 20),
        ("target", "20 tokens/s", 20),
        ("target", "12.5 t/s", 12.5),
        ("target", "50ms", 20),
        ("link", "25 GB/s", 25),
        ("link", "PCIe 3.0 x16", 12.35),
        ("link", "PCIe Gen4 x8", 12.5),
        ("context", "32k", 32768),
    ],
)
def test_sizes_and_speeds_are_read_as_written(field: str, text: str, value: float) -> None:
    assert getattr(Question.of(**SMALL | {field: text}), field) == pytest.approx(value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ram": "lots"}, "ram: 'lots' is no size of a memory: write 32GB"),
        ({"target": "fast"}, "target: 'fast' is no speed: write 20tok/s or 50ms"),
        ({"quant": "Q4_K_X"}, "quant: unknown quantisation 'Q4_K_X'; did you mean 'Q4_K_S'?"),
        ({"link": "PCIe"}, "link: 'PCIe' is no rate: write 25, in GB/s, or PCIe 4.0 x16"),
        ({"quant": "Q4_0"}, "about as large is 'Q4_K_S'"),
        ({"quant": "IQ3_XXS"}, "by its bits a weight it is 'gguf@3.06'"),
        ({"context": "long"}, "context: "),
        ({"cache": "much"}, "cache: 'much' is not a capacity"),
    ],
)
def test_what_cannot_be_read_is_named(given: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        Question.of(**SMALL | given)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("RTX 3060 12GB", "rtx-3060-12gb"),
        ("geforce rtx 3060 ti", "rtx-3060-ti"),
        ("Apple M4 Max", "m4-max"),
        ("Apple M4", "m4"),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", "rtx-4060-laptop"),
        ("Radeon RX 7900 XTX", "rx-7900-xtx"),
        ("rtx-5090", "rtx-5090"),
    ],
)
def test_cards_are_known_by_what_people_call_them(gpu: str, name: str) -> None:
    assert settled(gpu=gpu).machine.profile.name == name


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--gpu", "RTX 4O90", "did you mean 'rtx-4090'?"),
        ("--quant", "Q5_K", "did you mean 'Q5_K_M'?"),
        ("--quant", "UD-Q4_K_XL", "of the same type is 'Q4_K_M'"),
        ("--quant", "UD-Q2_K_XL", "of the same type is 'Q2_K'"),
        ("--quant", "UD-IQ2_XXS", "by its bits a weight it is 'gguf@2.06'"),
        ("--model", "olmoe-1b-8b", "did you mean 'olmoe-1b-7b'?"),
        ("--runtime", "lama.cpp", "did you mean 'llama.cpp'?"),
        ("--cpu", "ryzen-5950", "did you mean 'ryzen-5950x'?"),
        ("--n-cpu-moe", "0", "at least"),
        ("--cache", "7GiB", "do not fit"),
        ("--context", "1", "context"),
    ],
)
def test_a_wrong_option_is_one_line_with_the_nearest_name(
    option: str, value: str, says: str
) -> None:
    """The last of an option counts."""
    ended = run_cli("advise", *ASKED, option, value)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("RTX 4060 M", "rtx-4060-laptop"),
        ("RTX 4060M", "rtx-4060-laptop"),
        ("3080 laptop", None),
        ("my 3080", "rtx-3080-10gb"),
        ("RTX A4000 16GB", None),
    ],
)
def test_a_laptops_card_is_never_taken_for_a_desktops(gpu: str, name: str | None) -> None:
    with pytest.raises(ProfileError) as error:
        settled(gpu=gpu)
    assert re.findall(r"did you mean '(.*?)'", str(error.value)) == ([name] if name else [])
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("gpu", "near"),
    [
        ("RTX 3060 12GB + RTX 3060 12GB", "RTX 3060 24GB"),
        ("RTX 3090, RTX 3090", "RTX 3090 48GB"),
        ("2x RTX 3090", "RTX 3090 48GB"),
        ("RTX 3090 x2", "RTX 3090 48GB"),
        ("dual 3090", "3090 48GB"),
        ("8xH100", "H100 640GB"),
        ("4x A100", None),
        ("RTX 3090 and RTX 4070", None),
        ("2 RTX 3090", "RTX 3090 48GB"),
        ("RTX 3090 *2", "RTX 3090 48GB"),
        ("3090x2", "3090 48GB"),
        ("six RTX 3090", "RTX 3090 144GB"),
        ("a pair of RTX 3090", "RTX 3090 48GB"),
    ],
)
def test_several_cards_are_refused_with_one_that_is_near(gpu: str, near: str | None) -> None:
    with pytest.raises(ProfileError) as error:
        settled(gpu=gpu)
    said = str(error.value)
    assert said.startswith("gpu: several cards are not modelled; ask about one of them")
    assert said.endswith(f"'{near}'" if near else "one of them")


def test_what_is_no_second_card_is_not_taken_for_one() -> None:
    assert settled(gpu="AMD Ryzen AI Max+ 395").machine.profile.name == "strix-halo"
    assert settled(gpu="RTX 4060 Ti, 16GB").machine.profile.name == "rtx-4060-ti-16gb"
    for link in ("PCIe 4.0 x16", "PCIe gen4 x16", "PCIe x8"):
        with pytest.raises(ProfileError, match="did you mean 'rtx-3090'"):
            settled(gpu=f"RTX 3090 {link}")
    for text, name, gib in (
        ("NVIDIA GeForce RTX 4090, 24564 MiB", "rtx-4090", 24),  # nvidia-smi's own line
        ("RTX 3060, 12GB GDDR6", "rtx-3060-12gb", 12),
        ("8 GB RTX 3060", "rtx-3060-12gb", 8),
    ):
        profile = settled(gpu=text).machine.profile
        assert (profile.name, profile.compute.memory_gib.value) == (name, gib)


def refusal(gpu: str) -> ProfileError:
    with pytest.raises(ProfileError) as error:
        settled(gpu=gpu)
    return error.value


@pytest.mark.parametrize(
    ("beside", "option"),
    [("64GB RAM", "ram"), ("64 GB DDR5", "ram"), ("i9-13900K", "cpu"), ("Ryzen 9 5950X", "cpu")],
)
def test_what_is_named_beside_a_card_is_said_with_its_option(beside: str, option: str) -> None:
    for text in (f"RTX 4090 + {beside}", f"{beside} and RTX 4090"):
        assert str(refusal(text)) == f"gpu: {beside!r} is no card; say it with --{option}"


@pytest.mark.parametrize(
    ("gpu", "says"),
    [
        ("NVIDIA A100-SXM4-40GB", "did you mean 'a100-pcie-40gb'?"),
        ("RTX A6000", "'RTX A6000'. One that"),
        ("RTX 6000 Ada", "'RTX 6000 Ada'. One that"),
        ("Apple M1 Max", "--gpu-gb-s GBS --drive-gb-s GBS --unified --chip apple, then"),
        ("Jetson Xavier", "--drive-gb-s GBS --unified, then"),
    ],
)
def test_an_unknown_machine_is_told_how_to_describe_its_kind(gpu: str, says: str) -> None:
    with pytest.raises(ProfileError) as error:
        settled(gpu=gpu)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("gpu", "gib"), [("RTX 3060 11.5GB", 11.5), ("4060 Ti 8G", 8), ("RTX 4070 Ti 16 GiB", 16)]
)
def test_memory_in_a_cards_name_may_be_any(gpu: str, gib: float) -> None:
    assert settled(gpu=gpu).machine.profile.compute.memory_gib.value == gib


def test_a_cpu_or_a_model_of_another_kind_is_no_suggestion() -> None:
    with pytest.raises(
        ProfileError, match=r"'i7-10700' is in no list; by its memory .*'ddr4-dual'"
    ):
        settled(cpu="i7-10700")
    with pytest.raises(ProfileError, match=r"'EPYC 7742' is in no list; .* 'ddr4-octa'"):
        settled(cpu="EPYC 7742")
    with pytest.raises(ConfigError, match=r"only models with experts \(MoE\)") as error:
        settled(model="llama-3.1-8b")
    assert "glm" not in str(error.value)


def test_where_no_card_is_named_and_none_is_here_it_says_so() -> None:
    with pytest.raises(ProfileError, match="gpu: none is found here"):
        find(Question.of(model="olmoe-1b-7b"), lambda: ELSEWHERE)


def test_this_machine_is_taken_as_it_is_found() -> None:
    here = Here("NVIDIA GeForce RTX 3060", 12.0, "AMD Ryzen 9 5950X 16-Core Processor", 60 * GIB)
    machine = find(Question.of(model="olmoe-1b-7b"), lambda: here)
    assert machine.profile.name == "rtx-3060-12gb"
    assert machine.profile.cpu is not None
    assert machine.profile.cpu.name == "ryzen-5950x"
    assert machine.profile.host is not None
    assert machine.profile.host.memory_gib.value == 60
    detected = {one.what for one in machine.taken if one.how == "detected"}
    assert detected == {"gpu", "ram", "cpu"}


@pytest.mark.parametrize(
    ("gpu", "gib", "how"),
    [(None, 8, "detected"), ("RTX 3060", 8, "detected"), ("RTX 3060 6GB", 6, "said")],
)
def test_the_memory_of_the_card_here_is_detected_unless_another_is_said(
    gpu: str | None, gib: float, how: str
) -> None:
    here = Here("NVIDIA GeForce RTX 3060", 8.0, "AMD Ryzen 9 5950X", 60 * GIB)
    machine = find(Question.of(model="olmoe-1b-7b", gpu=gpu), lambda: here)
    assert machine.profile.compute.memory_gib.value == gib
    assert [one.how for one in machine.taken if one.what == "vram"] == [how]


@pytest.mark.parametrize(
    ("gpu", "says"),
    [
        ("4060 Ti", "as rtx-4060-ti-16gb; if yours has another, say so: --gpu '4060 Ti 8GB'"),
        ("4060 Ti 16GB", None),
        ("rtx-4060-ti-16gb", None),
        ("RTX 4060", None),
    ],
)
def test_a_card_sold_with_several_memories_says_which_it_is(gpu: str, says: str | None) -> None:
    machine = find(Question.of(model="olmoe-1b-7b", gpu=gpu), lambda: Here(None, None, "", GIB))
    found = [one for one in machine.taken if one.what == "vram"]
    expected = [] if says is None else [("16 GiB", "assumed", says)]
    assert [(one.value, one.how, one.why) for one in found] == expected


def test_another_machine_is_not_taken_for_this_one() -> None:
    here = Here("NVIDIA GeForce RTX 3060", 12.0, "AMD Ryzen 9 5950X", 60 * GIB)
    machine = find(Question.of(model="olmoe-1b-7b", gpu="RTX 4090"), lambda: here)
    assert machine.profile.host is not None
    assert machine.profile.host.memory_gib.value == 64
    assert {one.how for one in machine.taken} == {"said", "assumed"}


def test_hits_go_through_what_was_measured_and_grow() -> None:
    for share, rate in HITS[:-1]:
        assert hits(share, 128 / 8) == pytest.approx(rate)
    assert hits(1 / 4, 4) == HITS[0][1] < hits(1 / 4, 16) < hits(1 / 4, 51.2)
    for needs in (4, 16, 51.2):
        rates = [hits(x / 100, needs) for x in range(1, 101)]
        assert all(a <= b for a, b in pairwise(rates))
        assert 0 == rates[0] < hits(1.01 / needs, needs) < rates[-1] == 1


def test_a_cache_of_nearly_everything_hits_as_measured() -> None:
    """So that a GB more never makes a token slower; a routing that is drawn hits less."""
    place = settled(gpu="RTX 5090", runtime="imp").place
    found = []
    for share in (0.94, 0.96, 0.98, 0.999):
        trace = placed(place, "lru", cache=int(share * place.everything)).changes["trace"]
        found.append(trace["hit_rate"])
    assert 0.98 < found[0] < found[1] < found[2] < found[3] < 1
    whole = placed(place, "lru", cache=place.everything).changes
    assert ("hit_rate" in whole["trace"], whole["cache"]["warm"]) == (False, "first")


def test_as_many_layers_as_fit_and_one_more_does_not() -> None:
    place = settled().place
    found = placed(place, "layers")
    assert 0 < found.layers < place.model.moe_layers
    first = first_layers(place.model, found.layers)
    asked = placed(place, "layers", n_cpu_moe=first)
    assert (asked.layers, asked.on_gpu) == (found.layers, found.on_gpu)
    assert found.changes["cache"] == {"capacity": "fill", "static": {"layers": "last fill"}}
    with pytest.raises(ConfigError, match=f"at least {first} are needed"):
        placed(place, "layers", n_cpu_moe=first - 1)


@pytest.mark.parametrize(
    ("given", "able"),
    [
        ({}, ("layers",)),
        ({"runtime": "ktransformers"}, ("each",)),
        ({"gpu": "RTX 5070 5GB", "runtime": "imp"}, ("lru",)),
        ({"gpu": "RTX 3060 4GB", "runtime": "ideal"}, ("layers", "each", "lru+cpu", "lru")),
        ({"gpu": "RTX 4090"}, ("whole",)),
        ({"gpu": "M5 Pro", "ram": "6GB"}, ("lru",)),
        ({"gpu": "M5 Pro", "ram": "6GB", "runtime": "llama.cpp"}, ("paged",)),
        ({"gpu": "Jetson Orin Nano 8GB", "ram": None, "model": "deepseek-v3"}, ()),
    ],
)
def test_an_engine_is_asked_for_what_it_can_do(
    given: dict[str, str], able: tuple[str, ...]
) -> None:
    assert ways(settled(**given).place) == able


def test_a_split_is_answered_with_its_flags_and_a_band() -> None:
    found = answered()
    assert found.fits == "split"
    assert found.speed is not None
    assert found.split is not None
    speed, split = found.speed, found.split
    assert 0 < speed.low < speed.tokens_s < speed.high
    assert (speed.high - speed.low) / 2 / speed.tokens_s == pytest.approx(speed.half_width)
    assert speed.from_field < speed.half_width <= band.MOST
    assert speed.tokens_s_at_context < speed.tokens_s
    assert split.flags == f"-ngl 99 --n-cpu-moe {16 - split.layers} -c 8192"
    assert found.limits is not None
    assert next(iter(found.limits)) in ("cpu", "gpu")
    gains = {one.what: one.gain for one in found.more}
    assert gains["memory_gib+1"] > 0
    assert gains["cpu*2"] > gains["link*2"] >= 0
    assert {one.what for one in found.engines} == {"ktransformers"}
    assert (found.prefetches, found.prefetches_here) == ("imp", False)


def test_the_answer_is_ten_lines_or_so_in_words() -> None:
    said = dict(words.lines(answered()))
    assert all(line in words.text(answered()) for line in said.values())
    assert 8 <= len(said) <= 12
    assert "in part" in said["fits"]
    assert "tokens/s" in said["speed"]
    assert "cpu ddr4-dual" in said["assumed"]
    assert "ram" not in said["assumed"]


def test_json_has_every_key_and_the_config_gives_the_same_speed(tmp_path: Path) -> None:
    config = tmp_path / "best.yaml"
    ended = run_cli("advise", *ASKED, "--json", "--config", config)
    assert ended.code == 0
    assert ended.err.endswith(f"wrote {config}\n")  # after lines of progress, on a slow machine
    found = json.loads(ended.out)
    assert set(found) == set(Advice.__dataclass_fields__)
    assert found["taken"][0]["what"] == "gpu"
    again = json.loads(run_cli("run", config, "--json").out)
    assert again["tpot_ms"]["mean"] == pytest.approx(found["speed"]["ms"], abs=1e-6)


def test_a_config_says_what_another_memory_does_not_change(tmp_path: Path) -> None:
    config = tmp_path / "drive.yaml"
    drive = ("--gpu", "RTX 3060 3GB", "--ram", "3GB", "--drive", "0.5")
    assert run_cli("advise", *ASKED, *drive, "--config", config).code == 0
    says = "changes none: cache.capacity, host.capacity, trace.hit_rate"
    assert says in config.read_text(encoding="utf-8")
    again = run_cli("advise", *ASKED, "--config", config)
    assert (again.code, again.out) == (2, "")
    assert "exists already; --force writes over it" in again.err
    assert run_cli("advise", *ASKED, "--config", config, "--force").code == 0
    assert "changes none" not in config.read_text(encoding="utf-8")


def test_a_model_that_fits_whole_has_nothing_to_split() -> None:
    found = answered(gpu="RTX 4090")
    assert found.split is not None
    assert (found.fits, found.split.way, found.split.hit_rate) == ("whole", "whole", 1.0)
    assert found.split.flags == "-ngl 99 -c 8192"
    assert (found.more, found.engines, found.prefetch) == ((), (), ())
    assert found.limits is not None
    assert found.limits["gpu"] > 0.5
    assert found.limits["drive"] == found.limits["cpu"] == 0


def test_what_fits_nowhere_is_said_with_what_would() -> None:
    found = answered(gpu="RTX 3060 2GB", context=1 << 17)
    assert (found.fits, found.speed, found.config) == ("nowhere", None, None)
    assert found.longest_context is not None
    settled(gpu="RTX 3060 2GB", context=found.longest_context)
    assert ways(settled(gpu="RTX 3060 2GB", context=found.longest_context).place)
    assert not ways(settled(gpu="RTX 3060 2GB", context=found.longest_context + 256).place)
    assert dict(words.lines(found)).keys() == {"fits", "assumed"}
    asked = ("--gpu", "jetson-orin-nano-8gb", "--model", "deepseek-v3")
    ended = run_cli("advise", *asked)
    assert ended.code == 0
    assert "nowhere" in ended.out


def test_what_host_memory_lacks_comes_off_the_drive() -> None:
    found = answered(gpu="RTX 3060 3GB", ram="3GB", drive="0.5 GB/s")
    assert found.fits == "drive"
    assert found.memory.on_drive > 0
    assert found.limits is not None
    assert found.limits["drive"] > 0.1
    tried = {one.what: one for one in found.more}
    assert {"drive*2", "host_gib=8"} <= tried.keys()
    assert tried["host_gib=8"].gain > tried["drive*2"].gain > 0


def test_how_often_host_memory_has_an_expert_is_assumed_and_said() -> None:
    found = answered(gpu="RTX 3060 3GB", ram="3GB", drive="0.5 GB/s")
    assert found.config is not None
    rate = words.percent(found.config["trace"]["hit_rate"])
    assert f"found in host memory {rate} (of routed experts" in dict(words.lines(found))["assumed"]
    assert "found in host memory" not in dict(words.lines(answered()))["assumed"]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"runtime": "imp", "gpu": "RTX 5070 3GB"},
        {"gpu": "RTX 3060 3GB", "ram": "3GB"},
        {"gpu": "M4", "ram": "6GB"},
    ],
)
def test_each_time_is_in_one_limit_and_twice_a_rate_gains_no_more_than_that(given: Any) -> None:
    found = answered(**given)
    assert found.limits is not None
    assert 0.9 < sum(found.limits.values()) < 1.1
    rates = [one for one in found.more if one.what.endswith("*2")]
    assert rates
    for one in rates:
        share = found.limits[one.what.removesuffix("*2")]
        assert one.gain <= share / (2 - share) + 0.02, one.what


def test_a_share_of_a_rate_is_in_the_rates_limit() -> None:
    gpu = {"hardware.compute.memory_gb_s": 1.0, "hardware.compute.expert_efficiency": 0.8}
    cpu = {"hardware.cpu.expert_gb_s.bf16": 0.5, "hardware.contention.cpu": 0.4}
    found = limits({**gpu, **cpu})
    assert found["gpu"] == pytest.approx(1)
    assert found["cpu"] == pytest.approx(points.share(0.5))


def test_a_limit_that_gains_nothing_when_it_is_better_is_said_to() -> None:
    found = answered(gpu="RTX 3060 3GB", ram="3GB", drive="0.5 GB/s")
    even = {"cpu": 0.87, "drive": 0.13}
    more = tuple(replace(one, gain=0.02) for one in found.more if one.what == "drive*2")
    said = dict(words.lines(replace(found, limits=even, more=more)))["limits"]
    assert "slower, the drive costs that, but faster it gains less" in said
    more = tuple(replace(one, gain=0.09) for one in more)
    said = dict(words.lines(replace(found, limits=even, more=more)))["limits"]
    assert "slower" not in said


@pytest.mark.parametrize(("runtime", "way"), [("ktransformers", "each"), ("imp", "lru")])
def test_host_memory_may_be_smaller_than_what_both_memories_hold(runtime: str, way: Way) -> None:
    found = settled(gpu="RTX 3060 12GB", ram="12GB", model="qwen3-30b-a3b")
    found = found.with_runtime(runtime)
    placement, run = point(found, way)
    assert placement.on_drive == 0
    assert found.place.everything > 12 * GIB
    assert run.ms > 0


@pytest.mark.parametrize(
    "given",
    [
        {"gpu": "RTX 3060 3GB", "ram": "3GB", "drive": "0.5 GB/s"},
        {"gpu": "M5 Pro", "ram": "6GB", "runtime": "llama.cpp"},
    ],
)
def test_what_is_paged_is_at_best_and_meets_no_target(given: dict[str, str]) -> None:
    found = answered(**given, target="1tok/s")
    assert found.speed is not None
    assert found.target is not None
    assert (found.speed.at_best, found.speed.low, found.target.met) == (True, 0, "unknown")
    assert any(way.what.startswith(ALL_IN_MEMORY) for way in found.target.by)
    said = dict(words.lines(found))
    assert said["speed"].startswith("at best")
    assert "all experts in memory" in said["more"]
    assert "LRU" not in said["split"]
    unified = found.memory.unified  # behind a link what matters is from the drive to the host
    begin = "llama.cpp does not prefetch; were it to" if unified else "not judged: from the drive"
    assert said["prefetch"].startswith(begin)


def test_a_cache_of_an_engine_that_reads_the_drive_itself_has_a_whole_band() -> None:
    found = answered(gpu="M5 Pro", ram="16GB", model="gpt-oss-20b", quant=None)
    assert found.speed is not None
    assert (found.runtime, found.speed.at_best) == ("mlx-stream", False)
    assert found.speed.low > 0
    assert found.precision == "as published"  # no GGUF file, as it is no engine of those


def test_what_pages_is_offered_at_best_beside_what_streams_from_the_drive() -> None:
    found = answered(gpu="M5 Pro", ram="6GB")
    other = answered(gpu="M5 Pro", ram="6GB", runtime="llama.cpp")
    (paged,) = found.engines
    assert other.speed is not None
    assert (paged.what, paged.at_best) == ("llama.cpp", True)
    assert paged.tokens_s == pytest.approx(other.speed.tokens_s)
    assert dict(words.lines(found))["engines"].startswith("llama.cpp at best ")
    (streams,) = other.engines
    assert (streams.what, streams.at_best) == ("mlx-stream", False)


def test_a_split_asked_about_stands_beside_the_best() -> None:
    found = answered(n_cpu_moe=14)
    assert found.best is not None
    assert found.best.gain > 0.02
    assert found.best.what == answered().split.flags  # type: ignore[union-attr]
    assert answered().best is None
    assert dict(words.lines(found))["best"].startswith("-ngl 99 --n-cpu-moe")


def test_flags_say_what_the_kv_cache_is_kept_in() -> None:
    kept = " -fa on -ctk q8_0 -ctv q8_0"
    found = answered(quant="{name: Q4_K_M, kv: q8_0}", context=16384)
    assert found.split is not None
    assert found.split.flags is not None
    assert found.split.flags.endswith(f" -c 16384{kept}")
    assert found.safer is not None
    assert found.safer.what.endswith(kept)
    whole = answered(quant="{name: Q4_K_M, kv: q8_0}", gpu="RTX 4090").split
    assert whole is not None
    assert whole.flags == f"-ngl 99 -c 8192{kept}"


@pytest.mark.parametrize(
    ("quant", "says"),
    [
        ("fp8", "quant: llama.cpp has no fp8: say Q8_0"),
        ("int4@4.25", "quant: llama.cpp has no int4@4.25: say Q4_K_M"),
        ("{name: Q4_K_M, attention: int8}", "quant: llama.cpp has no int8: say Q8_0"),
        ("{name: Q4_K_M, kv: fp8}", "quant: llama.cpp has no KV cache in fp8: say kv: q8_0"),
        ("nvfp4", None),
        ("bf16", None),
    ],
)
def test_what_llama_cpp_cannot_load_is_refused(quant: str, says: str | None) -> None:
    if says is None:
        settled(quant=quant)
        return
    ended = run_cli("advise", *ASKED, "--quant", quant)
    assert (ended.code, ended.err) == (2, f"error: {says}\n")
    settled(quant=quant, runtime="mlx-stream", gpu="M4 Max")


def test_what_was_published_in_no_gguf_format_is_taken_in_one() -> None:
    given = {"model": "deepseek-v3", "quant": None, "gpu": "RTX 5090"}
    taken = {one.what: one for one in settled(**given).taken}["quant"]
    assert (taken.value, taken.how) == ("Q4_K_M", "assumed")
    assert taken.why == "as GGUF files have no fp8, which was published"


def test_a_tight_split_has_a_safer_one_beside_it() -> None:
    found = answered()
    assert found.split is not None
    assert found.safer is not None
    assert found.split.flags is not None
    tight, safer = (
        int(flags.split("--n-cpu-moe ")[1].split()[0])
        for flags in (found.split.flags, found.safer.what)
    )
    assert found.memory.left - found.memory.on_gpu < options.DISPLAY
    assert safer > tight
    assert -0.5 < found.safer.gain < 0
    place = settled().place
    layers = placed(place, "layers", n_cpu_moe=safer).on_gpu
    assert place.room - layers >= options.DISPLAY * GIB
    assert place.room - placed(place, "layers", n_cpu_moe=safer - 1).on_gpu < options.DISPLAY * GIB
    assert "if the flags do not load" in dict(words.lines(found))["safer"]
    assert answered(n_cpu_moe=14).safer is None


def test_more_layers_than_there_are_and_another_memory_are_said() -> None:
    said = {one.what: one.value for one in settled(n_cpu_moe=60).taken}
    assert said["n-cpu-moe"] == "16"
    assert "n-cpu-moe" not in {one.what for one in settled(n_cpu_moe=16).taken}
    assert "on rtx-3060-12gb (5 GiB of memory) with" in words.title(answered())


def test_nobody_is_said_to_prefetch_who_does_not() -> None:
    said = dict(words.lines(replace(answered(), prefetches_here=True)))["prefetch"]
    assert said.startswith("neither llama.cpp nor imp prefetches; were imp to")
    assert answered().may_prefetch is False


def test_no_engine_is_offered_where_it_does_not_run() -> None:
    """imp is built for desktop Blackwell alone; what it would make of prefetching is still said."""
    said = dict(words.lines(answered()))
    assert "imp" not in said["engines"]
    begin = "llama.cpp copies no experts, and imp does not run on this card; were an engine to copy"
    assert said["prefetch"].startswith(begin)
    assert settled(gpu="RTX 5070 5GB").runs("imp")
    ended = run_cli("advise", *ASKED, "--runtime", "imp")
    assert (ended.code, ended.out) == (2, "")
    assert "runtime: imp runs on blackwell, and rtx-3060-12gb is ampere" in ended.err


@pytest.mark.parametrize(
    ("chip", "engine", "runs"),
    [
        ("turing", "ktransformers", False),
        ("ampere", "ktransformers", True),
        ("apple", "mlx-stream", True),
        ("rdna", "moe-infinity", False),
        ("cpu", "big-moe-on-edge", True),
        ("arc", "llama.cpp", True),
        (None, "imp", None),
    ],
)
def test_engines_run_on_what_they_are_built_for(
    chip: Chip | None, engine: str, runs: bool | None
) -> None:
    assert load_runtime(engine).known_to_run_on(chip) is runs


def test_prefetching_is_judged_as_by_many_requests() -> None:
    """In one short request little that a wrong load evicts is used again."""
    found = settled().with_runtime("imp")
    placement, base = point(found, "lru")
    _, gains = options.prefetch(found, placement, base, lambda what: None)
    many = set_path(base.tree, "trace.requests", 8)
    predictor = {"name": "oracle", "recall": 0.6, "distance": 1}

    def gain(tree: Tree) -> float:
        return points.run(tree).ms / points.run({**tree, "predictor": predictor}).ms - 1

    assert gain(base.tree) - gain(many) > 0.05
    assert gains[0].gain == pytest.approx(gain(many), abs=0.02)


def test_a_config_says_how_prefetching_was_judged(tmp_path: Path) -> None:
    config = tmp_path / "imp.yaml"
    asked = ("advise", "--gpu", "RTX 5070 4GB", *ASKED[2:], "--runtime", "imp", "--json")
    found = json.loads(run_cli(*asked, "--config", config).out)
    said = re.findall(r"--set (trace\.\w+)=(\d+)", config.read_text(encoding="utf-8"))
    sets: dict[str, Any] = {key: int(value) for key, value in said[-2:]}
    assert set(sets) == {"trace.prompt", "trace.decode"}
    assert found["prefetch_sets"] == sets
    tree = found["config"]
    for key, value in sets.items():
        tree = set_path(tree, key, value)
    foreseen = {**tree, "predictor": {"name": "oracle", "recall": 0.6, "distance": 1}}
    gain = points.run(tree).ms / points.run(foreseen).ms - 1
    assert gain == pytest.approx(found["prefetch"][0]["gain"], abs=0.02)
    (predictor,) = re.findall(r"--set 'predictor=(.*)'", config.read_text(encoding="utf-8"))
    (last,) = re.findall(r"latency_ms\[-(\d+):\]", config.read_text(encoding="utf-8"))
    runs = [sets, sets | {"predictor": yaml.safe_load(predictor)}]
    without, foresees = (
        api_run(config, one).tokens.latency_ms[-int(last) :].mean() for one in runs
    )
    assert without / foresees - 1 == pytest.approx(found["prefetch"][0]["gain"], abs=1e-9)


def test_prefetching_from_the_drive_to_host_memory_is_not_judged() -> None:
    """What is foreseen would go on to a cache that has but the split's own layers."""
    found = answered(gpu="RTX 3060 3GB", ram="3GB", drive="0.5 GB/s")
    assert found.fits == "drive"
    assert found.prefetch_sets is None
    assert found.prefetch == ()
    assert "not judged" in dict(words.lines(found))["prefetch"]
    copies = answered(gpu="RTX 5070 3GB", ram="3GB", drive="0.5 GB/s", runtime="imp")
    assert copies.fits == "drive"
    assert copies.prefetch


def test_prefetching_is_judged_in_a_short_context() -> None:
    """The prompt that fills the cache, and what is decoded after it, are within the context."""
    found = settled(context=128).with_runtime("imp")
    assert options.prefetch(found, *point(found, "lru"), lambda what: None)[1]


def test_a_macs_memory_is_said_as_it_is_sold_and_with_the_engine_that_is_then_usual() -> None:
    mac = {"gpu": "M4 Max", "model": "gpt-oss-120b", "quant": None}
    found = settled(**mac, ram="64GB")
    assert found.place.runtime.name == "mlx-stream"
    ((what, larger),) = options._all_in_memory(found, point(found, "lru")[0])
    assert what == "all_gb=96 llama.cpp"
    bought = settled(**mac, ram="96GB")
    assert ways(bought.place) == ("whole",)
    assert larger.place.room == pytest.approx(bought.place.room)
    assert larger.place.runtime == bought.place.runtime
    asked = settled(**mac, ram="64GB", runtime="mlx-stream")
    assert asked.with_memory(40).chosen_anew().place.runtime.name == "mlx-stream"


def test_no_engine_is_usual_that_cannot_load_what_was_asked_for() -> None:
    """Neither in a larger machine that is offered, nor in that machine."""
    mac = {"gpu": "M4", "model": "qwen3-30b-a3b", "quant": "int4"}
    found = settled(**mac, ram="16GB")
    ((what, larger),) = options._all_in_memory(found, point(found, "lru")[0])
    assert what == "all_gb=32"
    bought = settled(**mac, ram="32GB")
    assert ways(bought.place) == ("whole",)
    assert bought.place.runtime.name == larger.place.runtime.name == "mlx-stream"
    assert {one.why for one in bought.taken if one.what == "runtime"} == {
        "as llama.cpp has no int4"
    }
    with pytest.raises(ConfigError, match=r"llama\.cpp has no int4: say Q4_K_M"):
        settled(**mac, ram="32GB", runtime="llama.cpp")


def test_what_holds_everything_is_offered_once() -> None:
    tried = [Reaches("all_gb=96 llama.cpp", 78.0)]
    found = judged(30.0, (17.0, 23.0, 29.0), tried, 15.1, lambda gib: 78.0 if gib >= 12 else 24.0)
    assert [way.what for way in found.by] == ["all_gb=96 llama.cpp"]


def test_a_mac_of_ones_own_keeps_as_much_for_its_system_as_one_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = "--gpu-memory-gib", 64, "--gpu-gb-s", 340, "--drive-gb-s", 5
    new = run_cli("hardware", "new", "m1max", *sizes, "--unified")
    assert "its chip: apple, as its name tells" in new.out
    found = settled(gpu="m1max", ram=None, model="gpt-oss-120b", quant=None)
    assert found.machine.profile.compute.memory_gib.value == 48
    assert found.place.runtime.name == "mlx-stream"


def test_more_memory_is_what_the_next_layer_needs() -> None:
    """A layer of DeepSeek-V3's experts is larger than a GiB."""
    found = settled(gpu="RTX 5090", ram="768GB", model="deepseek-v3")
    place = placed(found.place, "layers")
    gib = options.step(found, place)
    assert gib > 1
    assert placed(found.with_memory(gib).place, "layers").layers == place.layers + 1
    assert placed(found.with_memory(gib - 0.2).place, "layers").layers == place.layers


def test_a_described_machine_is_found_by_its_name_and_is_not_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run_cli("advise", *ASKED, "--gpu", "RTX A4000 16GB")
    assert "did you mean" not in refused.err
    new = refused.err.partition("prefetch-sim ")[2].partition(", then")[0]
    assert "--gpu-memory-gib 16 " in new
    assert run_cli(*shlex.split(new)).code == 2  # nobody's figures
    own = new.replace("GIB", "64").replace("GBS", "25")
    assert run_cli(*shlex.split(own)).code == 0
    machine = settled(gpu="my-box").machine
    assert machine.profile.name == "my-box"
    assert machine.profile.compute.memory_gib.value == 16
    assert {one.what for one in machine.taken if one.how != "said"} == {"cpu"}
    assert not any("usual" in one.why or one.value == "none" for one in machine.taken)


def test_piped_lines_are_folded_and_end_in_no_blank() -> None:
    out = run_cli("advise", *ASKED).out.splitlines()
    assert max(map(len, out)) <= 160
    assert all(line == line.rstrip() for line in out)
    assert "cpu.expert_gb_s" not in " ".join(out)


def test_one_memory_has_a_cache_and_no_link() -> None:
    found = answered(gpu="M5 Pro", ram="6GB")
    assert found.split is not None
    assert (found.runtime, found.split.way) == ("mlx-stream", "lru")
    assert found.prefetches == "mlx-stream"
    assert found.limits is not None
    assert found.limits["link"] == 0
    with pytest.raises(ProfileError, match="link: m5-pro has one memory"):
        settled(gpu="M5 Pro", link="25")


def test_a_target_is_judged_by_the_band_and_what_would_reach_it() -> None:
    tried = [Reaches("imp", 25.0)]
    steps: list[float] = []

    def larger(gib: float) -> float:
        steps.append(gib)
        return 10 + 5 * gib

    assert judged(8, (9, 12, 15), tried, 4, larger).met == "yes"
    assert judged(10, (9, 12, 15), tried, 4, larger).met == "likely"
    assert not steps
    found = judged(14, (9, 12, 15), tried, 4.5, larger)
    assert found.met == "unlikely"
    assert [(way.what, way.tokens_s) for way in found.by] == [("imp", 25.0), ("memory_gib+1", 15)]
    (fewest,) = judged(24, (9, 12, 15), (), 20.5, lambda gib: 10 + gib).by
    assert fewest.what == "memory_gib+14"
    assert judged(99, (9, 12, 15), tried, 4, larger).by == ()
    again = judged(14, (9, 12, 15), [Reaches("memory_gib+1", 15.0)], 4.5, larger)
    assert [way.what for way in again.by] == ["memory_gib+1"]
    assert answered(target="1tok/s").target is not None


def test_a_target_that_is_missed_even_at_best_is_not_met() -> None:
    """And what would reach it at best is said as that, where what there is does not."""
    tried = [Reaches("cpu*2", 22.5, at_best=True), Reaches("host_gib=64", 30.0)]
    answers = [judged(one, (0, 15, 20), tried, 0, float, at_best=True) for one in (14, 18, 22, 25)]
    assert [one.met for one in answers] == ["unknown", "unlikely", "no", "no"]
    assert [len(one.by) for one in answers] == [1, 2, 2, 1]
    paged = {"gpu": "RTX 3060 3GB", "ram": "3GB", "drive": "0.5 GB/s"}
    found = answered(**paged)
    assert found.speed is not None
    doubled = next(one for one in found.more if one.what == "drive*2")
    assert doubled.at_best
    assert doubled.gain > found.speed.half_width
    wanted = replace(judged(doubled.tokens_s, (0, 1, 2), (), 0, float, at_best=True), by=())
    said = dict(words.lines(replace(found, target=wanted)))["target"]
    even = f"not met, even at best ({number(found.speed.tokens_s)})"
    assert said.partition(": ")[2] == f"{even}; nothing that was tried reaches it"
    target = answered(**paged, target=f"{doubled.tokens_s}tok/s").target
    said = dict(words.lines(replace(found, target=target)))["target"]
    assert (
        f"a drive twice as fast ({number(doubled.tokens_s)} tokens/s)" in said.split("at best: ")[1]
    )


def test_no_more_memory_is_advised_than_the_largest_card_of_the_list_has() -> None:
    cards = [load_profile(name) for name in list_profiles()]
    most = max(one.compute.memory_gib.value for one in cards if not one.unified_memory)
    assert most == LARGEST_CARD
    asked = {"gpu": "A100 40GB", "ram": "512GB", "model": "deepseek-v3", "target": "20tok/s"}
    target = answered(**asked).target
    assert target is not None
    assert not [way for way in target.by if way.what.startswith("memory_gib+")]


def test_a_band_is_of_the_figures_and_of_the_field_check() -> None:
    found = settled()
    place = placed(found.place, "layers")
    point = points.run({**found.tree(whole=False), **place.changes})
    figure = "hardware.cpu.expert_gb_s.bf16"
    doubt = band.band(point, {figure: 0.5})
    stated = found.machine.profile.flat()["cpu.expert_gb_s.bf16"].uncertainty
    assert doubt.figures == pytest.approx((1 + stated) ** 0.5 - 1)
    assert doubt.half == pytest.approx((doubt.figures**2 + doubt.field**2) ** 0.5)
    assert band.band(point, {figure: 9.0}).half == band.MOST


def test_a_band_that_is_cut_says_what_it_would_be() -> None:
    cut, whole = answered(), answered(cpu="ddr4-dual")
    assert cut.speed is not None
    assert cut.speed.cut
    assert cut.speed.half_width == band.MOST < cut.speed.uncut
    assert cut.speed.uncut_low < cut.speed.low < cut.speed.high < cut.speed.uncut_high
    said = dict(words.lines(cut))["trust"]
    assert f"{number(cut.speed.uncut_low)} to {number(cut.speed.uncut_high)} tokens/s" in said
    assert whole.speed is not None
    assert not whole.speed.cut
    assert "the most that is shown" not in dict(words.lines(whole))["trust"]
    open_below = replace(cut, speed=replace(cut.speed, at_best=True))
    assert (
        f"(up to {number(cut.speed.uncut_high)} tokens/s)" in dict(words.lines(open_below))["trust"]
    )


def test_a_cpu_that_nobody_named_makes_the_band_wider() -> None:
    rate = {name: load_part(name) for name in ("ddr4-dual", "ddr5-dual")}
    assert rate["ddr5-dual"] / rate["ddr4-dual"] == pytest.approx(1 + band._ANOTHER_CPU)
    assumed, said = answered().speed, answered(cpu="ddr4-dual").speed
    assert assumed is not None
    assert said is not None
    assert assumed.tokens_s == said.tokens_s
    assert assumed.from_figures > said.from_figures


def test_the_cpu_of_a_described_machine_is_assumed_where_nobody_said_it(tmp_path: Path) -> None:
    five = {
        "compute.memory_gib": 5, "compute.memory_gb_s": 315, "host_link.gb_s": 25,
        "host.memory_gib": 32, "storage.gb_s": 6,
    }  # fmt: skip
    answers = []
    for more in ({}, {"cpu.expert_gb_s.bf16": 32 / 0.75}):
        made = draft("box", five | more, unified=False, like=None)
        path = tmp_path / f"box{len(answers)}.yaml"
        path.write_text(as_yaml(made.profile), encoding="utf-8")
        answers.append(answered(gpu=str(path)))
    assumed, said = (dict(words.lines(one)).get("assumed", "") for one in answers)
    assert "cpu of 32 GB/s of experts (taken from ddr4-dual, as no CPU was given)" in assumed
    assert "cpu of" not in said
    doubts = [one.speed.from_figures for one in answers if one.speed is not None]
    assert doubts[0] > doubts[1]


def load_part(name: str) -> float:
    return settled(cpu=name).machine.profile.flat()["cpu.expert_gb_s.bf16"].value


def test_what_a_row_published_may_be_left_out_of_its_band() -> None:
    rows = [row.id for row in check.rows(read_study())]
    assert 0.1 < band.field_deviation() < band.MOST
    worst = ("freetoken-hybrid", "freetoken-rome-8", "rtx2080-gptoss")
    assert set(worst) <= set(rows)
    assert band.field_deviation(worst) < band.field_deviation()


def test_a_model_that_fits_whole_has_the_band_and_the_words_of_such_rows() -> None:
    """They are slower than simulated, by more than the ±25 % that its figures would give."""
    found = advise(Question.of(model="qwen3-30b-a3b", quant="Q4_K_M", gpu="RTX 3090"))
    rows = band.whole_deviations()
    assert rows.runs == sum(row.id.startswith(band.WHOLE) for row in check.rows(STUDY))
    assert found.trust is not None
    assert found.trust.whole == rows
    assert found.speed is not None
    assert found.speed.half_width >= found.speed.from_field == band.field_deviation(whole=True)
    assert found.speed.from_field > band.field_deviation()
    shown = " ".join(words.text(found).split())
    assert f"{rows.runs} runs with all experts on the GPU: 4 % too slow to 55 % too fast" in shown
    assert all("--n-cpu-moe" not in one.what for one in found.trust.measured)
    split = answered().trust
    assert split is not None
    assert split.whole is None


def test_a_machine_without_a_gpu_is_judged_by_no_gpus_rows_and_has_no_gpus_limits() -> None:
    found = answered(gpu="raspberry-pi-5", ram=None)
    assert (found.fits, found.chip) == ("whole", "cpu")
    assert found.limits is not None
    assert found.limits["cpu"] > 0.9 > found.limits["gpu"] == 0
    assert found.speed is not None
    assert found.speed.from_field == band.field_deviation(whole=False)
    assert found.trust is not None
    assert found.trust.whole is None
    assert "GPU" not in words.text(found)
    kinds = {True: "phone", False: "whole"}
    for on_cpu, begin in kinds.items():
        shown = near.rows(
            "llama.cpp", "qwen3-30b-a3b", "oneplus-15r", whole=not on_cpu, on_cpu=on_cpu
        )
        assert shown
        assert all(one.row.startswith(begin) for one in shown)


def test_the_field_check_page_says_what_rows_of_whole_models_say() -> None:
    said = " ".join((ROOT / "docs/field-check.md").read_text(encoding="utf-8").split())
    assert f"are {round(100 * band.whole_deviations().median)} % too fast in the median" in said


# The check.

STUDY = read_study()


def committed() -> pd.DataFrame:
    return pd.read_csv(CHECKED)


def test_every_row_that_nothing_was_fitted_to_is_asked_or_left_out_for_a_reason() -> None:
    asked, left = check.questions(), check.left_out()
    assert not asked.keys() & left.keys()
    assert asked.keys() | left.keys() == {row.id for row in check.rows(STUDY)}
    assert all(len(reason) > 10 for reason in left.values())


def test_a_question_holds_no_result() -> None:
    allowed = set(Question.model_fields) - {"target"}
    for name, given in check.questions().items():
        assert given.keys() <= allowed, name
        Question.of(**given)


def test_a_cpu_that_its_source_does_not_state_is_not_said() -> None:
    silent, stated = set(), ""
    for row in STUDY.rows:
        stated = stated if row.assumes == "as above" else row.assumes
        if "not stated" in stated:
            silent.add(row.id)
    asked = {name: given for name, given in check.questions().items() if name in silent}
    assert len(asked) == 4
    assert not any("cpu" in given for given in asked.values())
    what = committed().set_index("row")["what"]
    assert all("(assumed)" in what[name] for name in asked)


def test_every_question_is_answered_with_a_band_no_wider_than_promised() -> None:
    found = committed()
    assert list(found["row"]) == list(check.questions())
    whole = found["row"].str.startswith(band.WHOLE)
    assert found["half_width"][~whole].max() <= band.MOST
    assert found["half_width"][whole].max() <= band.field_deviation(whole=True) + 1e-4
    assert (found["inside"] == found["measured"].between(found["low"], found["high"])).all()


def test_rows_are_counted_apart_whose_source_gave_or_was_fitted_to_a_figure() -> None:
    found = committed()
    by_name = {row.id: row for row in STUDY.rows}
    for fit in STUDY.fits:
        kind, rest = fit.figure.split(".", 1)
        if kind in ("hardware", "runtime"):
            used = found["machine" if kind == "hardware" else "runtime"].map(
                lambda name, rest=rest: rest.startswith(f"{name}.")
            )
            same = found["source"].isin([by_name[name].source for name in fit.rows])
            assert found["own_figures"][used & same].all(), fit.figure


def test_a_long_prompt_is_judged_by_the_speed_with_the_context_full() -> None:
    found = committed().set_index("row")["expected"]
    ends = [found[f"epyc9355-qwen3-{n}"] for n in (969, 1930, 3846, 7678)]
    assert ends == sorted(ends, reverse=True)
    assert set(check.context_full()) <= set(check.questions())


@pytest.mark.parametrize("name", ["ryzen9900x-gptoss", "phone-stream"])
def test_some_rows_come_out_again(name: str) -> None:
    row = committed().set_index("row").loc[name]
    again = check.checked(STUDY, name)
    for key in ("measured", "expected", "low", "high"):
        assert again[key] == pytest.approx(row[key], rel=1e-3), key


def test_the_page_shows_the_committed_results() -> None:
    text = (ROOT / "docs/advise-check.md").read_text(encoding="utf-8")
    assert fill(text, check.tables(committed())) == text


def test_every_command_of_the_page_runs_and_says_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/advise.md").read_text(encoding="utf-8")
    shown = text.partition("```text\n")[2].partition("```")[0]
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.S)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) >= 4
    said = []
    for line in commands:
        ended = run_cli(*shlex.split(line)[1:])
        assert ended.code == 0, f"{line}: {ended.err}"
        said.append(ended.out)
    assert [" ".join(line.split()) for line in shown.splitlines()] == [
        " ".join(line.split()) for line in said[0].splitlines()
    ]


def test_little_host_memory_is_no_matter_where_all_is_on_the_gpu() -> None:
    """Experts that fit the card whole, with more bytes than host memory has."""
    found = advise(Question.of(model="gpt-oss-20b", gpu="rtx-4090", ram="8GB"))
    assert found.fits == "whole"
    assert found.speed is not None
