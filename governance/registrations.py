"""What governance adds to the shell: menu entries, search kinds, panels. Called once, from ``AppConfig.ready``."""

from __future__ import annotations

from portal.core import navigation, search
from portal.core.navigation import NavItem


def register_all() -> None:
    from governance import panels
    from governance.models import Check, Incident, Model, Pipeline, Slo

    navigation.register(
        NavItem("architect", "Models", "governance:models", "model", 30),
        NavItem("operate", "Trust", "governance:trust", "trust", 10),
        NavItem("operate", "Pipelines", "governance:pipelines", "pipeline", 20),
        NavItem("operate", "Checks", "governance:checks", "check", 30),
        NavItem("operate", "Drift", "governance:drift", "drift", 40),
        NavItem("operate", "SLOs", "governance:slos", "slo", 50),
        NavItem("operate", "Incidents", "governance:incidents", "incident", 60),
    )
    for key, label, model, fields, url_name, icon, order in (
        ("model", "Model", Model, ("name", "code"), "governance:model", "model", 50),
        ("pipeline", "Pipeline", Pipeline, ("name", "stream"), "governance:pipeline", "pipeline", 60),
        ("check", "Check", Check, ("name",), "governance:check", "check", 70),
        ("slo", "SLO", Slo, ("name",), "governance:slo", "slo", 70),
        ("incident", "Incident", Incident, ("title", "cause"), "governance:incident", "incident", 40),
    ):
        search.register_model(
            key=key, label=label, model=model, fields=fields, url_name=url_name, icon=icon, order=order
        )
    panels.register_all()
