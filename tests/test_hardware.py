"""Profiles: all load, every figure is sourced, and bad input is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from prefetch_sim.hardware_profiles import ProfileError, list_profiles, load_profile, override

ROOT = Path(__file__).parents[1]

NAMES = [
    "a10",
    "a100-pcie-40gb",
    "a100-pcie-80gb",
    "a5000",
    "arc-b580",
    "b200",
    "dgx-spark",
    "h100-sxm",
    "h200",
    "jetson-agx-orin-64gb",
    "jetson-orin-nano-8gb",
    "jetson-orin-nx",
    "jetson-thor",
    "l4",
    "l40s",
    "laptop-ddr4",
    "m2-ultra",
    "m3-max",
    "m3-ultra",
    "m4",
    "m4-max",
    "m4-pro",
    "m5-pro",
    "oneplus-15r",
    "raspberry-pi-5",
    "rtx-2080",
    "rtx-3060-12gb",
    "rtx-3060-ti",
    "rtx-3070",
    "rtx-3080-10gb",
    "rtx-3090",
    "rtx-3090-ti",
    "rtx-4060",
    "rtx-4060-laptop",
    "rtx-4060-ti-16gb",
    "rtx-4070",
    "rtx-4070-laptop",
    "rtx-4070-super",
    "rtx-4070-ti",
    "rtx-4070-ti-super",
    "rtx-4080",
    "rtx-4080-super",
    "rtx-4090",
    "rtx-4090-laptop",
    "rtx-5060-ti-16gb",
    "rtx-5070",
    "rtx-5070-ti",
    "rtx-5080",
    "rtx-5090",
    "rtx-pro-6000",
    "rx-7900-xtx",
    "rx-9070-xt",
    "snapdragon-8",
    "strix-halo",
    "t4",
    "v100-pcie-32gb",
    "v100-sxm2-32gb",
]


def test_catalogue() -> None:
    assert list(list_profiles()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_profile_holds(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.chip is not None
    figures = profile.flat()
    assert {"compute.tflops.bf16", "compute.memory_gb_s", "storage.read_mib"} <= set(figures)
    assert ("host_link.gb_s" in figures) is not profile.unified_memory
    for path, figure in figures.items():
        assert len(figure.source) > 10, path
        # A figure known exactly is a size from a datasheet, and nothing else.
        assert figure.uncertainty > 0 or figure.kind == "datasheet", path
    assert figures["compute.launch_us"].value < figures["compute.eager_launch_us"].value
    assert figures["storage.stream_gb_s"].value <= figures["storage.gb_s"].value


@pytest.mark.parametrize(
    ("slower", "faster", "datasheets"),
    [
        ("v100-pcie-32gb", "v100-sxm2-32gb", (900, 900)),
        ("v100-sxm2-32gb", "a100-pcie-40gb", (900, 1555)),
        ("a100-pcie-40gb", "a100-pcie-80gb", (1555, 1935)),
        ("a100-pcie-80gb", "h100-sxm", (1935, 3350)),
    ],
)
def test_siblings_have_memory_in_the_order_of_their_datasheets(
    slower: str, faster: str, datasheets: tuple[int, int]
) -> None:
    """Bandwidths of one basis, the streaming read: a good part of the datasheet's, never all."""
    rates = [load_profile(name).compute.memory_gb_s.value for name in (slower, faster)]
    assert (rates[0] == rates[1]) == (datasheets[0] == datasheets[1])
    assert rates[0] <= rates[1]
    for rate, datasheet in zip(rates, datasheets):
        assert 0.85 < rate / datasheet < 0.98


