"""A portal with one gate to decide, on a database of its own: ``python -m tests.browser.gate_server HOME PORT``.

Gate 3 of an adoption has two criteria whose values are read from HOME/facts.json; the AI Safety Officer is away and has named a deputy.
Writes HOME/gate.json (addresses, and a session for each person) and serves until it is stopped.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

NAMES = {
    "plant_manager": "Anna Gruber",
    "ot_engineer": "Jonas Weber",
    "data_steward": "Mira Novak",
    "safety_officer": "Tom Berger",
    "coe_lead": "Lea Winter",
    "data_scientist": "Paul Roth",
    "edge_architect": "Ida Frank",
    "executive": "Eva Lang",
    "integrator": "Sam Fox",
}
FACTS = {"probe.drift": ("Behaves as in training", 41), "probe.lineage": ("Lineage to the sensor", 100)}


def register(home: Path) -> None:
    """A registry of its own: an app above usecases would fill it in the same way."""
    from portal.core.clock import wall_now
    from usecases import evidence

    def provider(key: str) -> Any:
        def measure(subject: evidence.Subject) -> evidence.Measurement:
            share = json.loads((home / "facts.json").read_text())[key]
            return evidence.Measurement.of(share, f"{share} of 100 windows.", measured_at=wall_now(), link="/drift/")

        return measure

    evidence._specs.clear()
    for order, (key, (label, _value)) in enumerate(FACTS.items()):
        evidence.register(
            evidence.CriterionSpec(
                key, 3, label, "In how many windows?", "%", evidence.Comparator.AT_LEAST, 90, provider(key),
                "Data scientist", max_age=timedelta(days=7), order=order,
            )
        )  # fmt: skip


def seed() -> dict[str, Any]:
    from django.conf import settings
    from django.test import Client

    from coe.services import deputy_name
    from portal.core.clock import wall_now
    from tests.coe.builders import appoint, certify
    from tests.objects import make_cast
    from usecases import services
    from usecases.models import Gate

    cast = make_cast()
    cast.ours.title = "NOx soft sensor"
    cast.ours.save()
    sessions = {}
    for role, name in NAMES.items():
        person = getattr(cast, role)
        person.name = name
        person.save()
        client = Client()
        client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
        sessions[role] = client.cookies[settings.SESSION_COOKIE_NAME].value
    for role in ("safety_officer", "data_steward"):
        appoint(getattr(cast, role), role)
        certify(getattr(cast, role), role)
    services.gates_create(use_case=cast.ours)
    adoption = services.adoption_create(actor=cast.coe_lead, use_case=cast.ours, site=cast.home)
    Gate.objects.filter(use_case=cast.ours, number=1).update(state="passed")
    Gate.objects.filter(adoption=adoption, number=2).update(state="passed")
    Gate.objects.filter(adoption=adoption, number=3).update(state="open")
    gate = Gate.objects.select_related("use_case", "adoption__site").get(adoption=adoption, number=3)
    services.gate_measure(gate=gate)
    deputy_name(
        actor=cast.safety_officer,
        deputy=cast.data_steward,
        valid_until=wall_now() + timedelta(days=10),
        reason="Two weeks of holiday.",
    )
    return {
        "cookie": settings.SESSION_COOKIE_NAME,
        "sessions": sessions,
        "gate": gate.get_absolute_url(),
        "adoption": adoption.get_absolute_url(),
    }


def main(home: Path, port: int) -> None:
    os.environ |= {"PHASEGATE_HOME": str(home), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    import django

    django.setup()
    from django.core.management import call_command
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    (home / "facts.json").write_text(json.dumps({key: value for key, (_label, value) in FACTS.items()}))
    call_command("migrate", verbosity=0)
    register(home)
    told = seed()
    server = ThreadedWSGIServer(("127.0.0.1", port), WSGIRequestHandler)
    server.set_app(get_wsgi_application())
    draft = home / "gate.draft"
    draft.write_text(json.dumps(told), encoding="utf-8")
    draft.rename(home / "gate.json")
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
