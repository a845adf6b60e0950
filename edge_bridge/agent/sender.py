"""The thread that empties the store: oldest first, forgetting only what the portal has confirmed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from edge_bridge import wire
from edge_bridge.agent.board import Board, log
from edge_bridge.agent.clock import Backoff
from edge_bridge.agent.store import Store, StoreFull, Waiting
from edge_bridge.agent.transport import Failed, Transport

IDLE_LOOK = 5.0
SLOW_CODES = {"bad_token": 30.0, "gateway_disabled": 30.0, "http_401": 30.0, "http_403": 30.0}


class Sender(threading.Thread):
    """Sends until `end()`. `on_hint` hears the desired version that the portal mentions in its answers."""

    def __init__(self, store: Store, board: Board, transport: Transport, on_hint: Callable[[int], None]) -> None:
        super().__init__(name="sender")
        self.store, self.board, self.transport, self.on_hint = store, board, transport, on_hint
        self._end = threading.Event()
        self._size = wire.MAX_BATCH_ENVELOPES
        self._backoff = Backoff(0.5, 60.0)

    def end(self) -> None:
        self._end.set()
        self.store.news.set()

    def run(self) -> None:
        while not self._end.is_set():
            self.store.news.clear()
            batch = self.store.oldest(messages=self._size)
            if not batch:
                self.store.news.wait(IDLE_LOOK)
                continue
            wait = self.deliver(batch)
            if wait:
                self._end.wait(wait)

    def flush(self) -> None:
        """One last attempt to empty the store, without waiting for anything; for an orderly end."""
        while batch := self.store.oldest():
            if self.deliver(batch):
                return

    def deliver(self, batch: Sequence[Waiting]) -> float:
        """Send once and settle the answers; returns the seconds to wait before the next attempt.

        With a full disk the answers cannot be noted: the messages stay and are sent again, and the portal knows them then.
        """
        try:
            return self._exchange(batch)
        except StoreFull as error:
            log.warning("the answers to sent messages cannot be noted: %s", error)
            return self._backoff.next()

    def _exchange(self, batch: Sequence[Waiting]) -> float:
        try:
            answer = self.transport.send([message.data for message in batch])
        except Failed as failure:
            return self._failed(batch, failure)
        self.board.clear("portal_unreachable")
        gone, refusals = self.store.settle(batch, answer.acks)
        for refusal in refusals:
            self._refused(refusal)
        self.on_hint(answer.desired_version)
        if gone:
            self._backoff.reset()
            self._size = min(wire.MAX_BATCH_ENVELOPES, self._size * 2)
            return 0.0
        return self._backoff.next()

    def _failed(self, batch: Sequence[Waiting], failure: Failed) -> float:
        if failure.permanent and len(batch) > 1:
            self._size = max(1, len(batch) // 2)  # look for the one message that the portal cannot take
            return 0.0
        if failure.permanent and failure.code.startswith(tuple(_FATAL)):
            ack = wire.Ack(
                stream=batch[0].stream,
                sequence=batch[0].sequence,
                status="refused",
                code=failure.code[:200],
                message=failure.message[:2000],
            )
            self.store.settle(batch, [ack])
            self._refused(ack)
            return 0.0
        if self.board.trouble("portal_unreachable", f"{failure.code}: {failure.message}"):
            log.warning("messages wait: %s", failure)
        return self._backoff.next(max(failure.wait, SLOW_CODES.get(failure.code, 0.0)))

    def _refused(self, ack: wire.Ack) -> None:
        self.board.trouble("message_refused", f"last: {ack.stream} {ack.sequence}: {ack.code} {ack.message}")
        if ack.stream == "events":
            log.error("the portal refused event %d: %s %s", ack.sequence, ack.code, ack.message)
            return  # an event about a refused event could go round for ever
        self.board.event(
            "message_refused",
            f"{ack.code}: {ack.message}",
            severity="error",
            data={"stream": ack.stream, "sequence": ack.sequence, "code": ack.code},
        )


_FATAL = (
    "malformed",
    "invalid",
    "too_large",
    "unsupported_version",
    "digest_mismatch",
    "bad_length",
    "wrong_gateway",
    "http_400",
    "http_413",
    "http_422",
)
