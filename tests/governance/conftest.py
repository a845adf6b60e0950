"""A plant that has lived through decay and repair, made once a module by the real code and taken back at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(scope="module")
def plant(django_db_setup: Any, django_db_blocker: Any) -> Any:
    """Site, people, and a scene after one repaired incident and one batch out of range; ``stranger`` sees nothing of it."""
    from django.db import transaction

    from governance.frame import forget_frames
    from portal.core.access import grant_role
    from portal.core.models import User
    from tests.factories import make_site, make_use_case
    from tests.governance import builders

    with django_db_blocker.unblock(), transaction.atomic():
        home, away = make_site("hall"), make_site("elsewhere")
        ours = make_use_case("nox")
        people = {}
        for key in ("ot_engineer", "data_scientist", "safety_officer", "plant_manager", "executive"):
            people[key] = User.objects.create(email=f"{key.replace('_', '-')}@plant.example", name=key)
            grant_role(people[key], key, home, ours)
        stranger = User.objects.create(email="stranger@plant.example", name="stranger")
        grant_role(stranger, "ot_engineer", away)
        scene = builders.make_scene(home, ours, owners=(people["ot_engineer"], people["data_scientist"]))
        with builders.stand_ins(scene):
            builders.commission(scene, people["safety_officer"])
            builders.decay_and_repair(scene)
            scene.ingest(builders.CHUNK, decayed=True, knows=True, broken=True)
            yield SimpleNamespace(scene=scene, home=home, away=away, ours=ours, stranger=stranger, **people)
        transaction.set_rollback(True)
        forget_frames()


@pytest.fixture
def hall(db: Any) -> Any:
    """The same plant before anybody set a model up: site, devices, channels, adoption, people. ``scene`` feeds rows to what a test sets up."""
    from governance.frame import forget_frames
    from portal.core.access import grant_role
    from portal.core.models import User
    from tests.factories import make_site, make_use_case
    from tests.governance import builders

    home, ours = make_site("hall"), make_use_case("nox")
    people = {}
    for key in ("ot_engineer", "data_scientist", "data_steward", "safety_officer", "executive", "integrator"):
        people[key] = User.objects.create(email=f"{key.replace('_', '-')}@plant.example", name=key)
        grant_role(people[key], key, home, ours)
    stranger = User.objects.create(email="stranger@plant.example", name="stranger")
    grant_role(stranger, "ot_engineer", make_site("elsewhere"))
    scene = builders.make_scene(home, ours)
    for slo in scene.slos.values():
        slo.delete()
    with builders.stand_ins(scene):
        yield SimpleNamespace(scene=scene, home=home, ours=ours, stranger=stranger, **people)
    forget_frames()


@pytest.fixture
def bare(hall: Any) -> Any:
    """``hall`` without its model and pipeline."""
    hall.scene.pipeline.delete()
    hall.scene.model.delete()
    return hall
