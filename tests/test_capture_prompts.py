"""What a capture is given: texts and conversations as prompts, and a checkpoint's real sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import save
from recordings import SHAPE

torch = pytest.importorskip("torch", reason="needs the capture extra (torch)")
transformers = pytest.importorskip("transformers", reason="needs the capture extra (transformers)")
pytest.importorskip("tokenizers", reason="needs the capture extra (tokenizers)")

from prefetch_sim.sim.config.files import parse  # noqa: E402
from prefetch_sim.sim.setup.inputs import load  # noqa: E402
from prefetch_sim.traces.capture import checkpoint  # noqa: E402
from prefetch_sim.traces.capture.encoding import encode  # noqa: E402
from prefetch_sim.traces.capture.models import Loaded, load_model  # noqa: E402
from prefetch_sim.traces.capture.prompts import read_prompts  # noqa: E402
from prefetch_sim.traces.capture.session import Settings, capture  # noqa: E402
from prefetch_sim.traces.format import TraceError  # noqa: E402
from prefetch_sim.traces.models.spec import ModelSpec  # noqa: E402

WORDS = {word: 10 + i for i, word in enumerate(["user", "assistant", "hello", "there", "yes"])}
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)


def ids(text: str) -> list[int]:
    return [WORDS[word] for word in text.split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("Qwen3Moe", tmp_path_factory.mktemp("qwen"))


def speaking(folder: Path, template: str | None = TEMPLATE) -> Loaded:
    """The model of ``folder`` with a tokenizer of few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"?": 9, **WORDS}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="?")
    tokenizer.chat_template = template
    for old in folder.glob("chat_template*"):
        old.unlink()
    tokenizer.save_pretrained(folder)
    return load_model(str(folder))


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_texts_and_conversations_become_tokens(folder: Path, tmp_path: Path) -> None:
    loaded = speaking(folder)
    path = write(
        tmp_path / "p.jsonl",
        {"prompt": "hello there"},
        {"text": "hello there", "id": 7, "source": "a book"},
        {"messages": [said("user", "hello")], "document": "a"},
        {"messages": [said("user", "hello"), said("assistant", "yes")]},
        {"tokens": [3, 4]},
    )
    prompts = read_prompts(path)
    assert encode(loaded, path, prompts, 1) == [
        ids("hello there"),
        ids("hello there"),
        ids("user hello assistant"),
        ids("user hello assistant yes"),  # as it is: the model has spoken
        [3, 4],
    ]
    numbers = [prompt.document_number for prompt in prompts]
    assert numbers[0] == numbers[1]
    assert len(set(numbers)) == 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"messages": "hello"}, "line 1: messages: not a list of messages"),
        ({"messages": []}, "line 1: the prompt is empty"),
        ({"messages": ["hello"]}, "line 1: messages: message 0 has no role that is text"),
        ({"messages": [{"role": "user"}]}, "line 1: messages: message 0 has no content"),
        ({"text": 3}, "line 1: text: 3 is not text"),
        ({"text": "a", "prompt": "b"}, "give either 'prompt', 'text', 'messages' or 'tokens'"),
        ({"text": "a", "documents": "b"}, "unknown key 'documents'; did you mean 'document'?"),
        (
            {"question": "a", "answer": "b"},
            "line 1: no prompt here; one of prompt, text, messages, tokens "
            "(found: question, answer)",
        ),
        ({"prompt": None}, "(found: prompt: null)"),
        ({}, "(found: nothing)"),
    ],
)
def test_lines_that_are_no_prompts(line: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError) as told:
        read_prompts(write(tmp_path / "p.jsonl", line))
    assert message in str(told.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "line 1: messages need a chat template, and the tokenizer of "),
        ("{{ raise_exception('roles must alternate') }}", "chat template: roles must alternate"),
        ("{% nothing %}", "line 1: the model's chat template: "),
    ],
)
def test_a_template_that_is_none_or_refuses(
    template: str | None, message: str, folder: Path, tmp_path: Path
) -> None:
    loaded = speaking(folder, template)
    path = write(tmp_path / "p.jsonl", {"messages": [said("user", "hello")]})
    with pytest.raises(TraceError) as told:
        encode(loaded, path, read_prompts(path), 1)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


# Sizes


def test_a_trace_has_the_real_sizes_of_its_checkpoint(tmp_path: Path) -> None:
    """Its config says 16 bits, its files have 32."""
    folder = save("Qwen3Moe", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    loaded = load_model(str(folder))
    prompts = write(tmp_path / "p.jsonl", {"tokens": [3, 4]})
    trace = capture(loaded, prompts, tmp_path / "t", Settings(max_new_tokens=2))
    assert trace.meta.recorded["checkpoint"] == "f32; 6,144 bytes an expert"
    tree = {"trace": str(tmp_path / "t"), "cache": {"capacity": {"experts": 6}}}
    assert load(parse(tree, "run.yaml")).sizes == [4 * 3 * 32 * 16] * 3
    given = load(parse(tree | {"precision": "bf16"}, "run.yaml"))
    assert given.sizes == [2 * 3 * 32 * 16] * 3


def experts_of(layer: int, nbytes: int, kind: str = "experts") -> dict[str, Any]:
    names = [f"model.layers.{layer}.mlp.{kind}.{e}.up_proj.qweight" for e in range(SHAPE.experts)]
    return {name: np.zeros(nbytes, np.uint8) for name in names}


def test_sizes_are_measured_whatever_they_are_quantised_in(tmp_path: Path) -> None:
    """In two files: 40 and 48 bytes for 96 weights; what is shared is none of the routed."""
    from safetensors.numpy import save_file

    shared = experts_of(1, 7, "shared_experts")
    parts = {"a.safetensors": experts_of(1, 40) | shared, "b.safetensors": experts_of(2, 48)}
    for name, tensors in parts.items():
        save_file(tensors, tmp_path / name)
    where = {tensor: name for name, tensors in parts.items() for tensor in tensors}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    found = checkpoint.expert_tensors(tmp_path)
    assert checkpoint.plain_dtype(found) is None
    sizes = checkpoint.expert_bytes(found, SHAPE)
    assert sizes == (40, 48)
    unread = checkpoint.with_sizes(SHAPE, sizes, known=False)
    assert unread.bytes_per_expert() == (40, 48)
    assert unread.precision.experts == "int4@3.66667"
    assert checkpoint.described(unread).endswith("; 40 to 48 bytes an expert, measured")
    assert unread.bytes_per_expert("bf16") == SHAPE.bytes_per_expert("bf16")
    assert checkpoint.with_sizes(SHAPE, SHAPE.bytes_per_expert(), known=True) is SHAPE


def test_names_that_say_nothing_are_no_sizes(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    assert checkpoint.expert_tensors(tmp_path) == []
    save_file(experts_of(1, 40), tmp_path / "model.safetensors")
    found = checkpoint.expert_tensors(tmp_path)
    assert len(found) == SHAPE.experts
    assert checkpoint.expert_bytes(found, SHAPE) is None  # layer 2 has none
    assert checkpoint.expert_bytes(found, ModelSpec.model_validate(
        SHAPE.model_dump() | {"dense_layers": (0, 2)}
    )) == (40,)  # fmt: skip