@pytest.mark.parametrize(
    ("slower", "faster", "datasheets"),
    [
        ("t4", "rtx-3060-12gb", (320, 360)),
        ("rtx-3060-12gb", "rtx-2080", (360, 448)),
        ("rtx-2080", "rtx-3060-ti", (448, 448)),
        ("rtx-3060-ti", "rtx-4070-ti", (448, 504)),
        ("rtx-4070-ti", "a10", (504, 600)),
        ("rtx-4060-laptop", "rtx-4070-laptop", (256, 256)),
        ("rtx-4070-laptop", "rtx-4060", (256, 272)),
        ("rtx-4060", "rtx-4060-ti-16gb", (272, 288)),
        ("rtx-4060-ti-16gb", "rtx-5060-ti-16gb", (288, 448)),
        ("rtx-5060-ti-16gb", "arc-b580", (448, 456)),
        ("rtx-3070", "rtx-4070", (448, 504)),
        ("rtx-4070", "rtx-4070-super", (504, 504)),
        ("rtx-4070-super", "rtx-4090-laptop", (504, 576)),
        ("rtx-4090-laptop", "rx-9070-xt", (576, 640)),
        ("rx-9070-xt", "rtx-4070-ti-super", (640, 672)),
        ("rtx-4070-ti-super", "rtx-5070", (672, 672)),
        ("rtx-5070", "rtx-4080", (672, 717)),
        ("rtx-4080", "rtx-4080-super", (717, 736)),
        ("rtx-4080-super", "rtx-3080-10gb", (736, 760)),
        ("rtx-3080-10gb", "rtx-5070-ti", (760, 896)),
        ("rtx-5070-ti", "rtx-5080", (896, 960)),
        ("rtx-5080", "rx-7900-xtx", (960, 960)),
        ("rx-7900-xtx", "rtx-3090-ti", (960, 1008)),
        ("a10", "a5000", (600, 768)),
        ("l40s", "rtx-3090", (864, 936)),
        ("rtx-3090", "rtx-4090", (936, 1008)),
        ("rtx-4090", "rtx-5090", (1008, 1792)),
        ("rtx-5090", "rtx-pro-6000", (1792, 1792)),
        ("h100-sxm", "h200", (3350, 4800)),
        ("h200", "b200", (4800, 8000)),
        ("jetson-orin-nx", "jetson-agx-orin-64gb", (102, 204.8)),
        ("jetson-agx-orin-64gb", "strix-halo", (204.8, 256)),
        ("strix-halo", "dgx-spark", (256, 273)),
        ("dgx-spark", "jetson-thor", (273, 273)),
        ("m4", "m4-pro", (120, 273)),
        ("m4-pro", "m5-pro", (273, 307)),
        ("m5-pro", "m3-max", (307, 400)),
        ("m3-max", "m4-max", (400, 546)),
        ("m4-max", "m2-ultra", (546, 800)),
        ("m2-ultra", "m3-ultra", (800, 819)),
        ("laptop-ddr4", "oneplus-15r", (51.2, 76.8)),
    ],
)
def test_no_machine_has_all_of_its_datasheets_bandwidth(
    slower: str, faster: str, datasheets: tuple[float, float]
) -> None:
    """Measured in several ways (a copy, a read, lattice streaming), so a wider band; in order."""
    rates = [load_profile(name).compute.memory_gb_s.value for name in (slower, faster)]
    assert rates[0] <= rates[1]
    for rate, datasheet in zip(rates, datasheets):
        assert 0.7 < rate / datasheet < 0.95


@pytest.mark.parametrize(
    ("eight", "sixteen"),
    [
        ("rtx-4060", "rtx-4070"),
        ("rtx-4060-ti-16gb", "rtx-4070"),
        ("rtx-4060-laptop", "rtx-4090-laptop"),
        ("rtx-4070-laptop", "rtx-4090-laptop"),
        ("arc-b580", "rtx-4070"),
        ("rtx-5060-ti-16gb", "rtx-5070"),
    ],
)
def test_eight_lanes_have_about_half_of_what_sixteen_have(eight: str, sixteen: str) -> None:
    links = [load_profile(name).host_link for name in (eight, sixteen)]
    rates = [link.gb_s.value for link in links if link is not None]
    assert rates[0] / rates[1] == pytest.approx(0.5, abs=0.04)


def _read_us(name: str, size: int, lanes: int) -> float:
    """One read of ``size`` bytes by each of ``lanes``, again and again: time from issue to end."""
    drive = load_profile(name).storage
    alone = size / drive.stream_gb_s.value / 1e3 + drive.latency_us.value
    return max(alone, lanes * size / drive.gb_s.value / 1e3)


