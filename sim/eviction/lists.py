"""Doubly linked lists in flat integers, for evictions that keep queues.

``links`` has two integers a node, of N nodes in all: what comes before node i at i, what comes
after it at N + i. Each list is a ring through a node of its own, its head: the oldest comes right
after the head, the newest right before it.
"""

from __future__ import annotations

from collections.abc import MutableSequence


def clear(links: MutableSequence[int], n: int, head: int) -> None:
    links[head] = links[n + head] = head


def add_newest(links: MutableSequence[int], n: int, head: int, x: int) -> None:
    before = links[head]
    links[x] = before
    links[n + x] = head
    links[n + before] = links[head] = x


def add_oldest(links: MutableSequence[int], n: int, head: int, x: int) -> None:
    after = links[n + head]
    links[x] = head
    links[n + x] = after
    links[after] = links[n + head] = x


def remove(links: MutableSequence[int], n: int, x: int) -> None:
    before, after = links[x], links[n + x]
    links[n + before] = after
    links[after] = before


def oldest(links: MutableSequence[int], n: int, head: int) -> int:
    """The oldest of the list, or ``head`` where it is empty."""
    return links[n + head]
