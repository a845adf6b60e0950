"""What the agent needs from a way to the portal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from edge_bridge import wire


class Failed(Exception):
    """A call did not succeed. `code` is the portal's, or `unreachable`; `permanent` means the same call cannot succeed
    later; `wait` is the least number of seconds the portal asked for."""

    def __init__(self, code: str, message: str, *, permanent: bool = False, wait: float = 0.0) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.permanent = permanent
        self.wait = wait


class Transport(Protocol):
    """All methods raise `Failed`; they may be called from several threads."""

    @property
    def name(self) -> Literal["https", "mqtt"]:
        """Which way this is."""
        ...

    @property
    def clock_offset_ms(self) -> float | None:
        """Portal's clock minus this one, None if not known."""
        ...

    def send(self, envelopes: Sequence[bytes]) -> wire.AckBatch:
        """Deliver envelopes; the answer may lack some, which then count as not delivered."""
        ...

    def desired(self, known: int) -> wire.DesiredState | None:
        """The desired state if its version is not `known`."""
        ...

    def report(self, reported: wire.ReportedState) -> None:
        """Tell the portal how this gateway is."""
        ...

    def artefact(self, url: str, offset: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """The bytes of a model file from `offset` on: the offset at which they really begin, and chunks."""
        ...

    def close(self) -> None: ...