@pytest.mark.parametrize(
    ("name", "size", "lanes", "gb_s", "off"),
    [
        ("oneplus-15r", 4 << 20, 1, 1809.9 * 1.048576e-3, 0.01),
        ("oneplus-15r", 4 << 20, 2, 2459.8 * 1.048576e-3, 0.02),
        ("oneplus-15r", 4 << 20, 8, 2420.0 * 1.048576e-3, 0.02),
        ("oneplus-15r", 4 << 20, 16, 2243.9 * 1.048576e-3, 0.1),
        ("oneplus-15r", 128 << 10, 2, 954 * 1.048576e-3, 0.01),
        ("oneplus-15r", 128 << 10, 4, 1486 * 1.048576e-3, 0.3),
        ("oneplus-15r", 128 << 10, 8, 1859 * 1.048576e-3, 0.35),
        ("m5-pro", 2_764_800, 1, 9.46, 0.01),
        ("m5-pro", 2_764_800, 4, 16.95, 0.03),
        ("m5-pro", 2_764_800, 32, 17.30, 0.01),
        ("dgx-spark", 64 << 10, 1, 0.49, 0.01),
        ("dgx-spark", 256 << 10, 1, 1.06, 0.01),
        ("dgx-spark", 256 << 10, 16, 5.22, 0.2),
        ("dgx-spark", 256 << 10, 64, 5.84, 0.05),
    ],
)
def test_drives_read_as_they_were_measured(
    name: str, size: int, lanes: int, gb_s: float, off: float
) -> None:
    """By number of reads at a time; ``off`` is how far the two rates and a latency are from it."""
    assert lanes * size / _read_us(name, size, lanes) / 1e3 == pytest.approx(gb_s, rel=off)


def test_an_a100s_link_is_as_uncertain_as_at_the_size_of_an_expert() -> None:
    """10 MB by themselves: 19.4 GB/s in an A100 sweep, which the figures put too high."""
    for name in ("a100-pcie-40gb", "a100-pcie-80gb"):
        link = load_profile(name).host_link
        assert link is not None
        modelled = 10e6 / (link.isolated_us.value * 1e3 + 10e6 / link.gb_s.value)
        assert modelled > 19.4
        assert modelled * (1 - link.gb_s.uncertainty) == pytest.approx(19.4, rel=0.01)


def test_flat_follows_the_schema() -> None:
    paths = list(load_profile("v100-pcie-32gb").flat())
    assert paths[0] == "compute.tflops.bf16"
    assert paths[-5:-3] == ["host.memory_gib", "cpu.expert_gb_s.bf16"]
    assert len(paths) == 19  # fp8, int4, mxfp4, chunk_mib and contention are not given


