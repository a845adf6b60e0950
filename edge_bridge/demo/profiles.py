"""How the simulated PLC lays each data set out in its registers, as the channel configuration a gateway needs.

Every signal is an int32 scaled by a power of ten that keeps the set's decimals exactly (raw / divisor is the very
double in the file), except two that need float64. Ranges are the plausible ones of the sensor, wider than the data.
"""

from __future__ import annotations

from edge_bridge import wire
from edge_bridge.demo.replay import PROCESS_COLUMNS, TURBINE_INPUTS, ProfileName

HEAD_WORDS = 6
CODES: dict[ProfileName, int] = {"turbine": 1, "workshop": 2, "process": 3}

# name: unit, decimals (None: float64), low, high
_TURBINE: dict[str, tuple[str, int | None, float, float]] = {
    "AT": ("degC", 5, -30.0, 60.0),
    "AP": ("mbar", 2, 900.0, 1100.0),
    "AH": ("%", 3, 0.0, 105.0),
    "AFDP": ("mbar", 4, 0.0, 20.0),
    "GTEP": ("mbar", 3, 0.0, 60.0),
    "TIT": ("degC", 1, 800.0, 1200.0),
    "TAT": ("degC", 2, 400.0, 650.0),
    "TEY": ("MWh", 2, 0.0, 250.0),
    "CDP": ("mbar", 4, 0.0, 25.0),
}
_WORKSHOP: dict[str, tuple[str, int | None, float, float]] = {"temperature": ("degF", None, 0.0, 150.0)}
# Decimals of XMEAS_1..41 and XMV_1..11; XMEAS_1 has values as small as 1e-8.
_PROCESS_DECIMALS: tuple[int | None, ...] = (
    (None, 1, 1, 4, 3, 3, 1, 3, 2, 5, 3, 3, 1, 3, 3, 1, 3, 3, 3, 2)
    + (3, 3, 3, 4, 3, 4, 3, 4, 3, 3, 3, 5, 3, 4, 4, 4, 8, 5, 6, 3, 3)
    + (3, 3, 6, 3, 3, 6, 3, 3, 4, 3, 3)
)
_PROCESS_UNITS = (
    ("kscmh", "kg/h", "kg/h", "kscmh", "kscmh", "kscmh", "kPa", "%", "degC", "kscmh", "degC", "%", "kPa", "m3/h", "%")
    + ("kPa", "m3/h", "degC", "kg/h", "kW", "degC", "degC")
    + ("mol%",) * 19
    + ("%",) * 11
)
_PROCESS_HIGH = {"kg/h": 10_000.0, "kPa": 6_000.0, "kW": 1_000.0, "degC": 250.0, "%": 120.0, "mol%": 110.0}


def channels(profile: ProfileName) -> list[wire.ChannelConfig]:
    """The channels of a profile, `address` being the word offset inside a row (the first six words are number and
    time)."""
    if profile == "process":
        high = [_PROCESS_HIGH.get(unit, 100.0) for unit in _PROCESS_UNITS]
        high[PROCESS_COLUMNS.index("XMEAS_19")] = 1_000.0
        table = {
            name: (unit, decimals, -1.0, top)
            for name, unit, decimals, top in zip(PROCESS_COLUMNS, _PROCESS_UNITS, _PROCESS_DECIMALS, high, strict=True)
        }
    else:
        table = {name: _TURBINE[name] for name in TURBINE_INPUTS} if profile == "turbine" else _WORKSHOP
    found = []
    address = HEAD_WORDS
    for name, (unit, decimals, low, high_limit) in table.items():
        kind: wire.RegisterType = "float64" if decimals is None else "int32"
        found.append(
            wire.ChannelConfig(
                name=name,
                address=address,
                type=kind,
                divisor=1.0 if decimals is None else 10.0**decimals,
                unit=unit,
                low=low,
                high=high_limit,
            )
        )
        address += wire.REGISTER_WORDS[kind]
    return found


def source(
    profile: ProfileName,
    *,
    host: str = "127.0.0.1",
    port: int,
    slot: int = 0,
    controls_replay: bool = False,
    window_rows: int = 16,
    window_ms: int = 1000,
    poll_ms: int = 250,
) -> wire.SourceConfig:
    """The source configuration with which a gateway reads a demo PLC of this profile."""
    return wire.SourceConfig(
        name=profile,
        host=host,
        port=port,
        slot=slot,
        window_rows=window_rows,
        window_ms=window_ms,
        poll_ms=poll_ms,
        channels=channels(profile),
        labels=wire.LabelConfig(name="NOX", unit="mg/m3") if profile == "turbine" else None,
        controls_replay=controls_replay,
    )
