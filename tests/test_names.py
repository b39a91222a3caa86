"""Names as people, vendors and the Hub write them, of every catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefetch_sim.hardware_profiles import (
    ProfileError,
    list_parts,
    list_profiles,
    list_runtimes,
    load_any,
    load_machine,
    machine_name,
    part_name,
    runtime_name,
)
from prefetch_sim.sim.config.models import ModelError, load_model
from prefetch_sim.traces.models import catalogue
from prefetch_sim.traces.models.catalogue import model_name
from prefetch_sim.traces.names import UnknownNameError

MACHINES = {
    "NVIDIA GeForce RTX 4090": "rtx-4090",
    "GeForce RTX 4090 24GB": "rtx-4090",
    "RTX4090": "rtx-4090",
    "rtx 4090": "rtx-4090",
    "4090": "rtx-4090",
    "RTX 3060 12GB": "rtx-3060-12gb",
    "RTX 3060 12 GB": "rtx-3060-12gb",
    "GeForce RTX 3060": "rtx-3060-12gb",
    "RTX 3060 Ti": "rtx-3060-ti",
    "NVIDIA GeForce RTX 3080": "rtx-3080-10gb",
    "RTX 3090 Ti": "rtx-3090-ti",
    "NVIDIA GeForce RTX 4060": "rtx-4060",
    "NVIDIA GeForce RTX 4060 Laptop GPU": "rtx-4060-laptop",
    "RTX 4060 Mobile": "rtx-4060-laptop",
    "Jetson AGX Orin 64GB Developer Kit": "jetson-agx-orin-64gb",
    "MacBook Pro M4 Max": "m4-max",
    "Mac mini M4": "m4",
    "NVIDIA GeForce RTX 4060 Ti": "rtx-4060-ti-16gb",
    "RTX 4060 Ti 16GB": "rtx-4060-ti-16gb",
    "NVIDIA GeForce RTX 4070": "rtx-4070",
    "NVIDIA GeForce RTX 4070 Laptop GPU": "rtx-4070-laptop",
    "NVIDIA GeForce RTX 4070 SUPER": "rtx-4070-super",
    "NVIDIA GeForce RTX 4070 Ti": "rtx-4070-ti",
    "NVIDIA GeForce RTX 4080": "rtx-4080",
    "NVIDIA GeForce RTX 4070 Ti SUPER": "rtx-4070-ti-super",
    "NVIDIA GeForce RTX 4080 SUPER": "rtx-4080-super",
    "NVIDIA GeForce RTX 4090 Laptop GPU": "rtx-4090-laptop",
    "RTX 4090 Laptop 16GB": "rtx-4090-laptop",
    "5060 Ti": "rtx-5060-ti-16gb",
    "RTX 5070": "rtx-5070",
    "RTX5070Ti": "rtx-5070-ti",
    "GeForce RTX 5080 16 GB": "rtx-5080",
    "AMD Radeon RX 7900 XTX": "rx-7900-xtx",
    "7900 XTX": "rx-7900-xtx",
    "RX9070XT": "rx-9070-xt",
    "Intel(R) Arc(TM) B580 Graphics": "arc-b580",
    "B580": "arc-b580",
    "Intel(R) Arc(tm) B580 Graphics (BMG G21)": "arc-b580",
    "AMD Radeon RX 7900 XTX (RADV NAVI31)": "rx-7900-xtx",
    "Apple M4 (10 GPU cores)": "m4",
    "RTX3060Ti": "rtx-3060-ti",
    "NVIDIA RTX A5000": "a5000",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "rtx-pro-6000",
    "NVIDIA A100-PCIE-40GB": "a100-pcie-40gb",
    "NVIDIA A100 80GB PCIe": "a100-pcie-80gb",
    "NVIDIA H100 80GB HBM3": "h100-sxm",
    "Tesla T4": "t4",
    "Tesla V100-SXM2-32GB": "v100-sxm2-32gb",
    "Apple M3 Max": "m3-max",
    "M3 Ultra 512GB": "m3-ultra",
    "Apple M4": "m4",
    "Apple M4 Pro": "m4-pro",
    "Apple M4 Max": "m4-max",
    "M4 Max 128 GB": "m4-max",
    "Apple M5 Pro": "m5-pro",
    "Jetson Orin NX": "jetson-orin-nx",
    "Jetson AGX Orin": "jetson-agx-orin-64gb",
    "Orin Nano 8GB": "jetson-orin-nano-8gb",
    "AMD Ryzen AI Max+ 395": "strix-halo",
    "Raspberry Pi 5": "raspberry-pi-5",
    "NVIDIA DGX Spark": "dgx-spark",
}
CPUS = {
    "AMD Ryzen 9 5950X 16-Core Processor": "ryzen-5950x",
    "Ryzen 7 9800X3D": "ryzen-9800x3d",
    "AMD EPYC 7763 64-Core Processor": "epyc-7763",
    "Intel(R) Core(TM) i9-10900X CPU @ 3.70GHz": "i9-10900x",
    "Intel(R) Xeon(R) Gold 6454S": "xeon-6454s",
    "AMD Ryzen Threadripper PRO 5955WX 16-Cores": "threadripper-pro-5955wx",
}
MODELS = {
    "Qwen/Qwen3-30B-A3B": "qwen3-30b-a3b",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "qwen3-30b-a3b",
    "unsloth/Qwen3-30B-A3B-GGUF": "qwen3-30b-a3b",
    "openai/gpt-oss-20b": "gpt-oss-20b",
    "GPT OSS 120B": "gpt-oss-120b",
    "deepseek-ai/DeepSeek-V2-Lite-Chat": "deepseek-v2-lite",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mixtral-8x7b",
    "mixtral8x7b": "mixtral-8x7b",
    "allenai/OLMoE-1B-7B-0924": "olmoe-1b-7b",
    "microsoft/Phi-3.5-MoE-instruct": "phi-3.5-moe",
    "zai-org/GLM-4.7-Flash": "glm-4.7-flash",
    "deepseek-ai/DeepSeek-R1-0528": "deepseek-v3",
    "deepseek-ai/DeepSeek-V3.1": "deepseek-v3",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": "qwen3-30b-a3b",
}


@pytest.mark.parametrize(("given", "name"), MACHINES.items())
def test_machines(given: str, name: str) -> None:
    assert machine_name(given) == name


@pytest.mark.parametrize(("given", "name"), CPUS.items())
def test_cpus_as_the_system_calls_them(given: str, name: str) -> None:
    assert part_name("cpu", given) == name


@pytest.mark.parametrize(
    ("given", "name"),
    {"Samsung SSD 980 PRO 1TB": "samsung-980-pro", "Samsung 990 EVO Plus": "samsung-990-evo-plus"}
    .items(),
)  # fmt: skip
def test_drives(given: str, name: str) -> None:
    assert part_name("storage", given) == name


@pytest.mark.parametrize(("given", "name"), MODELS.items())
def test_models(given: str, name: str) -> None:
    assert model_name(given) == name
    assert load_model(given).name == name


@pytest.mark.parametrize("given", ["llama.cpp", "llamacpp", "llama-cpp", "Llama.cpp"])
def test_runtimes(given: str) -> None:
    assert runtime_name(given) == "llama.cpp"


def test_every_name_is_itself_in_capitals_and_with_spaces() -> None:
    for names, resolve in (
        (list_profiles(), machine_name),
        (list_runtimes(), runtime_name),
        (list_parts("cpu"), lambda text: part_name("cpu", text)),
        (list_parts("storage"), lambda text: part_name("storage", text)),
        (catalogue.names(), model_name),
    ):
        for name in names:
            assert resolve(name) == resolve(name.upper().replace("-", " ")) == name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("RTX 5090 Laptop GPU", "unknown hardware 'RTX 5090 Laptop GPU'; did you mean 'rtx-5090'?"),
        ("NVIDIA GeForce RTX 4080 Laptop GPU", "did you mean 'rtx-4080'?"),
        ("RTX 3060 Laptop", "did you mean 'rtx-4060-laptop'?"),
        ("RX 7900 XT", "did you mean 'rx-7900-xtx'?"),
        ("Apple M4 Ultra", "did you mean 'm4'?"),
        ("NVIDIA A100-SXM4-80GB", "did you mean 'a100-pcie-80gb'?"),
        ("H100 PCIe", "did you mean 'h100-sxm'?"),
        ("RTX 4090 16GB", "did you mean 'rtx-4090'?"),
        ("V100", "hardware 'V100' may be 'v100-pcie-32gb' or 'v100-sxm2-32gb'; say which"),
        ("A100", "hardware 'A100' may be 'a100-pcie-40gb' or 'a100-pcie-80gb'; say which"),
        ("RTX 4090 + RTX 4090", "unknown hardware 'RTX 4090 + RTX 4090'"),
        ("abacus", "unknown hardware 'abacus'; known: a10, "),
        ("", "unknown hardware ''"),
        ("GPU", "unknown hardware 'GPU'"),
    ],
)
def test_another_machine_is_not_taken_for_one(given: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        machine_name(given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("deepseek-ai/DeepSeek-V3.2", "unknown model 'DeepSeek-V3.2'; did you mean 'deepseek-v3'?"),
        ("DeepSeek-R1-Distill-Qwen-7B", "unknown model 'DeepSeek-R1-Distill-Qwen-7B'"),
        ("Qwen/Qwen3-30B-A3B-FP8", "did you mean 'qwen3-30b-a3b'?"),
        ("qwen3", "did you mean 'qwen3"),
        ("mixtral", "did you mean 'mixtral-8x7b'?"),
    ],
)
def test_another_model_is_not_taken_for_one(given: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        model_name(given)
    assert message in str(caught.value)


def test_a_folder_goes_before_an_id_and_after_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Qwen/Qwen3-30B-A3B", "qwen3-30b-a3b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    assert load_model("qwen3-30b-a3b").hidden == 2048
    for folder in ("./qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B"):
        with pytest.raises(ModelError, match="not valid JSON"):
            load_model(folder)
    with pytest.raises(ModelError, match=r"and no folder Qwen/Qwen9 has a config\.json"):
        load_model("Qwen/Qwen9")


def test_a_machine_of_parts_and_any_profile_by_such_names() -> None:
    parts: dict[str, Any] = {"cpu": "Ryzen 9 5950X", "storage": {"name": "Samsung 980 PRO"}}
    machine = load_machine("GeForce RTX 3060", parts)
    assert machine.cpu is not None
    found = (machine.name, machine.cpu.name, machine.storage.name)
    assert found == ("rtx-3060-12gb", "ryzen-5950x", "samsung-980-pro")
    assert load_any("EPYC 7763").name == "epyc-7763"
    assert load_any("Apple M2 Ultra").name == "m2-ultra"
