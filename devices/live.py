"""The live view of a device: newest values with unit, range, age in plant time, and short series."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db.models import Q
from django.utils.translation import gettext as _

from devices.choices import ChannelRole, DeviceKind
from devices.domain import ring
from devices.domain.sparkline import sparkline
from devices.models import Channel, Device, SignalWindow
from devices.plant_time import plant_now
from devices.services.live import plant_moment
from portal.core import plots

# A value older than this many sampling periods of its channel is stale (plant time).
STALE_PERIODS = 3.0


@dataclass(frozen=True)
class Signal:
    """One channel, or a column of the stream that nobody described (then ``channel`` is None).

    ``state``: ``ok``, ``low``, ``high``, ``missing`` (the newest row has none), ``stale``, ``none`` (never measured here),
    ``undescribed`` (no range to judge by), ``predicted`` (a model's output).
    """

    code: str
    channel: Channel | None
    value: float | None
    plant_at: datetime | None
    age: timedelta | None
    state: str
    path: str

    @property
    def name(self) -> str:
        return self.channel.name if self.channel else self.code

    @property
    def unit(self) -> str:
        return self.channel.unit if self.channel else ""


@dataclass(frozen=True)
class LiveView:
    device: Device
    source: Device | None
    ring: ring.Ring
    received_at: datetime | None
    plant_at: datetime | None
    age: timedelta | None
    etag: str
    signals: list[Signal] = field(default_factory=list)
    models: list[Signal] = field(default_factory=list)
    channels: list[Channel] = field(default_factory=list)


def window_of(device: Device, *, packed: bool = True) -> SignalWindow | None:
    """The device's own window, else that of the gateway that reads it (its rows carry the device's channels). Without
    ``packed`` the arrays are left in the database: enough for an ETag."""
    ids = [device.pk] + ([device.gateway_id] if device.gateway_id else [])
    rows = SignalWindow.objects.filter(pk__in=ids)
    if not packed:
        rows = rows.only("device_id", "changes")
    found: dict[Any, SignalWindow] = {window.device_id: window for window in rows}
    return found.get(device.pk) or found.get(device.gateway_id)


def channels_of(device: Device) -> list[Channel]:
    """Channels shown for a device: its own; for a gateway also those of what it reads, and of devices at the same machine (a
    second gateway reads the same PLC). A code named twice is shown once, the nearest first."""
    near = Q(device=device) | Q(device__gateway=device)
    if device.asset_id:
        near |= Q(device__asset_id=device.asset_id)
    rows = Channel.objects.filter(near).select_related("device").order_by("code", "id")
    best: dict[str, Channel] = {}
    for channel in rows:
        held = best.get(channel.code)
        if held is None or _distance(channel, device) < _distance(held, device):
            best[channel.code] = channel
    own = [channel for channel in best.values() if channel.device_id == device.pk]
    return list(best.values()) if device.device_type.kind == DeviceKind.GATEWAY else own


def _distance(channel: Channel, device: Device) -> int:
    if channel.device_id == device.pk:
        return 0
    return 1 if channel.device.gateway_id == device.pk else 2


def etag_of(device: Device) -> str:
    """The ETag of ``live_view(device)``, for one small query."""
    return _etag(window_of(device, packed=False), device)


def _etag(window: SignalWindow | None, device: Device) -> str:
    return f'"{window.device_id.hex[-8:]}-{window.changes}-{device.version}"' if window else f'"none-{device.version}"'


def live_view(device: Device, *, points: int = 60) -> LiveView:
    """Newest values of a device's channels. Three queries, plus the plant clock when it was not loaded with the site."""
    window = window_of(device)
    etag = _etag(window, device)
    channels = channels_of(device)
    if window is None:
        signals = [Signal(c.code, c, None, None, None, "none", "") for c in channels if c.role == ChannelRole.SIGNAL]
        return LiveView(device, None, ring.empty(), None, None, None, etag, signals, channels=channels)
    held = ring.unpack(window.columns, window.models_run, window.times, window.values, window.predicted)
    source = device if window.device_id == device.pk else device.gateway
    now = plant_now(device.site)
    newest = plant_moment(int(held.times[-1])) if len(held) else None
    described = {channel.code: channel for channel in channels}
    codes = [c.code for c in channels if c.role == ChannelRole.SIGNAL or c.code in held.columns]
    if source is device:
        codes += [code for code in held.columns if code not in described]
    signals = [_signal(code, described.get(code), held, now, points) for code in codes]
    predictions = [_prediction(name, held, now, points) for name in held.models]
    return LiveView(
        device=device,
        source=source,
        ring=held,
        received_at=window.received_at,
        plant_at=newest,
        age=max(timedelta(0), now - newest) if newest else None,
        etag=etag,
        signals=signals,
        models=predictions,
        channels=channels,
    )


