"""Small makers of valid records. Each takes what the test cares about and fills in the rest."""

from __future__ import annotations

from itertools import count
from typing import Any

from portal.core.clock import wall_now

_next = count(1)


def make_user(email: str = "", **extra: Any) -> Any:
    from portal.core.models import User

    return User.objects.create(email=email or f"person{next(_next)}@test.example", **extra)


def make_site(code: str = "", **extra: Any) -> Any:
    from devices.models import Site

    code = code or f"site-{next(_next)}"
    return Site.objects.create(code=code, name=extra.pop("name", code.title()), **extra)


def make_location(site: Any, level: str = "cell", parent: Any = None, **extra: Any) -> Any:
    from devices.models import Location

    place = Location(
        site=site,
        level=level,
        parent=parent,
        code=extra.pop("code", f"{level}-{next(_next)}"),
        name=extra.pop("name", level.title()),
        **extra,
    )
    place.full_clean()
    place.save()
    return place


def make_device_type(kind: str = "gateway", **extra: Any) -> Any:
    from devices.models import DeviceType

    defaults = {
        "protocol": "https" if kind == "gateway" else "modbus_tcp",
        "memory_kb": 65_536 if kind == "gateway" else None,
        "latency_budget_us": 5_000,
    }
    return DeviceType.objects.create(name=extra.pop("name", f"{kind} {next(_next)}"), kind=kind, **(defaults | extra))


def make_device(site: Any, kind: str = "gateway", **extra: Any) -> Any:
    from devices.models import Device

    return Device.objects.create(
        site=site,
        device_type=extra.pop("device_type", None) or make_device_type(kind),
        code=extra.pop("code", f"device-{next(_next)}"),
        name=extra.pop("name", f"Device {next(_next)}"),
        state=extra.pop("state", "active"),
        **extra,
    )


def make_channel(device: Any, code: str = "", **extra: Any) -> Any:
    from devices.models import Channel

    code = code or f"CH{next(_next)}"
    return Channel.objects.create(
        device=device, code=code, name=extra.pop("name", code), unit=extra.pop("unit", "Cel"), **extra
    )


def make_use_case(code: str = "", **extra: Any) -> Any:
    from usecases.models import UseCase

    code = code or f"case-{next(_next)}"
    return UseCase.objects.create(code=code, title=extra.pop("title", code.title()), **extra)


def make_adoption(use_case: Any, site: Any, **extra: Any) -> Any:
    from usecases.models import Adoption

    return Adoption.objects.create(use_case=use_case, site=site, **extra)


def make_model(use_case: Any, **extra: Any) -> Any:
    from governance.models import Model

    number = next(_next)
    return Model.objects.create(
        use_case=use_case,
        code=extra.pop("code", f"model-{number}"),
        name=extra.pop("name", f"Model {number}"),
        kind=extra.pop("kind", "soft_sensor"),
        features=extra.pop("features", ["AT", "AP"]),
        target="NOX",
        unit="mg/m3",
        recipe=extra.pop("recipe", "gradient_boosting"),
        **extra,
    )


def make_version(model: Any, number: int = 1, **extra: Any) -> Any:
    from governance.models import ModelVersion

    return ModelVersion.objects.create(
        model=model,
        number=number,
        sha256=extra.pop("sha256", f"{next(_next):064x}"),
        size_bytes=1000,
        manifest="{}",
        trained_at=extra.pop("trained_at", wall_now()),
        **extra,
    )
