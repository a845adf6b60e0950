"""The data lake. Its commit point is the SQL inbox, unique on (gateway, stream, sequence); Delta tables follow by compaction.

Compaction is exactly-once: each Delta commit carries the highest inbox id of its table as an application transaction, so a worker that
died between the Delta commit and the SQL update finds on its next turn what is already there.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from django.conf import settings
from django.db import transaction

from devices.models import Device
from governance.choices import StreamKind
from governance.models import InboxMessage
from governance.rows import RowBlock, pack, unpack
from portal.core.bulk import bulk_write
from portal.core.clock import wall_now

log = structlog.get_logger(__name__)
ROW_KINDS = (StreamKind.TELEMETRY, StreamKind.INFERENCE, StreamKind.LABELS)
_COLUMNS = (
    "gateway",
    "stream",
    "sequence",
    "kind",
    "payload",
    "rows",
    "plant_from",
    "plant_to",
    "sha256",
    "received_at",
    "processed_at",
)


@dataclass(frozen=True)
class Incoming:
    """One message to store. ``digest`` is the sender's SHA-256; ``block`` None for messages that carry no rows (``payload`` then)."""

    stream: str
    sequence: int
    kind: str
    digest: bytes
    block: RowBlock | None = None
    payload: bytes = b""


@dataclass(frozen=True)
class Stored:
    """``status``: accepted, duplicate (same digest) or conflict (the sequence was taken with another digest)."""

    incoming: Incoming
    status: str


def moment(plant_ms: int) -> datetime:
    return datetime.fromtimestamp(plant_ms / 1000, tz=UTC)


@transaction.atomic
def inbox_append(*, gateway: Device, messages: Sequence[Incoming]) -> list[Stored]:
    """Store what is new, in one transaction; the answer says per message what became of it. Safe to repeat."""
    if not messages:
        return []
    streams = {m.stream for m in messages}
    known = {
        (stream, sequence): sha
        for stream, sequence, sha in InboxMessage.objects.filter(
            gateway=gateway, stream__in=streams, sequence__in={m.sequence for m in messages}
        ).values_list("stream", "sequence", "sha256")
    }
    now = wall_now()
    fresh: list[tuple[Any, ...]] = []
    answers: list[Stored] = []
    for message in messages:
        sha = message.digest.hex()
        before = known.get((message.stream, message.sequence))
        if before is not None:
            answers.append(Stored(message, "duplicate" if before == sha else "conflict"))
            continue
        known[(message.stream, message.sequence)] = sha
        block = message.block
        times = block.times if block is not None else np.empty(0, dtype=np.int64)
        fresh.append(
            (
                gateway.pk,
                message.stream,
                message.sequence,
                message.kind,
                pack(block) if block is not None else message.payload,
                len(times),
                moment(int(times.min())) if len(times) else None,
                moment(int(times.max())) if len(times) else None,
                sha,
                now,
                None if message.kind in ROW_KINDS else now,
            )
        )
        answers.append(Stored(message, "accepted"))
    if fresh:
        bulk_write(InboxMessage, _COLUMNS, fresh)
    return answers


def sequences(gateway: Device) -> dict[str, int]:
    """The highest sequence taken per stream, for an agent that lost its disk."""
    from django.db.models import Max

    rows = InboxMessage.objects.filter(gateway=gateway).values("stream").annotate(top=Max("sequence"))
    return {row["stream"]: row["top"] for row in rows}


def digest_of(block: RowBlock) -> bytes:
    return hashlib.sha256(pack(block)).digest()


# ---- Delta tables ---------------------------------------------------------------------------------------------------


def table_name(site_code: str, source: str, kind: str) -> str:
    return "/".join(re.sub(r"[^a-z0-9_-]", "_", part.lower()) for part in (site_code, source, kind))


def table_uri(name: str) -> str:
    base = settings.LAKE_URI
    return f"{base.rstrip('/')}/{name}" if "://" in base else str(Path(base) / name)


