"""One valid row of every model, on either side of the fence: ``ours`` (cast.home, cast.ours) and ``theirs`` (cast.away, cast.theirs).

Required fields are filled by their type, related rows are made on the same side; ``_GIVEN`` holds what a type cannot tell.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from types import SimpleNamespace
from typing import Any

from django.apps import apps
from django.db import models

from portal.core.access import grant_role
from portal.core.clock import wall_now
from tests.factories import make_site, make_use_case

ROLES = (
    "plant_manager",
    "ot_engineer",
    "data_scientist",
    "edge_architect",
    "data_steward",
    "safety_officer",
    "coe_lead",
    "executive",
    "integrator",
)
APPS = ("core", "devices", "usecases", "governance", "edge_bridge", "coe", "marketplace")
_number = count(1)


def make_cast() -> SimpleNamespace:
    """Two sites and two use cases; people who may see the first pair, and a stranger who may see neither."""
    from portal.core.models import User

    home, away = make_site("home"), make_site("away")
    ours, theirs = make_use_case("ours"), make_use_case("theirs")
    people: dict[str, Any] = {}
    for key in ROLES:
        person = User.objects.create(email=f"{key.replace('_', '-')}@test.example", name=key)
        grant_role(person, key, home, ours)
        people[key] = person
    stranger = User.objects.create(email="stranger@test.example", name="stranger")
    grant_role(stranger, "ot_engineer", away)
    grant_role(stranger, "data_scientist", theirs)
    return SimpleNamespace(home=home, away=away, ours=ours, theirs=theirs, stranger=stranger, **people)


def entity_models() -> list[Any]:
    """Every model that says who may see it."""
    return [model for model in apps.get_models() if hasattr(model, "access") and model._meta.app_label in APPS]


def spare() -> Any:
    """A use case on neither side."""
    return apps.get_model("usecases.UseCase").objects.filter(code="spare").first() or make_use_case("spare")


def _guest() -> Any:
    from portal.core.models import User

    return User.objects.create(email=f"guest-{next(_number)}@test.example", name="guest")


def _given(world: World, label: str) -> dict[str, Any]:
    now = wall_now()
    start = datetime(2013, 1, 1, tzinfo=UTC)
    later = now + timedelta(days=90)
    if label == "core.ApiToken":
        return {"user": world.person, "scopes": ["read"]}
    if label == "core.Job":
        return {
            "created_by": world.person,
            "task": "core.prune",
            "site_ref": world.site.pk,
            "use_case_ref": world.use_case.pk,
        }
    if label == "core.Notification":
        return {"user": world.person}
    if label in {"core.AuditEntry", "core.Deletion"}:
        own = {"actor": world.person, "actor_label": "somebody"} if label == "core.AuditEntry" else {}
        return own | {"site_ref": world.site.pk, "use_case_ref": world.use_case.pk, "object_type": "devices.Site"}
    return {
        "devices.Device": {"state": "active"},
        "devices.Channel": {"code": f"CH{next(_number)}", "unit": "Cel"},
        "devices.Enrolment": {"expires_at": later},
        "devices.Credential": {"state": "active"},
        "devices.Location": {"level": "area"},
        "usecases.Waiver": {"expires_at": later},
        "usecases.Criterion": {"weight": 1.0, "rubric": [""] * 6},
        "usecases.ScoringRound": {"facilitator": world.person},
        "usecases.Rating": {"rater": world.person, "value": 3.0},
        "usecases.Judgement": {"rater": world.person, "value": 3.0},
        "usecases.Seat": {"person": _guest()} if label == "usecases.Seat" else {},
        "usecases.Scenario": {"owner": world.person, "budget": [1000.0] * 4},
        "usecases.Exclusion": {"second": spare()} if label == "usecases.Exclusion" else {},
        "usecases.GateComment": {"author": world.person, "text": "Why is this red?"},
        "usecases.EffortNeed": {"role": "ot_engineer"},
        "usecases.ExchangeRate": {"base": "USD", "quote": "EUR", "rate": Decimal("0.9")},
        "usecases.Outcome": {"kpi": "Hours above the limit", "unit": "h", "direction": "down"},
        "usecases.KpiReading": {
            "period_from": start,
            "period_to": start + timedelta(days=31),
            "value": 1.0,
            "exposure": 700.0,
        },
        "governance.Model": {"features": ["AT", "AP"], "kind": "soft_sensor", "recipe": "gradient_boosting"},
        "governance.ModelVersion": {"manifest": "{}"},
        "governance.Slo": {"target": 0.99},
        "governance.Alert": {"value": 2.0, "limit": 1.0},
        "coe.Appointment": {"user": world.person, "valid_from": now - timedelta(days=1), "site": world.site},
        "coe.Deputy": {
            "person": world.person,
            "deputy": _guest(),
            "valid_from": now - timedelta(days=1),
            "valid_until": later,
        }
        if label == "coe.Deputy"
        else {},
        "coe.Certificate": {"user": world.person, "issued_at": now, "valid_until": later},
        "coe.QuizAttempt": {"user": world.person, "share": 1.0, "passed": True},
        "coe.Question": {"choices": ["yes", "no"], "right": 0, "text": "Is this so?"},
        "coe.Retrospective": {"month": date(2013, 1, 1)},
        "coe.RoiReview": {"quarter": date(2013, 1, 1)},
        "coe.Action": {"owner": world.person, "due_on": later.date()},
        "marketplace.Subscription": {"owner": world.person},
        "marketplace.Plan": {"monthly_quota": 1000},
        "marketplace.Invoice": {"period": "2013-01", "currency": "EUR"},
        "marketplace.InvoiceLine": {"amount_minor": 100},
    }.get(label, {})


class World:
    """One side of the fence. ``one(model)`` gives the side's row of a model, making it and what it hangs on at first use."""

    def __init__(self, site: Any, use_case: Any, person: Any) -> None:
        self.site, self.use_case, self.person = site, use_case, person
        self.rows: dict[str, Any] = {"devices.Site": site, "usecases.UseCase": use_case, "core.User": person}

    def one(self, model: Any) -> Any:
        if isinstance(model, str):
            model = apps.get_model(model)
        label = model._meta.label
        if label not in self.rows:
            self.rows[label] = self.another(model)
        return self.rows[label]

    def another(self, model: Any, **extra: Any) -> Any:
        """A further row of the model."""
        if isinstance(model, str):
            model = apps.get_model(model)
        label = model._meta.label
        if label == "usecases.Gate":
            return self._gate()
        if label == "usecases.GateReview":
            from usecases.services import review_open

            return review_open(actor=self.person, gate=self.one("usecases.Gate"))
        values = self.values(model) | extra
        obj = model(**values)
        if label == "devices.Location":
            obj.clean()
        obj.save()
        self._relate(obj)
        return obj

    def _gate(self) -> Any:
        """Gate 1 of the use case, made with its fellows as a new use case makes them."""
        from usecases.services import gates_create

        return gates_create(use_case=self.use_case)[0]

    def shares(self, other: World, label: str) -> None:
        """Rows that exist once for all."""
        self.rows[label] = other.one(label)

    def fill(self) -> World:
        """A row of every model, so that later requests make none."""
        from devices.models import PlantClock

        for model in entity_models():
            self.one(model)
        PlantClock.objects.create(site=self.site, plant_now=wall_now(), wall_at=wall_now(), rows_total=1000)
        return self

    def values(self, model: Any) -> dict[str, Any]:
        """Values of the fields that have no default; unique ones differ from call to call."""
        values = _given(self, model._meta.label)
        for field in model._meta.concrete_fields:
            if field.name in values or field.attname in values or _optional(field):
                continue
            values[field.name] = self._value(field)
        return values

    def _value(self, field: Any) -> Any:
        number = next(_number)
        if field.is_relation:
            return self.one(field.related_model)
        if field.choices:
            return field.flatchoices[0][0]
        name = f"{field.name.replace('_', '-')}-{number}"
        longest = getattr(field, "max_length", None) or 200
        if isinstance(field, models.BooleanField):
            return False
        if isinstance(field, models.DateTimeField):
            return wall_now() + timedelta(seconds=number)
        if isinstance(field, models.DateField):
            return date(2013, 1, 1) + timedelta(days=number)
        if isinstance(field, models.DecimalField):
            return Decimal(number)
        if isinstance(field, (models.IntegerField, models.FloatField)):
            return number
        if isinstance(field, models.UUIDField):
            from portal.core.ids import uuid7

            return uuid7()
        if isinstance(field, models.JSONField):
            return {}
        if isinstance(field, models.BinaryField):
            return b""
        if field.name.endswith(("sha256", "_hash")):
            return f"{number:064x}"
        return name[-longest:].strip("-")

    def _relate(self, obj: Any) -> None:
        if obj._meta.label == "usecases.ScoringRound":
            obj.use_cases.set([self.use_case])
            obj.raters.set([self.person])
        if obj._meta.label == "usecases.Exclusion":
            obj.scenario.candidates.add(obj.first, obj.second)
        if obj._meta.label == "usecases.Scenario":
            obj.candidates.set([self.use_case])
        if obj._meta.label == "usecases.Adoption":
            from usecases.services import gates_create

            gates_create(use_case=obj.use_case, adoption=obj)


def _optional(field: Any) -> bool:
    return field.has_default() or field.null or field.primary_key or (field.blank and field.empty_strings_allowed)


def worlds(cast: Any) -> tuple[World, World]:
    """Our side, whose person is the CoE lead, and theirs, whose person is the stranger; made once per cast."""
    if not hasattr(cast, "worlds"):
        cast.worlds = World(cast.home, cast.ours, cast.coe_lead), World(cast.away, cast.theirs, cast.stranger)
    return cast.worlds


def make_one(model: Any, cast: Any, *, theirs: bool = False) -> Any:
    """A valid row of any model inside cast.home and cast.ours, or on the other side; the same row when asked again."""
    return worlds(cast)[theirs].one(model)
