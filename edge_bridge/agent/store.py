"""Store-and-forward: everything a gateway must not lose, in one SQLite file.

Write-ahead log with `synchronous=FULL`: when `transaction()` ends, the rows, the read position and the messages made of
them are on disk together or not at all. One connection behind one lock serves all threads.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_bridge import wire
from edge_bridge.agent.clock import wall_ms
from edge_bridge.agent.reserve import Reserve

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sequence (stream TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, sequence INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (stream, sequence));
CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, sequence INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS cursor (
    source TEXT PRIMARY KEY, run INTEGER NOT NULL, row INTEGER NOT NULL, lab_row INTEGER NOT NULL,
    epoch INTEGER NOT NULL, jump TEXT NOT NULL, context BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS installation (
    id TEXT PRIMARY KEY, running BLOB, last_good BLOB, failed TEXT NOT NULL, activated_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
MAX_REFUSED = 1000
RESERVE = 1.1


class StoreFull(Exception):
    """There is no room for more: the disk is full or the backlog has reached its limit. Nothing was changed."""


@dataclass
class Cursor:
    """How far a source was read: last row and last laboratory row stored for good, in the PLC's run `run`."""

    source: str
    run: int = 0
    row: int = 0
    lab_row: int = 0
    epoch: int = 0
    jump: str = ""
    context: bytes = b""


@dataclass
class Installed:
    """What is installed under one installation id; `running` and `last_good` are encoded `wire.Installation`."""

    id: str
    running: bytes | None = None
    last_good: bytes | None = None
    failed: str = ""
    activated_ms: int = 0


@dataclass(frozen=True)
class Waiting:
    """A message waiting to be sent."""

    id: int
    stream: str
    sequence: int
    data: bytes


@dataclass
class Transaction:
    """Inside `Store.transaction()`: what is added counts only when the block ends without an exception."""

    gateway: str
    connection: sqlite3.Connection
    added: int = 0
    added_bytes: int = 0
    streams: list[str] = field(default_factory=list)

    def next_sequence(self, stream: str) -> int:
        """The sequence that the next `add` to the stream will take."""
        row = self.connection.execute("SELECT last FROM sequence WHERE stream = ?", (stream,)).fetchone()
        return (row[0] if row else 0) + 1

    def add(self, stream: str, body: wire.Body) -> int:
        """Queue a message and return its sequence. WireError `too_large` if it cannot be sent at all."""
        sequence = self.next_sequence(stream)
        now = wall_ms()
        data = wire.seal(self.gateway, stream, sequence, body, now)
        self.connection.execute(
            "INSERT INTO sequence VALUES (?, ?) ON CONFLICT (stream) DO UPDATE SET last = excluded.last",
            (stream, sequence),
        )
        self.connection.execute(
            "INSERT INTO outbox (stream, sequence, wall_ms, data) VALUES (?, ?, ?, ?)", (stream, sequence, now, data)
        )
        self.added += 1
        self.added_bytes += len(data)
        return sequence

    def move(self, cursor: Cursor) -> None:
        """Remember how far a source was read."""
        self.connection.execute(
            "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?, ?, ?, ?)",
            (cursor.source, cursor.run, cursor.row, cursor.lab_row, cursor.epoch, cursor.jump, cursor.context),
        )

    def install(self, installed: Installed) -> None:
        """Remember what is installed."""
        self.connection.execute(
            "INSERT OR REPLACE INTO installation VALUES (?, ?, ?, ?, ?)",
            (installed.id, installed.running, installed.last_good, installed.failed, installed.activated_ms),
        )

    def uninstall(self, installation: str) -> None:
        self.connection.execute("DELETE FROM installation WHERE id = ?", (installation,))