def _signal(code: str, channel: Channel | None, held: ring.Ring, now: datetime, points: int) -> Signal:
    series = held.column(code)
    last = _last(series, held.times)
    if last is None:
        return Signal(code, channel, None, None, None, "none" if series is None else "missing", "")
    value, moment = last
    age = max(timedelta(0), now - moment)
    state = "ok" if channel and (channel.range_low is not None or channel.range_high is not None) else "undescribed"
    if series is not None and not np.isfinite(series[-1]):
        state = "missing"
    elif channel and age.total_seconds() > STALE_PERIODS * channel.period_s + 60:
        state = "stale"
    elif channel and channel.range_low is not None and value < channel.range_low:
        state = "low"
    elif channel and channel.range_high is not None and value > channel.range_high:
        state = "high"
    return Signal(code, channel, value, moment, age, state, sparkline(_plain(series), points))


def _prediction(name: str, held: ring.Ring, now: datetime, points: int) -> Signal:
    series = held.model(name)
    last = _last(series, held.times)
    if last is None:
        return Signal(name, None, None, None, None, "predicted", "")
    return Signal(name, None, *last, max(timedelta(0), now - last[1]), "predicted", sparkline(_plain(series), points))


def _last(series: Any, times: Any) -> tuple[float, datetime] | None:
    if series is None:
        return None
    known = np.flatnonzero(np.isfinite(series))
    return (float(series[known[-1]]), plant_moment(int(times[known[-1]]))) if len(known) else None


def _plain(series: Any) -> list[float | None]:
    """JSON has no NaN: missing is None."""
    return [None if value != value or abs(value) == float("inf") else value for value in series.tolist()]


def signal_figure(view: LiveView, code: str) -> dict[str, Any]:
    """One channel (or model) over plant time as a Plotly figure, with its plausible range as lines where it lies in view."""
    series = view.ring.column(code)
    is_model = series is None
    if is_model:
        series = view.ring.model(code)
    if series is None or not len(view.ring):
        return {"data": [], "layout": {}, "reason": _("No rows of this channel have arrived yet.")}
    channel = next((s.channel for s in view.signals if s.code == code), None)
    times = [plant_moment(int(ms)).strftime("%Y-%m-%d %H:%M:%S") for ms in view.ring.times]
    unit = channel.unit if channel else ""
    finite = series[np.isfinite(series)]
    shapes = [_limit_line(limit) for limit in _limits_in_view(channel, finite)] if len(finite) else []
    colour = "var(--pg-predicted)" if is_model else "var(--pg-measured)"
    trace = plots.line(times, _plain(series), code, connectgaps=False)
    trace["line"]["color"] = colour
    return plots.figure(
        [trace], x_title=_("plant time"), y_title=f"{code} ({unit})" if unit else code, x_type="date", shapes=shapes
    )


def _limits_in_view(channel: Channel | None, finite: Any) -> list[float]:
    """The plausible range's ends that lie near the values: a far one would flatten the line."""
    if channel is None:
        return []
    low, high = float(finite.min()), float(finite.max())
    span = (high - low) or 1.0
    ends = (channel.range_low, channel.range_high)
    return [end for end in ends if end is not None and low - span <= end <= high + span]


def _limit_line(at: float) -> dict[str, Any]:
    line = {"color": "var(--pg-limit)", "dash": "dash", "width": 1}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": at, "y1": at, "line": line}


def signals_json(view: LiveView, rows: int) -> dict[str, Any]:
    """The live view as data: newest value per channel, and the newest ``rows`` rows of the window."""
    held = view.ring
    return {
        "device": view.device.pk,
        "source": view.source.pk if view.source else None,
        "received_at": view.received_at,
        "plant_at": view.plant_at,
        "age_s": view.age.total_seconds() if view.age is not None else None,
        "signals": [
            {
                "code": s.code,
                "name": s.name,
                "unit": s.unit,
                "value": s.value,
                "plant_at": s.plant_at,
                "age_s": s.age.total_seconds() if s.age is not None else None,
                "state": s.state,
                "range_low": s.channel.range_low if s.channel else None,
                "range_high": s.channel.range_high if s.channel else None,
            }
            for s in view.signals
        ],
        "columns": list(held.columns),
        "plant_ms": held.times[-rows:].tolist() if rows else [],
        "rows": [_plain(row) for row in held.values[-rows:]] if rows else [],
        "predictions": {
            name: _plain(held.predicted[-rows:, at]) if rows else [] for at, name in enumerate(held.models)
        },
    }
