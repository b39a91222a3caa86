"""YAML as it is meant: the one way in which the project reads it."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any

import yaml

from prefetch_sim.traces.errors import looked_for

MOST_BYTES = 1 << 20  # of a file
MOST_DEPTH, MOST_NODES, MOST_DIGITS = 50, 250_000, 40  # an alias counts for all it stands for
_MARKS = (  # the longest first: that of UTF-16 is the beginning of that of UTF-32
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class YamlError(ValueError):
    """A file or a text that cannot be read; the message is one line, and names the file."""


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2: in PyYAML's 1.1, 10:20 is 620 and 1e2 a string.

    A key that is no name, or that is given twice, is an error, as is half of a surrogate pair.
    """

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and not value.isascii():
            try:  # JSON writes one character as two escapes
                return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
            except UnicodeDecodeError:
                problem = f"{value!a} has half of a character"
                raise yaml.constructor.ConstructorError(
                    None, None, problem, node.start_mark
                ) from None
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                problem = f"the key {key!r} is not a name"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key in seen:
                problem = f"the key {key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# The core schema of YAML 1.2.2 (10.3.2): tag, pattern, first characters.
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
    )


def _whole(loader: _Loader, node: Any) -> int:
    if len(node.value) > MOST_DIGITS:
        problem = f"a number of {len(node.value)} digits: at most {MOST_DIGITS} are read"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return int(node.value)


_KINDS = ("null", "bool", "float", "str", "seq", "map")
_Loader.yaml_constructors = {
    tag: made
    for tag, made in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _KINDS
}
_Loader.add_constructor("tag:yaml.org,2002:int", _whole)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file that is a mapping. Raises YamlError naming the file."""
    path = Path(path)
    try:
        data = parse_yaml(_text(path))
    except FileNotFoundError:
        raise YamlError(f"{path}: no such file{looked_for(path)}") from None
    except OSError as error:
        raise YamlError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise YamlError(f"{path}: cannot be read (not UTF-8 text)") from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise YamlError(f"{path}{where}: {problem}") from error
    if not isinstance(data, dict):
        kind = "empty" if data is None else f"a {type(data).__name__}"
        raise YamlError(f"{path}: expected a mapping of keys, but it is {kind}")
    return data


def parse_yaml(text: str) -> Any:
    """What a text says. Raises yaml.YAMLError or ValueError."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="too deeply nested") from None
    except (LookupError, AttributeError):
        raise yaml.MarkedYAMLError(problem="a value is not what its tag says") from None
    finally:
        loader.dispose()


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise yaml.MarkedYAMLError(problem=f"is larger than {MOST_BYTES >> 20} MiB")
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8-sig")
    return content.decode(encoding)


def _check_size(root: Any) -> None:
    """Raises yaml.YAMLError for what is too deep, or grows too large by what it repeats."""
    sizes: dict[int, int] = {}  # of the nodes that are done; 0: of those that hold this one

    def size(node: Any, depth: int) -> int:
        if depth > MOST_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"too deeply nested: more than {MOST_DEPTH} levels",
                problem_mark=node.start_mark,
            )
        known = sizes.get(id(node))
        if known is None:
            sizes[id(node)] = 0
            parts = node.value if isinstance(node, yaml.CollectionNode) else ()
            if isinstance(node, yaml.MappingNode):
                parts = [part for pair in parts for part in pair]
            known = sizes[id(node)] = 1 + sum(size(part, depth + 1) for part in parts)
        elif not known:
            raise yaml.MarkedYAMLError(problem="it holds itself", problem_mark=node.start_mark)
        if known > MOST_NODES:
            raise yaml.MarkedYAMLError(
                problem=f"it repeats itself to more than {MOST_NODES:,} values",
                problem_mark=node.start_mark,
            )
        return known

    size(root, 0)