def test_override_numbers_sections_and_optional_figures() -> None:
    base = load_profile("a100-pcie-40gb")
    changed = override(
        base,
        {
            "host_link.gb_s": 12.2,
            "host_link.chunk_mib": 4,
            "compute.tflops.fp8": 500,
            "storage.latency_us": 0,
            "compute.launch_us": {
                "value": 1,
                "kind": "measured",
                "source": "this machine",
                "uncertainty": 0.02,
            },
        },
    )
    figures = changed.flat()
    assert figures["host_link.gb_s"].value == 12.2
    assert figures["host_link.gb_s"].kind == "estimate"
    assert figures["host_link.gb_s"].source == "override in the run's config"
    assert figures["host_link.chunk_mib"].value == 4
    assert figures["compute.tflops.fp8"].value == 500
    assert figures["storage.latency_us"].value == 0  # an ideal device is allowed
    assert figures["compute.launch_us"].kind == "measured"
    assert base == load_profile("a100-pcie-40gb")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host_link.gbs": 12}, "did you mean 'host_link.gb_s'"),
        ({"hostlink.gb_s": 12}, "did you mean 'host_link.gb_s'"),
        ({"host_link.gb_s": 0}, "host_link.gb_s: value must be positive, not 0"),
        ({"host.memory_gib": 1e300}, "host.memory_gib: value must be at most 1,000,000,000, not"),
        ({"compute.memory_gib": 2e9}, "compute.memory_gib: value must be at most 1,000,000,000"),
        ({"storage.read_mib": 1e300}, "storage.read_mib: value must be at most 1,000,000,000"),
        ({"storage.latency_us": -1}, "storage.latency_us.value"),
        ({"storage.queue_depth": 1.5}, "whole number"),
        ({"storage.queue_depth": 1e9}, "from 1 to 65,536"),
        ({"compute.expert_efficiency": 1.2}, "at most 1"),
        ({"host_link.gb_s": "fast"}, "host_link.gb_s"),
        ({"host_link.gb_s": float("inf")}, "host_link.gb_s.value"),
        ({"host_link.gb_s.value.more": 1}, "has no 'host_link.gb_s.value.more'"),
    ],
)
def test_bad_overrides(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ProfileError, match="a100-pcie-40gb") as caught:
        override(load_profile("a100-pcie-40gb"), changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unified_memory_has_no_link_to_override() -> None:
    with pytest.raises(ProfileError, match=r"'snapdragon-8' has no 'host_link.gb_s'"):
        override(load_profile("snapdragon-8"), {"host_link.gb_s": 1})


def test_unknown_name_has_nearest_match() -> None:
    with pytest.raises(ProfileError, match=r"unknown hardware 'v100-smx2'.*'v100-sxm2-32gb'"):
        load_profile("v100-smx2")


def _edited(tmp_path: Path, edit: object) -> Path:
    source = ROOT / "hardware_profiles" / "v100-pcie-32gb.yaml"
    content = yaml.safe_load(source.read_text())
    edit(content)  # type: ignore[operator]
    path = tmp_path / "board.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = _edited(tmp_path, lambda c: c.update(name="mine"))
    assert load_profile(path).name == load_profile(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda c: c.pop("storage"),
            "missing: storage.gb_s, storage.stream_gb_s, storage.latency_us, storage.queue_depth, "
            "storage.read_mib",
        ),
        (lambda c: c["host_link"]["gb_s"].pop("source"), "missing: host_link.gb_s.source"),
        (
            lambda c: c["storage"].update(gbs=1),
            "storage.gbs: unknown key; did you mean 'storage.gb",
        ),
        (lambda c: c["storage"]["gb_s"].update(value=-1), "storage.gb_s.value"),
        (lambda c: c["storage"]["gb_s"].update(kind="guess"), "storage.gb_s.kind"),
        (
            lambda c: c.update(unified_memory=True),
            "unified_memory is true, so host_link, host, cpu must be left out",
        ),
        (lambda c: c.pop("host"), "missing: host.memory_gib"),
        (
            lambda c: [c.pop(key) for key in ("host", "host_link", "name")],
            "missing: host_link.gb_s, host_link.isolated_us, host_link.back_to_back_us, "
            "host.memory_gib, name",
        ),
        (
            lambda c: (c.pop("host"), c["storage"]["gb_s"].update(kind="guess", value=-1)),
            "missing: host.memory_gib; storage.gb_s.value: Input should be greater than or equal "
            "to 0 (and 1 more)",
        ),
    ],
)
def test_bad_files(tmp_path: Path, edit: object, message: str) -> None:
    path = _edited(tmp_path, edit)
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "expected a mapping of keys, but it is a list"),
        ("a: [1,\n", "line 2: expected the node content"),
        ("name: a\nname: b\n", "line 2: the key 'name' is given twice"),
    ],
)
def test_not_a_profile(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError, match=message) as caught:
        load_profile(path)
    assert "\n" not in str(caught.value)


def test_missing_file() -> None:
    with pytest.raises(ProfileError, match=r"nowhere.yaml: no such file"):
        load_profile("nowhere.yaml")


def test_the_page_counts_the_profiles() -> None:
    assert f"There are {len(NAMES)} (`list hardware`)" in (ROOT / "docs/trust.md").read_text(
        "utf-8"
    )
