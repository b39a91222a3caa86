"""YAML as it is meant: the one way in which the project reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml


class YamlError(ValueError):
    """A file or a text that cannot be read; the message is one line, and names the file."""


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2: in PyYAML's 1.1, 10:20 is 620 and 1e2 a string.

    A key that is no name, or that is given twice, is an error.
    """

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
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file that is a mapping. Raises YamlError naming the file."""
    path = Path(path)
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise YamlError(f"{path}: no such file") from None
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
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="too deeply nested") from None
