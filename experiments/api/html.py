"""HTML for notebooks: a title, small tables and sentences, with nothing in them that is obeyed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_RIGHT = ' style="text-align:right"'


def block(title: str, tables: Sequence[str], sentences: Sequence[str] = ()) -> str:
    """A title, ``tables`` as ``table`` or ``pairs`` make them, and a sentence a line."""
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return f"<div><p><b>{escape(title)}</b></p>{''.join(tables)}{said}</div>"


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """A table of names and values."""
    cells = (
        f'<tr><th style="text-align:left">{escape(name)}</th><td{_RIGHT}>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table>{''.join(cells)}</table>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: int) -> str:
    """A table whose last ``right`` columns are numbers."""
    first = len(headings) - right

    def row(cells: Sequence[str], tag: str) -> str:
        aligned = (_RIGHT if i >= first else ' style="text-align:left"' for i in range(len(cells)))
        inner = (f"<{tag}{how}>{escape(cell)}</{tag}>" for cell, how in zip(cells, aligned))
        return f"<tr>{''.join(inner)}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table><thead>{row(headings, 'th')}</thead><tbody>{body}</tbody></table>"
