"""The ring of newest rows behind the live view: appended with every ingest batch, so an append is one read, one copy, one write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from devices.domain import ring
from devices.models import Device, PlantClock, SignalWindow
from portal.core.clock import wall_now

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@transaction.atomic
def signals_record(
    device: Device,
    columns: Sequence[str],
    plant_ms: Any,
    rows: Any,
    predictions: Mapping[str, Any] | None = None,
    received_at: datetime | None = None,
    sequence: int = 0,
) -> None:
    """Append n rows to the device's live window (the newest 400 stay).

    ``columns``: channel codes; ``plant_ms``: n plant times in milliseconds; ``rows``: n x columns, NaN or None is missing (lists
    or a NumPy array); ``predictions``: per model n values; ``sequence``: of the newest message, one that is not above the last
    is left out (it was taken before, or is late: the window is a view, not the record). Call it once per device and batch with
    the rows of all its messages. The site's plant clock follows the newest row. ValueError when lengths differ.
    """
    if not len(plant_ms):
        return
    window = SignalWindow.objects.select_for_update().filter(pk=device.pk).first()
    if window is not None and sequence and sequence <= window.last_sequence:
        return
    held = _held(window) if window is not None else ring.empty(columns)
    _write(device.pk, window, ring.append(held, columns, plant_ms, rows, predictions or {}), received_at, sequence)
    newest = plant_moment(int(plant_ms[-1]))
    # Between two reports of the gateway the rows themselves say what time it is at the plant.
    PlantClock.objects.filter(pk=device.site_id, plant_now__lt=newest).update(plant_now=newest)


@transaction.atomic
def predictions_record(
    device: Device, model: str, plant_ms: Any, values: Any, received_at: datetime | None = None
) -> None:
    """Put a model's predictions beside rows that are in the window already, matched by plant time."""
    window = SignalWindow.objects.select_for_update().filter(pk=device.pk).first()
    if window is not None and len(plant_ms):
        filled = ring.fill(_held(window), model, plant_ms, values)
        _write(device.pk, window, filled, received_at, window.last_sequence)


def plant_moment(millis: int) -> datetime:
    """Milliseconds since 1970 as an aware time; exact, also before 1970."""
    return _EPOCH + timedelta(milliseconds=millis)


def _held(window: SignalWindow) -> ring.Ring:
    return ring.unpack(window.columns, window.models_run, window.times, window.values, window.predicted)


def _write(
    device_id: UUID, window: SignalWindow | None, now: ring.Ring, received_at: datetime | None, sequence: int
) -> None:
    values = {
        "columns": list(now.columns),
        "models_run": list(now.models),
        "times": now.times.astype("<i8").tobytes(),
        "values": now.values.astype("<f8").tobytes(),
        "predicted": now.predicted.astype("<f8").tobytes(),
        "received_at": received_at or wall_now(),
        "last_sequence": max(sequence, window.last_sequence if window else 0),
        "changes": (window.changes if window else 0) + 1,
    }
    if window is None:
        SignalWindow.objects.create(device_id=device_id, **values)
    else:
        SignalWindow.objects.filter(pk=device_id).update(**values)
