"""The registry of facts that measure a sub-criterion of the scoring model instead of judging it.

An app registers, in ``AppConfig.ready``, one ``Fact`` per measured number. Its provider answers for many use cases at once, with a
handful of queries whatever their number; like the gates' providers it reads only, and says *not measured* with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from usecases.evidence import Measurement
from usecases.models import UseCase

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

T = TypeVar("T")


@dataclass(frozen=True)
class Fact:
    """``x0`` and ``x1``: the value that earns a rating of 0 and the one that earns 5, until a version of the criteria freezes its own."""

    key: str
    label: StrOrPromise
    question: StrOrPromise
    unit: str
    x0: float
    x1: float
    provider: Callable[[Sequence[UseCase], datetime], dict[Any, Measurement]]
    order: int = 100


_facts: dict[str, Fact] = {}


def register(*facts: Fact) -> None:
    for fact in facts:
        known = _facts.get(fact.key)
        if known is not None and known.provider is not fact.provider:
            raise ValueError(f"Two providers for the fact {fact.key!r}.")
        _facts[fact.key] = fact


def get(key: str) -> Fact | None:
    return _facts.get(key)


def every() -> list[Fact]:
    return sorted(_facts.values(), key=lambda fact: (fact.order, fact.key))


_read: ContextVar[dict[str, Any] | None] = ContextVar("read", default=None)


@contextmanager
def one_reading() -> Iterator[None]:
    """All facts that are asked inside are about the same use cases and moment, so what two of them need is read once."""
    token = _read.set({})
    try:
        yield
    finally:
        _read.reset(token)


def once(key: str, build: Callable[[], T]) -> T:
    """What ``build`` reads, kept under this key for the other facts of one reading."""
    kept = _read.get()
    if kept is None:
        return build()
    if key not in kept:
        kept[key] = build()
    return cast(T, kept[key])
