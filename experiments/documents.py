"""Tables of committed results in Markdown, and their places in the documents."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[*<>+–-]*\s*[\d.]*( %)?\**$")


def fill(document: str, tables: dict[str, str]) -> str:
    """``document`` with each ``<!-- table: NAME -->`` … ``<!-- end -->`` holding its table."""
    for name, table in tables.items():
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        document, found = re.subn(pattern, rf"\g<1>{table}\n\g<2>", document, flags=re.S)
        if found != 1:
            raise ValueError(f"the document has {found} places for the table {name!r}, not one")
    return document


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; columns of numbers right, others left."""
    marks = ["---:" if all(map(_NUMBER.match, cells)) else "---" for cells in zip(*rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, marks, *rows))
