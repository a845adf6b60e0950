"""A portal with one business case that two people may change, on a database of its own: ``python -m tests.browser.business_server HOME PORT``.

Writes HOME/business.json (addresses, and a session for each of the two) and serves until it is stopped.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import date
from pathlib import Path
from typing import Any

NAMES = {"coe_lead": "Lea Winter", "data_scientist": "Paul Roth"}


def seed() -> dict[str, Any]:
    from django.conf import settings
    from django.test import Client

    from tests.objects import make_cast
    from tests.usecases.conftest import LINES
    from usecases import services

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
    case = services.business_case_create(
        actor=cast.data_scientist,
        use_case=cast.ours,
        start=date(2026, 1, 1),
        assumption="Agreed with nobody yet.",
        lines=LINES,
    )
    return {"cookie": settings.SESSION_COOKIE_NAME, "sessions": sessions, "case": case.get_absolute_url()}


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
    draft = home / "business.draft"
    draft.write_text(json.dumps(told), encoding="utf-8")
    draft.rename(home / "business.json")
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