def _arrow(messages: Iterable[InboxMessage]) -> Any:
    """One Arrow table of a table's messages: inbox, gateway, run, row, plant_ms, model_version, then the value columns."""
    import pyarrow as pa

    parts: dict[str, list[Any]] = defaultdict(list)
    names: dict[str, None] = {}
    blocks = [(message, unpack(message.payload)) for message in messages]
    for _message, block in blocks:
        names |= dict.fromkeys(block.columns)
    for message, block in blocks:
        n = len(block.rows)
        parts["inbox"].append(np.full(n, message.pk, dtype=np.int64))
        parts["run"].append(np.full(n, block.run, dtype=np.int64))
        parts["row"].append(block.rows)
        parts["plant_ms"].append(block.times)
        parts["gateway"].append([str(message.gateway_id)] * n)
        parts["model_version"].append([str(block.meta.get("model_version", ""))] * n)
        for name in names:
            parts[f"v_{name}"].append(block.column(name) if name in block.columns else np.full(n, np.nan))
    arrays = {
        name: pa.array([v for part in values for v in part])
        if name in {"gateway", "model_version"}
        else pa.array(np.concatenate(values))
        for name, values in parts.items()
    }
    return pa.table(arrays)


def compact(*, limit: int = 5000) -> int:
    """Move committed messages into Delta tables. Returns how many messages were moved.

    A table that cannot be written now (disk full, storage away) keeps its messages in the inbox for the next turn; the others go on.
    """
    from deltalake.exceptions import DeltaError

    pending = list(
        InboxMessage.objects.filter(compacted_in=None, kind__in=ROW_KINDS, processed_at__isnull=False)
        .select_related("gateway__site")
        .order_by("id")[:limit]
    )
    by_table: dict[str, list[InboxMessage]] = defaultdict(list)
    for message in pending:
        source = message.stream.split("/")[0]
        by_table[table_name(message.gateway.site.code, source, message.kind)].append(message)
    moved = 0
    for name, messages in by_table.items():
        try:
            moved += _compact_table(name, messages)
        except (OSError, DeltaError) as error:
            log.warning("lake.not_written", table=name, messages=len(messages), error=str(error)[:300])
    return moved


def _compact_table(name: str, messages: list[InboxMessage]) -> int:
    from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

    uri = table_uri(name)
    app = f"inbox:{name}"
    done = -1
    exists = DeltaTable.is_deltatable(uri)
    if exists:
        found = DeltaTable(uri).transaction_version(app)
        done = -1 if found is None else found
    fresh = [m for m in messages if m.pk > done]
    if fresh:
        top = max(m.pk for m in fresh)
        write_deltalake(
            uri,
            _arrow(fresh),
            mode="append",
            schema_mode="merge" if exists else None,
            commit_properties=CommitProperties(app_transactions=[Transaction(app, top)]),
        )
    version = DeltaTable(uri).version()
    InboxMessage.objects.filter(pk__in=[m.pk for m in messages]).update(compacted_in=version)
    return len(messages)


def read_table(site_code: str, source: str, kind: str, *, since_inbox: int = -1) -> dict[str, np.ndarray] | None:
    """All rows of a table as arrays by column, oldest first; None when nothing was compacted yet."""
    from deltalake import DeltaTable

    uri = table_uri(table_name(site_code, source, kind))
    if not DeltaTable.is_deltatable(uri):
        return None
    table = DeltaTable(uri).to_pyarrow_table(filters=[("inbox", ">", since_inbox)] if since_inbox >= 0 else None)
    return {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names}


def health() -> tuple[bool, str]:
    """Whether the lake can be written, and where it is."""
    base = settings.LAKE_URI
    if "://" in base:
        return True, base
    path = Path(base)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".probe"
        try:
            # A full disk still takes an empty file.
            probe.write_bytes(b"\0" * 4096)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        return False, f"{base}: {error.strerror}"
    return True, base
