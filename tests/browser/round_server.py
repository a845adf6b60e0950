"""A portal with three people, two scoring rounds and a closed one, on a database of its own: ``python -m tests.browser.round_server HOME PORT``.

Writes HOME/workshop.json (addresses, and a session for each person) and serves until it is stopped.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

NAMES = {"plant_manager": "Petra Malik", "ot_engineer": "Omar Tahir", "coe_lead": "Lena Costa"}
LEVELS = ["Nothing", "A little", "Half of it", "Most of it", "Nearly all", "All of it"]
ASKS = {
    "roi": "How much is a full year worth, net of cost?",
    "coverage": "Are the signals measured where the model needs them?",
    "network": "Can the data leave the machine reliably?",
    "data": "Is there history, and can it be trusted?",
}


def criteria() -> Any:
    from usecases.models import CriteriaSet, Criterion

    made = CriteriaSet.objects.create(name="Standard", number=1, state="published")
    feasibility = None
    for position, (key, name, weight) in enumerate(
        (
            ("roi", "Measurable ROI", 50),
            ("feasibility", "Operational feasibility", 30),
            ("coverage", "Sensor coverage", 1),
            ("network", "Network readiness", 1),
            ("data", "Data maturity", 20),
        )
    ):
        row = Criterion.objects.create(
            criteria_set=made,
            parent=feasibility if key in {"coverage", "network"} else None,
            key=key,
            name=name,
            weight=weight,
            rubric=LEVELS,
            description=ASKS.get(key, ""),
            position=position,
        )
        feasibility = row if key == "feasibility" else feasibility
    return made


def seed() -> dict[str, Any]:
    from django.conf import settings
    from django.test import Client

    from tests.objects import ROLES, make_cast
    from usecases import services

    cast = make_cast()
    for case, title in ((cast.ours, "NOx soft sensor"), (cast.theirs, "Bearing wear")):
        case.title = title
        case.save()
    sessions = {}
    for role in ROLES:
        person = getattr(cast, role)
        person.name = NAMES.get(role, f"Robin {role.split('_')[0].title()}")
        person.save()
        if role not in NAMES:
            continue
        client = Client()
        client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
        sessions[role] = client.cookies[settings.SESSION_COOKIE_NAME].value
    cast.theirs.depends_on.add(cast.ours)
    made = criteria()
    paths = {}
    for title in ("Spring round", "Autumn round"):
        meeting = services.round_open(
            actor=cast.coe_lead,
            title=title,
            criteria_set=made,
            use_cases=[cast.ours, cast.theirs],
            seats=[(cast.plant_manager, "plant_manager"), (cast.ot_engineer, "ot_engineer")],
            weighting="pairwise",
        )
        paths[title] = meeting.get_absolute_url()
    paths["Winter round"] = closed(cast, made)
    return {"cookie": settings.SESSION_COOKIE_NAME, "sessions": sessions, "paths": paths}


def closed(cast: Any, made: Any) -> str:
    """A round with a result: the soft sensor earns more, the bearings are the easier start."""
    from usecases import services

    meeting = services.round_open(
        actor=cast.coe_lead,
        title="Winter round",
        criteria_set=made,
        use_cases=[cast.ours, cast.theirs],
        seats=[(cast.plant_manager, "plant_manager")],
    )
    leaves = {row.key: row for row in made.criteria.all()}
    for case, levels in (
        (cast.ours, {"roi": 5, "coverage": 2, "network": 2, "data": 1}),
        (cast.theirs, {"roi": 1, "coverage": 5, "network": 5, "data": 4}),
    ):
        rows = [{"use_case": case, "criterion": leaves[key], "value": float(value)} for key, value in levels.items()]
        services.ratings_put(actor=cast.plant_manager, meeting=meeting, rows=rows)
    services.round_close(actor=cast.coe_lead, meeting=meeting)
    return str(meeting.get_absolute_url())


def main(home: Path, port: int) -> None:
    os.environ |= {"PHASEGATE_HOME": str(home), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    import django

    django.setup()
    from django.core.management import call_command
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    call_command("migrate", verbosity=0)
    told = seed()
    server = ThreadedWSGIServer(("127.0.0.1", port), WSGIRequestHandler)
    server.set_app(get_wsgi_application())
    draft = home / "workshop.draft"
    draft.write_text(json.dumps(told), encoding="utf-8")
    draft.rename(home / "workshop.json")
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