class Store:
    """The gateway's file. `limit` bounds the bytes of waiting messages; rows are refused at it (`StoreFull`), while
    events and heartbeats may use a tenth more. Raises sqlite3.DatabaseError if the file is not a usable database."""

    def __init__(self, path: Path, gateway: str, *, limit: int = 256 * 1024 * 1024) -> None:
        self.gateway = gateway
        self.limit = limit
        self.lock = threading.RLock()
        self.news = threading.Event()
        self._connection = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA journal_size_limit=1048576")
        self._connection.execute("PRAGMA wal_autocheckpoint=256")
        self._connection.execute("PRAGMA cache_size=-2000")
        self._connection.executescript(_SCHEMA)
        self._reserve = Reserve(path.with_name(f"{path.name}.reserve"))
        count, size = self._connection.execute("SELECT count(*), coalesce(sum(length(data)), 0) FROM outbox").fetchone()
        self.backlog_messages: int = count
        self.backlog_bytes: int = size
        self.refused_messages: int = self._connection.execute("SELECT coalesce(max(id), 0) FROM refused").fetchone()[0]

    @contextlib.contextmanager
    def transaction(self, *, rows: bool = False) -> Iterator[Transaction]:
        """One durable step. `rows=True` marks row data, which stop at the limit. Raises StoreFull, with nothing
        changed."""
        with self.lock:
            if self.backlog_bytes >= self.limit * (1.0 if rows else RESERVE):
                raise StoreFull(f"{self.backlog_bytes} bytes wait to be sent, the limit is {self.limit}")
            if rows and not self._reserve.held and not self._restore():
                raise StoreFull("the disk takes no more: the reserve for emptying the store is in use")
            step = Transaction(self.gateway, self._connection)
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield step
                self._connection.execute("COMMIT")
            except BaseException as error:
                self._give_up(error)
                raise
            self.backlog_messages += step.added
            self.backlog_bytes += step.added_bytes
        if step.added:
            self.news.set()

    def _restore(self) -> bool:
        """Take the reserve again, from the room that the write-ahead log gives back."""
        self._checkpoint()
        return self._reserve.take()

    def _checkpoint(self) -> None:
        with contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _give_up(self, error: BaseException) -> None:
        """Undo the step; StoreFull where it failed for want of room."""
        self._roll_back()
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in _NO_ROOM:
            raise StoreFull(f"the disk takes no more: {error}") from error

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    # ---- sending -----------------------------------------------------------------------------------------------------

    def oldest(
        self, *, messages: int = wire.MAX_BATCH_ENVELOPES, size: int = wire.MAX_BATCH_BYTES - 1024
    ) -> list[Waiting]:
        """The oldest waiting messages, at most `messages` and `size` bytes, at least one if any waits."""
        with self.lock:
            found = self._connection.execute(
                "SELECT id, stream, sequence, data FROM outbox ORDER BY id LIMIT ?", (messages,)
            ).fetchall()
        taken: list[Waiting] = []
        total = 0
        for entry in found:
            total += len(entry[3]) + 8
            if taken and total > size:
                break
            taken.append(Waiting(*entry))
        return taken

    def settle(self, sent: Sequence[Waiting], acks: Sequence[wire.Ack]) -> tuple[int, list[wire.Ack]]:
        """Apply the portal's answers; returns how many messages left the backlog, and the refusals among them.

        Even forgetting needs room: on a full disk it comes from the reserve. StoreFull, with nothing changed, without one."""
        try:
            return self._settle(sent, acks)
        except StoreFull:
            with self.lock:
                if not self._reserve.held:
                    raise
                self._reserve.give()
                self._checkpoint()
            return self._settle(sent, acks)

    def _settle(self, sent: Sequence[Waiting], acks: Sequence[wire.Ack]) -> tuple[int, list[wire.Ack]]:
        answers = {(ack.stream, ack.sequence): ack for ack in acks}
        gone: list[Waiting] = []
        refusals: list[wire.Ack] = []
        with self.lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for message in sent:
                    ack = answers.get((message.stream, message.sequence))
                    if ack is None or ack.status == "retry":
                        continue
                    if ack.status == "refused":
                        self._set_aside(message, ack)
                        refusals.append(ack)
                    self._connection.execute("DELETE FROM outbox WHERE id = ?", (message.id,))
                    gone.append(message)
                self._connection.execute("COMMIT")
            except BaseException as error:
                self._give_up(error)
                raise
            self.backlog_messages -= len(gone)
            self.backlog_bytes -= sum(len(message.data) for message in gone)
            self.refused_messages += len(refusals)
        return len(gone), refusals

    def _set_aside(self, message: Waiting, ack: wire.Ack) -> None:
        self._connection.execute(
            "INSERT INTO refused (stream, sequence, wall_ms, code, message, data) VALUES (?, ?, ?, ?, ?, ?)",
            (message.stream, message.sequence, wall_ms(), ack.code, ack.message, message.data),
        )
        self._connection.execute("DELETE FROM refused WHERE id <= (SELECT max(id) FROM refused) - ?", (MAX_REFUSED,))

    def oldest_ms(self) -> int | None:
        """Wall time at which the oldest waiting message was made."""
        with self.lock:
            row = self._connection.execute("SELECT wall_ms FROM outbox ORDER BY id LIMIT 1").fetchone()
        return row[0] if row else None

    # ---- memory of the agent -----------------------------------------------------------------------------------------

    def cursor(self, source: str) -> Cursor:
        with self.lock:
            row = self._connection.execute("SELECT * FROM cursor WHERE source = ?", (source,)).fetchone()
        return Cursor(*row) if row else Cursor(source)

    def installed(self) -> list[Installed]:
        with self.lock:
            return [Installed(*row) for row in self._connection.execute("SELECT * FROM installation").fetchall()]

    def keep(self, key: str, value: bytes) -> None:
        """Remember a value for good."""
        with self.transaction() as step:
            step.connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, value))

    def kept(self, key: str) -> bytes | None:
        with self.lock:
            row = self._connection.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def raise_sequences(self, sequences: dict[str, int]) -> None:
        """Go on above sequences that the portal has taken already (enrolment of an agent that lost its disk)."""
        with self.transaction() as step:
            step.connection.executemany(
                "INSERT INTO sequence VALUES (?, ?) ON CONFLICT (stream) DO UPDATE SET last = max(last, excluded.last)",
                list(sequences.items()),
            )

    def close(self) -> None:
        with self.lock:
            self._connection.close()
