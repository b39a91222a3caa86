"""Machines put together from parts: in a config, in a file, as an axis, on the command line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_support import ROOT, Ended, run_cli, small_trace, write_config

from prefetch_sim.experiments.sweeps.points import plan
from prefetch_sim.hardware_profiles import (
    PARTS,
    CpuPart,
    HardwareProfile,
    ProfileError,
    list_parts,
    list_profiles,
    load_machine,
    load_part,
    load_profile,
)
from prefetch_sim.hardware_profiles.drafts import GIVEN, draft, vendor
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import parse, read_yaml, set_path
from prefetch_sim.sim.run import run
from prefetch_sim.sim.setup.inputs import load

CPUS = [
    "ddr4-dual",
    "ddr4-hexa",
    "ddr4-octa",
    "ddr5-dual",
    "ddr5-dual-laptop",
    "ddr5-octa",
    "epyc-7763",
    "epyc-9175f",
    "epyc-9355",
    "epyc-rome-64c",
    "i9-10900x",
    "ryzen-5950x",
    "ryzen-9800x3d",
    "ryzen-9900x",
    "threadripper-pro-5955wx",
    "xeon-6454s",
]
DRIVES = [
    "apple-ssd",
    "apple-ssd-m5",
    "nvme-gen3",
    "nvme-gen3-x1",
    "nvme-server",
    "samsung-9100-pro",
    "samsung-980-pro",
    "samsung-990-evo-plus",
    "ufs-4",
    "ufs-4-oneplus-15r",
]
SMALL: dict[str, Any] = {
    "trace": {"synthetic": "olmoe-1b-7b", "requests": 1, "prompt": 2, "decode": 3}
}


def machine(hardware: Any) -> HardwareProfile:
    return load(parse(SMALL | {"hardware": hardware}, "my.yaml")).profile


def test_catalogue() -> None:
    assert list(list_parts("cpu")) == CPUS
    assert list(list_parts("storage")) == DRIVES
    names = [*list_profiles(), *CPUS, *DRIVES]
    assert len(set(names)) == len(names)  # `hardware show` finds each


@pytest.mark.parametrize(
    ("section", "name"), [("cpu", n) for n in CPUS] + [("storage", n) for n in DRIVES]
)
def test_part_holds(section: str, name: str) -> None:
    part = load_part(section, name)
    assert part.name == name
    for path, figure in part.flat().items():
        assert len(figure.source) > 10, path
        assert figure.uncertainty > 0, path
    if isinstance(part, CpuPart):
        assert 4 < part.cpu.start_us.value < 30
    else:
        assert part.storage.stream_gb_s.value <= part.storage.gb_s.value


@pytest.mark.parametrize("name", list_profiles())
def test_every_machine_with_a_host_has_a_cpu(name: str) -> None:
    profile = load_profile(name)
    assert (profile.cpu is None) is profile.unified_memory
    if profile.cpu is not None:
        assert profile.cpu.name in CPUS


@pytest.mark.parametrize(
    ("name", "reads"), [("threadripper-pro-5955wx", 84.5), ("epyc-rome-64c", 146.1)]
)
def test_experts_reach_what_was_measured_of_a_plain_read(name: str, reads: float) -> None:
    part = load_part("cpu", name)
    assert isinstance(part, CpuPart)
    assert part.cpu.expert_gb_s.bf16.value / reads == pytest.approx(0.755, abs=0.001)


def test_together_they_reach_what_was_measured() -> None:
    rome, link = load_part("cpu", "epyc-rome-64c"), 26.1
    assert isinstance(rome, CpuPart)
    assert rome.contention is not None
    both = rome.cpu.expert_gb_s.bf16.value * rome.contention.cpu.value
    assert both + link * rome.contention.host_link.value == pytest.approx(119.5, rel=0.01)


def test_parts_replace_sections_and_figures_stand_on_top() -> None:
    base = load_profile("rtx-3090")
    found = machine(
        {
            "name": "rtx-3090",
            "cpu": "threadripper-pro-5955wx",
            "storage": {"name": "nvme-gen3", "gb_s": 2.5},
            "host": {"memory_gib": 128},
        }
    )
    assert (found.compute, found.host_link) == (base.compute, base.host_link)
    assert found.cpu is not None
    assert found.cpu.name == "threadripper-pro-5955wx"
    assert found.cpu.expert_gb_s.bf16.value == 63.8
    assert found.contention is not None
    assert found.contention.cpu.value == 0.846  # it comes with the CPU
    assert (found.storage.name, found.storage.gb_s.value) == ("nvme-gen3", 2.5)
    assert found.storage.stream_gb_s.value == 1.4
    assert found.host is not None
    assert found.host.memory_gib.value == 128


def test_a_cpu_without_contention_leaves_none_of_the_one_before() -> None:
    assert machine({"name": "rtx-3090"}).contention is not None
    assert machine({"name": "rtx-3090", "cpu": "epyc-9355"}).contention is None


def test_figures_alone_are_of_the_machines_own() -> None:
    found = machine({"name": "rtx-3090", "cpu": {"expert_gb_s": {"bf16": 60}}})
    assert found.cpu is not None
    assert (found.cpu.name, found.cpu.expert_gb_s.bf16.value) == ("ddr4-dual", 60)
    dotted = load_machine("rtx-3090", {"cpu.expert_gb_s.bf16": 60})
    assert dotted == found


def test_gpu_is_the_machine_said_with_the_parts_word() -> None:
    parts = {"cpu": "ryzen-5950x", "storage": "samsung-980-pro"}
    assert machine({"gpu": "rtx-3060-12gb", **parts}) == machine({"name": "rtx-3060-12gb", **parts})
    for base in ({}, {"hardware": "l4"}, {"hardware": {"gpu": "l4"}}, {"hardware": {"name": "l4"}}):
        for path in ("hardware.gpu", "hardware.name"):
            set_to = parse(SMALL | set_path(base, path, "t4"), "my.yaml")
            assert set_to.hardware.name == "t4"


@pytest.mark.parametrize("none", ["none", None, {"name": "none"}])
def test_a_cpu_can_be_taken_out(none: Any) -> None:
    found = machine({"name": "rtx-3090", "cpu": none})
    assert found.cpu is found.contention is None
    assert machine({"name": "m4-max", "cpu": none}).cpu is None  # it has none, as was asked


def test_contention_is_given_or_taken_out() -> None:
    assert machine({"contention": "none"}).contention is None
    found = machine({"name": "a10", "contention": {"cpu": 0.8, "host_link": 0.9}}).contention
    assert found is not None
    assert found.cpu.value == 0.8


@pytest.mark.parametrize(
    ("hardware", "message"),
    [
        ({"name": "l4", "gpu": "t4"}, "hardware: give name or gpu, not both"),
        ({"gpu": "rtx-309"}, "unknown hardware 'rtx-309'; did you mean 'rtx-3090'?"),
        ({"cpu": "ryzen-5950"}, "cpu: unknown cpu 'ryzen-5950'; did you mean 'ryzen-5950x'?"),
        ({"storage": "980-pro"}, "unknown drive '980-pro'; did you mean 'samsung-980-pro'?"),
        ({"storage": "none"}, "storage: unknown drive 'none'; known: "),
        ({"cpu": "nowhere.yaml"}, "cpu: nowhere.yaml: no such file"),
        ({"cpu": {"thread": 3}}, "has no 'cpu.thread'; did you mean 'cpu.threads'?"),
        ({"cpu": 5}, "cpu: 5 is no name, and no mapping of figures"),
        ({"contention": "x"}, "contention: 'x' is no name"),
        ({"cpu": {"name": "none", "threads": 3}}, "cpu: is none, so it has no 'threads'"),
        ({"cpu": {"name": "ddr4-dual", "threads": 1.5}}, "cpu.threads: value must be a whole"),
        ({"name": "m4-max", "cpu": "ddr4-dual"}, "'m4-max': cpu: it has one memory, so no cpu"),
        ({"name": "m4-max", "cpu": {"threads": 3}}, "it has one memory, so no cpu"),
        ({"name": "a10", "contention": {"cpu": 0.5}}, "missing: contention.host_link"),
    ],
)
def test_bad_parts_are_one_line(hardware: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        machine(hardware)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def _file(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_a_part_of_ones_own_is_a_file(tmp_path: Path) -> None:
    content = load_part("cpu", "epyc-9355").model_dump() | {"name": "mine"}
    path = _file(tmp_path / "mine.yaml", content)
    found = machine({"name": "rtx-3090", "cpu": str(path)})
    assert found.cpu is not None
    assert (found.cpu.name, found.cpu.threads.value) == ("mine", 32)
    assert "mine: AMD EPYC 9355" in run_cli("hardware", "show", path).out


def test_a_machines_file_names_parts(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    part = load_part("storage", "nvme-gen3").model_dump() | {"name": "mine"}
    _file(tmp_path / "parts/drive.yaml", part)
    content = load_profile("rtx-3090").model_dump() | {"name": "box", "contention": None}
    content |= {"cpu": "threadripper-pro-5955wx", "storage": "parts/drive.yaml"}
    found = load_profile(_file(tmp_path / "box.yaml", content))
    assert found.cpu is not None
    assert found.cpu.name == "threadripper-pro-5955wx"
    assert found.contention is None  # the file says so
    assert found.storage.name == "mine"  # looked for beside it
    part["storage"]["gb_s"]["value"] = 1.75
    _file(tmp_path / "parts/drive.yaml", part)
    assert load_profile(tmp_path / "box.yaml").storage.gb_s.value == 1.75
    for section, name, message in (
        ("cpu", "ddr4-dul", "cpu: unknown cpu 'ddr4-dul'; did you mean 'ddr4-dual'?"),
        ("storage", "parts/none.yaml", f"storage: {tmp_path}/parts/none.yaml: no such file"),
    ):
        path = _file(tmp_path / "bad.yaml", content | {section: name})
        with pytest.raises(ProfileError) as caught:
            load_profile(path)
        assert str(caught.value) == f"{path}: {message}"


def test_a_cpu_has_no_place_in_the_file_of_one_memory(tmp_path: Path) -> None:
    content = load_profile("m4-max").model_dump() | {"cpu": "ddr4-dual"}
    path = _file(tmp_path / "mac.yaml", content)
    with pytest.raises(ProfileError, match="unified_memory is true, so cpu must be left out"):
        load_profile(path)


def test_parts_are_axes(tmp_path: Path) -> None:
    small_trace(tmp_path / "t.parquet")
    cpus = ["ryzen-5950x", "none", {"name": "ddr5-dual", "threads": 12}]
    path = write_config(
        tmp_path / "sweep.yaml",
        trace=str(tmp_path / "t.parquet"),
        sweep={"hardware.cpu": cpus, "hardware.storage": ["nvme-gen3", "samsung-9100-pro"]},
    )
    points = plan(read_yaml(path), str(path))
    assert [point.axes["hardware.cpu"] for point in points[::2]] == [
        "ryzen-5950x",
        "none",
        "ddr5-dual threads=12",
    ]
    assert [point.axes["hardware.storage"] for point in points[:2]] == [
        "nvme-gen3",
        "samsung-9100-pro",
    ]
    assert {point.config.hardware.name for point in points} == {"a100-pcie-40gb"}
    tree = read_yaml(path) | {"sweep": [{"hardware.cpu": cpus[:2]}, {"hardware.gpu": ["l4", "t4"]}]}
    # Where a point does not say, its machine's own parts; either word is one axis.
    assert [list(point.axes.values()) for point in plan(tree, "my.yaml")] == [
        ["ryzen-5950x", "a100-pcie-40gb"],
        ["none", "a100-pcie-40gb"],
        ["ddr4-octa", "l4"],
        ["ddr4-hexa", "t4"],
    ]
    with pytest.raises(ConfigError, match=r"give hardware\.name or hardware\.gpu, not both"):
        plan(tree | {"sweep": {"hardware.gpu": ["l4"], "hardware.name": ["t4"]}}, "my.yaml")
    changed = set_path(set_path({}, "hardware", "l4"), "hardware.cpu", "ddr4-dual")
    threads = set_path(changed, "hardware.cpu.threads", 4)
    assert threads == {"hardware": {"name": "l4", "cpu": {"name": "ddr4-dual", "threads": 4}}}


def test_another_drive_makes_another_run() -> None:
    config = SMALL | {"host": {"capacity": "20%"}}
    slow, fast = (
        run(parse(config | {"hardware": {"storage": drive}}, "my.yaml"))
        for drive in ("nvme-gen3", "samsung-9100-pro")
    )
    assert slow["total_ms"] > 1.3 * fast["total_ms"]


def test_the_command_line_lists_and_shows_parts() -> None:
    listed = run_cli("list", "hardware").out
    tables = listed.split("\n\n")
    for table, heading, names in zip(
        tables, ("machine", "cpu", "storage"), (list_profiles(), CPUS, DRIVES)
    ):
        lines = table.strip().splitlines()
        assert lines[0].startswith(heading)
        assert [line.split()[0] for line in lines[1:]] == list(names)
    for section, names in (("cpu", CPUS), ("storage", DRIVES)):
        shown = run_cli("hardware", "show", names[-1]).out
        assert all(path in shown for path in load_part(section, names[-1]).flat())
    assert set(PARTS) == {"cpu", "storage"}
    shown = run_cli("hardware", "show", "rtx-3090").out
    assert "parts: cpu ddr4-dual, storage samsung-980-pro" in shown
    refused = run_cli("hardware", "show", "ryzen-9800")
    assert refused.code == 2
    assert "did you mean 'ryzen-9800x3d'?" in refused.err


FIVE = {
    "--gpu-memory-gib": "24",
    "--gpu-gb-s": "830",
    "--link-gb-s": "25.125",
    "--host-memory-gib": "64",
    "--drive-gb-s": "3",
}
FIVE_PATHS = (
    "compute.memory_gib",
    "compute.memory_gb_s",
    "host_link.gb_s",
    "host.memory_gib",
    "storage.gb_s",
)
ONE_MEMORY = {"--gpu-memory-gib": "96", "--gpu-gb-s": "400", "--drive-gb-s": "5"}


def new(name: str, flags: dict[str, str], *more: object) -> Ended:
    return run_cli(
        "hardware", "new", name, *(part for flag in flags.items() for part in flag), *more
    )


def test_five_numbers_make_a_machine(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    said = new("box", FIVE, "-o", path)
    assert (said.code, said.err) == (0, "")
    assert f"{path}: box, like rtx-3090, the nearest to these numbers" in said.out
    made, near = load_profile(path), load_profile("rtx-3090")
    figures = made.flat()
    assert figures.keys() == near.flat().keys()
    given = {path: figure for path, figure in figures.items() if figure.source == GIVEN}
    assert {path: figure.value for path, figure in given.items()} == {
        "compute.memory_gib": 24,
        "compute.memory_gb_s": 830,
        "host_link.gb_s": 25.125,
        "host.memory_gib": 64,
        "storage.gb_s": 3,
    }
    for name, figure in figures.items():
        assert figure.kind == "estimate"
        assert name in said.out
        if name not in given:
            cpu = name.startswith(("cpu.", "contention."))
            like = "ddr4-dual, as no CPU was given" if cpu else "rtx-3090, the nearest machine"
            assert figure.source.startswith(f"taken from {like}")
            assert figure.uncertainty >= 0.3
    # At half of the drive's rate one read by itself has half of its own.
    assert made.storage.stream_gb_s.value == near.storage.stream_gb_s.value / 2
    assert machine(str(path)).name == "box"
    assert run(parse(SMALL | {"hardware": str(path)}, "my.yaml"))["hardware"] == "box"


def test_numbers_that_may_be_given_too(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    more = {"--tflops": "340", "--cpu-gb-s": "100"}
    assert new("box", FIVE | more, "--like", "rtx-4090", "-o", path).code == 0
    made, like = load_profile(path), load_profile("rtx-4090")
    assert made.compute.tflops.bf16.value == 340
    assert made.compute.tflops.fp8 is not None
    assert like.compute.tflops.fp8 is not None
    assert made.compute.tflops.fp8.value == 2 * like.compute.tflops.fp8.value  # in proportion
    assert made.cpu is not None
    rate, part = made.cpu.expert_gb_s.bf16, load_part("cpu", "ddr4-dual").flat()
    assert (rate.value, rate.uncertainty) == (75, part["cpu.expert_gb_s.bf16"].uncertainty)
    assert "of what its memory reads" in rate.source  # not of a datasheet's rate, as the parts'
    assert made.compute.launch_us.source == "taken from rtx-4090, as was asked for"


def test_a_cpu_is_not_taken_from_the_nearest_gpu_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    server = FIVE | {"--gpu-gb-s": "235", "--link-gb-s": "24"}
    said = new("p40", server, "-o", path).out
    assert "p40, like l4" in said
    assert "its CPU: ddr4-dual, as none was said; --cpu-gb-s says what yours reads" in said
    rate, usual = (load_profile(path).cpu, load_part("cpu", "ddr4-dual").flat())
    assert rate is not None
    assert rate.expert_gb_s.bf16.value == usual["cpu.expert_gb_s.bf16"].value
    said = new("box", FIVE, "--like", "rtx-2080", "-o", path, "--force").out
    assert "its CPU: i9-10900x, which comes with rtx-2080; --cpu-gb-s" in said
    assert "its CPU" not in new("box", FIVE | {"--cpu-gb-s": "50"}, "-o", path, "--force").out


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("my-machine", None),
        ("macro", None),
        ("archer", None),
        ("box-v2", None),
        ("vegas", None),
        ("MacBook Pro", "apple"),
        ("mac_studio", "apple"),
        ("m1max", "apple"),
        ("arca770", "intel"),
        ("rx7900", "amd"),
        ("v100", "nvidia"),
        ("m40", "nvidia"),
    ],
)
def test_a_vendor_is_told_by_words_and_not_by_letters_in_them(name: str, whose: str | None) -> None:
    assert vendor(name) == whose


def test_a_machine_whose_name_tells_its_vendor_is_like_one_of_that() -> None:
    numbers = (12, 380, 12.3, 32, 3)  # an RTX 2060's, nearest to an Arc's
    five = dict(zip(FIVE_PATHS, numbers, strict=True))
    unnamed = draft("box", five, unified=False, like=None).like
    assert draft("rtx-2060", five, unified=False, like=None).like.startswith("rtx-")
    assert draft("Radeon_VII", five, unified=False, like=None).like.startswith("rx-")
    assert draft("arc-a770", five, unified=False, like=None).like == "arc-b580" == unnamed
    assert draft("box", five, unified=False, like=None, chip="turing").like.startswith("rtx-")
    one = {"compute.memory_gib": 32, "compute.memory_gb_s": 180, "storage.gb_s": 5}
    mac = draft("m1max", one, unified=True, like=None)
    assert mac.like.startswith("m")
    assert mac.profile.chip == "apple"  # so it keeps as much for its system as one of the list
    for name, chip in (("MacBook_Pro", "apple"), ("mac-studio", "apple"), ("my-machine", None)):
        assert draft(name, one, unified=True, like=None).profile.chip == chip


def test_without_a_chip_the_nearest_is_said_to_be_of_any_vendor(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    any_vendor = "the nearest is of any vendor"
    assert any_vendor in new("box", FIVE, "-o", path).out
    for name, *more in (("rtx-2060",), ("box", "--chip", "turing"), ("box", "--like", "l4")):
        assert any_vendor not in new(name, FIVE, "-o", path, "--force", *more).out


@pytest.mark.parametrize("name", list_profiles())
def test_a_machines_own_numbers_are_nearest_to_itself(name: str) -> None:
    known = load_profile(name).flat()
    five = {path: known[path].value for path in FIVE_PATHS if path in known}
    found = draft("box", five, unified="host_link.gb_s" not in five, like=None)
    alike = load_profile(found.like).flat()
    assert {path: alike[path].value for path in five} == five  # its own, or a twin's


def test_one_memory(tmp_path: Path) -> None:
    path = tmp_path / "mac.yaml"
    said = new("mac", ONE_MEMORY, "--unified", "-o", path)
    assert "mac, like m4-max, the nearest" in said.out
    made = load_profile(path)
    assert made.unified_memory
    assert made.host_link is made.host is made.cpu is None
    refused = new("mac", ONE_MEMORY | {"--link-gb-s": "3"}, "--unified", "--force", "-o", path)
    assert refused.err.startswith("error: --link-gb-s has no place beside --unified (")
    refused = new("mac", ONE_MEMORY, "--unified", "--like", "l4", "--force", "-o", path)
    assert (
        refused.err == "error: --like l4: it has a host behind a link, and this machine has not\n"
    )


def test_all_that_is_wrong_with_the_numbers_is_said_at_once(tmp_path: Path) -> None:
    refused = new(
        "box", {"--gpu-gb-s": "fast", "--link-gb-s": "-3", "--tflops": "inf"}, "-o", tmp_path
    )
    assert refused.code == 2
    for problem in (
        "--gpu-memory-gib is missing",
        "--gpu-gb-s 'fast' is not a number above 0",
        "--link-gb-s '-3' is not a number above 0",
        "--host-memory-gib is missing",
        "--drive-gb-s is missing",
        "--tflops 'inf' is not a number above 0",
    ):
        assert problem in refused.err
    assert refused.err.count("\n") == 1


def test_nothing_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text("mine")
    refused = new("box", FIVE, "-o", path)
    assert (refused.code, path.read_text()) == (2, "mine")
    assert refused.err == f"error: {path} exists already; --force writes over it\n"
    assert new("box", FIVE, "-o", path, "--force").code == 0
    assert load_profile(path).name == "box"
    for name, message in (
        ("rtx-3090", "rtx-3090 is a machine of the catalogue; take another name"),
        ("a/b", "'a/b' is no name: "),
        ("box.yaml", "'box.yaml' is no name: "),
    ):
        assert message in new(name, FIVE, "-o", path).err
    assert "did you mean 'rtx-3090'?" in new("box", FIVE, "--like", "rtx-309").err


def test_a_machine_has_the_chip_that_was_said_and_not_that_of_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    assert "--chip was not said" in new("box", FIVE, "-o", path).out
    assert load_profile(path).chip is None
    assert "--chip" not in new("box", FIVE, "-o", path, "--force", "--chip", "pascal").out
    assert load_profile(path).chip == "pascal"
    assert "did you mean 'ampere'?" in new("box", FIVE, "-o", path, "--chip", "amper").err


def test_the_commands_for_a_machine_of_ones_own_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/config.md").read_text(encoding="utf-8")
    block = next(part for part in page.split("```") if "hardware new" in part)
    monkeypatch.chdir(tmp_path)
    for line in block.replace("\\\n", "").strip().splitlines()[1:]:
        _, *arguments = shlex.split(line.replace("experiments/", f"{ROOT}/experiments/"))
        ended = run_cli(*arguments)
        assert (ended.code, ended.err) == (0, "")
    assert "on my-box" in ended.out
    shown = next(part for part in page.split("```") if "cpu: ryzen-5950x" in part)
    found = machine(yaml.safe_load(shown.removeprefix("yaml"))["hardware"])
    assert found.cpu is not None
    assert (found.name, found.cpu.name) == ("rtx-3060-12gb", "ryzen-5950x")
    assert f"{len(CPUS) + len(DRIVES)} CPUs and drives as parts" in (
        ROOT / "docs/trust.md"
    ).read_text("utf-8")


def test_a_part_by_dotted_name_is_that_part() -> None:
    nested = load_machine("rtx-4090", {"cpu": {"name": "ddr4-dual", "start_us": 3}})
    assert load_machine("rtx-4090", {"cpu.name": "ddr4-dual", "cpu": {"start_us": 3}}) == nested
    with pytest.raises(ProfileError, match=r"storage: unknown drive 'nonsense'"):
        load_machine("rtx-4090", {"storage.name": "nonsense"})
