"""Who may do what on every route, as data. ``test_permission_matrix`` drives each row; a route without a row fails with its name.

A rule is one of

* ``anyone``          no sign-in needed
* ``signed in``       any signed-in person
* a verb              on the addressed object, through ``Model.access`` (``view``, ``change``, ``sign`` ...)
* ``perm:<name>``     a permission of a role (see portal/core/roles.py), after the object has been seen
* ``named:<model>:<verb>``  the verb on the row of that model which the body names
* ``some:<model>:<verb>``   the verb on any row of that model
* ``by rule``         seen it must be; beyond that a rule of the business decides, with its own refusal
* ``nobody``          not there for anybody (the demo's own doors)
* ``door``            own authentication: a person's session does not open it
"""

from __future__ import annotations

from dataclasses import dataclass

from tests import permission_rows as upper

ADD_SITE = "perm:devices.add_site"
PEOPLE = "perm:core.manage_users"
_PERSON = "core.User"
ADD_USE_CASE = "perm:usecases.add_usecase"


@dataclass(frozen=True)
class Row:
    """``model``: what ``pk`` addresses. ``get`` / ``post``: the rule of reading and of writing, empty where the method is not answered."""

    model: str = ""
    get: str = ""
    post: str = ""


def page(model: str = "", get: str = "view", post: str = "") -> Row:
    return Row(model, get if model else get.replace("view", "signed in"), post)


def form(model: str, verb: str) -> Row:
    """A form on one object: the same verb to see it and to send it."""
    return Row(model, verb, verb)


def verb(model: str, rule: str) -> Row:
    return Row(model, "", rule)


_DEVICE, _SITE, _PLACE, _ASSET, _TYPE, _CHANNEL = (
    f"devices.{name}" for name in ("Device", "Site", "Location", "Asset", "DeviceType", "Channel")
)
_CASE, _OUTCOME, _ADOPTION, _ROUND, _SET, _GATE, _REVIEW = (
    f"usecases.{name}"
    for name in ("UseCase", "Outcome", "Adoption", "ScoringRound", "CriteriaSet", "Gate", "GateReview")
)
_NAMED_SITE = f"named:{_SITE}:change"
_SCENARIO = "usecases.Scenario"
# Who may change every use case of the round; its facilitator may besides.
_LEADS = f"some:{_CASE}:change"

PAGES: dict[str, Row] = {
    # portal.core
    "core:search": page(),
    "core:inbox": page(),
    "core:audit": page(),
    "core:settings": page(),
    "core:tokens": page(post="signed in"),
    "core:token-revoke": verb("core.ApiToken", "view"),
    "core:people": Row("", PEOPLE),
    "core:person-invite": Row("", PEOPLE, PEOPLE),
    "core:person": page(_PERSON),
    "core:person-edit": form(_PERSON, "change"),
    "core:person-grant": form(_PERSON, "change"),
    "core:person-revoke": verb(_PERSON, "change"),
    "core:person-link": form(_PERSON, "change"),
    "core:person-deactivate": form(_PERSON, "change"),
    "core:person-activate": verb(_PERSON, "change"),
    "core:job": page("core.Job"),
    "core:job-cancel": verb("core.Job", "cancel"),
    "core:site-switch": verb("", "signed in"),
    "core:demo-switch": verb("", "nobody"),
    # devices
    "devices:devices": page(),
    "devices:device-new": Row("", "signed in", _NAMED_SITE),
    "devices:import": Row("", f"some:{_SITE}:change", f"some:{_SITE}:change"),
    "devices:device": page(_DEVICE),
    "devices:device-edit": form(_DEVICE, "change"),
    "devices:device-delete": verb(_DEVICE, "change"),
    "devices:device-activate": verb(_DEVICE, "change"),
    "devices:device-retire": verb(_DEVICE, "change"),
    "devices:device-stop": form(_DEVICE, "stop"),
    "devices:device-release": verb(_DEVICE, "stop"),
    "devices:device-enrol": form(_DEVICE, "enrol"),
    "devices:device-live": page(_DEVICE),
    "devices:device-panels": page(_DEVICE),
    "devices:device-figure": page(_DEVICE),
    "devices:channel-new": Row("", "signed in", f"named:{_DEVICE}:change"),
    "devices:channel-edit": form(_CHANNEL, "change"),
    "devices:channel-delete": verb(_CHANNEL, "change"),
    "devices:credential-revoke": verb("devices.Credential", "revoke"),
    "devices:onboarding": page(),
    "devices:site-new": Row("", ADD_SITE, ADD_SITE),
    "devices:site": page(_SITE),
    "devices:site-edit": form(_SITE, "change"),
    "devices:site-delete": verb(_SITE, ADD_SITE),
    "devices:site-replay": form(_SITE, "operate"),
    "devices:location-new": Row("", "signed in", _NAMED_SITE),
    "devices:location": page(_PLACE),
    "devices:location-edit": form(_PLACE, "change"),
    "devices:location-delete": verb(_PLACE, "change"),
    "devices:asset-new": Row("", "signed in", f"named:{_PLACE}:change"),
    "devices:asset": page(_ASSET),
    "devices:asset-edit": form(_ASSET, "change"),
    "devices:asset-delete": verb(_ASSET, "change"),
    "devices:device-types": page(),
    "devices:device-type-new": Row("", ADD_SITE, ADD_SITE),
    "devices:device-type": page(_TYPE),
    "devices:device-type-edit": form(_TYPE, "change"),
    "devices:device-type-delete": verb(_TYPE, "change"),
    # usecases
    "usecases:use-cases": page(),
    "usecases:use-case-map": page(),
    "usecases:ranking": page(),
    "usecases:round-ranking": page(_ROUND),
    "usecases:use-case-create": Row("", ADD_USE_CASE, ADD_USE_CASE),
    "usecases:use-case": page(_CASE),
    "usecases:use-case-panels": page(_CASE),
    "usecases:use-case-edit": form(_CASE, "change"),
    "usecases:use-case-not-pursue": form(_CASE, "change"),
    "usecases:outcome-create": form(_CASE, "change"),
    "usecases:adoption-create": form(_CASE, "change"),
    "usecases:business-case": page(_CASE),
    "usecases:business-case-edit": form(_CASE, "change"),
    "usecases:business-case-print": page(_CASE),
    "usecases:import": Row("", f"some:{_CASE}:change", f"some:{_CASE}:change"),
    "usecases:exchange-rates": page(),
    "usecases:exchange-rate-create": Row("", ADD_USE_CASE, ADD_USE_CASE),
    "usecases:exchange-rate-edit": form("usecases.ExchangeRate", "change"),
    "usecases:exchange-rate-delete": form("usecases.ExchangeRate", "change"),
    "usecases:outcome": page(_OUTCOME),
    "usecases:outcome-edit": form(_OUTCOME, "change"),
    "usecases:outcome-baseline": form(_OUTCOME, "change"),
    "usecases:reading-create": form(_OUTCOME, "change"),
    "usecases:reading-edit": form("usecases.KpiReading", "change"),
    "usecases:reading-delete": form("usecases.KpiReading", "change"),
    "usecases:adoptions": page(),
    "usecases:adoption": page(_ADOPTION),
    "usecases:adoption-panels": page(_ADOPTION),
    "usecases:adoption-edit": form(_ADOPTION, "change"),
    "usecases:portfolio": page(),
    "usecases:effort": form(_CASE, "change"),
    "usecases:compare": page(),
    "usecases:scenarios": page(),
    "usecases:scenario-create": Row("", ADD_USE_CASE, ADD_USE_CASE),
    "usecases:scenario": page(_SCENARIO),
    "usecases:scenario-result": page(_SCENARIO),
    "usecases:scenario-edit": form(_SCENARIO, "change"),
    "usecases:scenario-copy": verb(_SCENARIO, ADD_USE_CASE),
    "usecases:scenario-delete": verb(_SCENARIO, "delete"),
    "usecases:scenario-run": verb(_SCENARIO, "change"),
    "usecases:scenario-adopt": verb(_SCENARIO, "change"),
    "usecases:run-cancel": verb("usecases.PortfolioRun", "change"),
    "usecases:rounds": page(),
    "usecases:round-create": Row("", ADD_USE_CASE, ADD_USE_CASE),
    "usecases:round": page(_ROUND),
    "usecases:round-rate": Row(_ROUND, "view", "rate"),
    "usecases:round-progress": page(_ROUND),
    "usecases:round-what-if": Row(_ROUND, "view", "view"),
    "usecases:round-compare": verb(_ROUND, "rate"),
    "usecases:round-keep": verb(_ROUND, "rate"),
    "usecases:round-edit": form(_ROUND, _LEADS),
    "usecases:round-seats": form(_ROUND, _LEADS),
    "usecases:round-unseat": verb(_ROUND, _LEADS),
    "usecases:round-reveal": verb(_ROUND, _LEADS),
    "usecases:round-second-vote": verb(_ROUND, _LEADS),
    "usecases:round-close": form(_ROUND, _LEADS),
    "usecases:round-withdraw": form(_ROUND, _LEADS),
    "usecases:criteria-sets": page(),
    "usecases:criteria-set": page(_SET),
    "usecases:criteria-set-create": Row("", ADD_USE_CASE, ADD_USE_CASE),
    "usecases:criteria-set-publish": form(_SET, "change"),
    "usecases:criteria-set-discard": form(_SET, "change"),
    "usecases:criteria-weights": form(_SET, "change"),
    "usecases:criteria-weights-preview": verb(_SET, "change"),
    "usecases:criteria-set-next": verb(_SET, "change"),
    "usecases:criterion-create": form(_SET, "change"),
    "usecases:criterion-edit": form("usecases.Criterion", "change"),
    "usecases:criterion-move": verb("usecases.Criterion", "change"),
    "usecases:criterion-delete": form("usecases.Criterion", "change"),
    "usecases:use-case-measured": page(_CASE),
    "usecases:gate": page(_GATE),
    "usecases:gate-evidence": page(_GATE),
    "usecases:gate-measure": verb(_GATE, "view"),
    "usecases:gate-resume": verb(_GATE, "sign"),
    "usecases:gate-history": page(_GATE),
    "usecases:gate-comments": page(_GATE),
    "usecases:comment-create": Row(_GATE, "view", "view"),
    "usecases:comment-edit": form("usecases.GateComment", "change"),
    "usecases:comment-withdraw": verb("usecases.GateComment", "change"),
    "usecases:condition-meet": form("usecases.GateCondition", "change"),
    "usecases:review-remind": Row(_REVIEW, "view", "sign"),
    "usecases:review-want-by": form(_REVIEW, "change"),
    "usecases:review-document": page(_REVIEW),
    "usecases:review-open": verb(_GATE, "sign"),
    "usecases:waiver-create": form(_GATE, "sign"),
    "usecases:waiver-revoke": verb("usecases.Waiver", "change"),
    "usecases:review": page(_REVIEW),
    "usecases:review-sign": Row(_REVIEW, "view", "sign"),
    "usecases:review-decide": Row(_REVIEW, "view", "decide"),
    "usecases:review-withdraw": Row(_REVIEW, "view", "change"),
    "usecases:review-verify": Row(_REVIEW, "view", "view"),
    "usecases:review-print": page(_REVIEW),
}

# Resource -> action -> rule. ``list``, ``retrieve`` and ``deleted`` of every resource are "view" and need no line.
API: dict[str, dict[str, str]] = {
    "job": {"cancel": "cancel"},
    "audit-entry": {},
    "notification": {},
    "token": {"create": "signed in", "destroy": "view"},
    "person": {
        "create": PEOPLE,
        "partial_update": "change",
        "grant": "change",
        "revoke": "change",
        "link": "change",
        "deactivate": "change",
        "activate": "change",
    },
    "site": {
        "create": ADD_SITE,
        "bulk": ADD_SITE,
        "by_external_id": ADD_SITE,
        "partial_update": "change",
        "destroy": ADD_SITE,
        "replay": "operate",
    },
    "location": {
        "create": _NAMED_SITE,
        "bulk": _NAMED_SITE,
        "by_external_id": _NAMED_SITE,
        "partial_update": "change",
        "destroy": "change",
    },
    "asset": {
        "create": f"named:{_PLACE}:change",
        "bulk": f"named:{_PLACE}:change",
        "by_external_id": f"named:{_PLACE}:change",
        "partial_update": "change",
        "destroy": "change",
    },
    "device-type": {
        "create": ADD_SITE,
        "bulk": ADD_SITE,
        "by_external_id": ADD_SITE,
        "partial_update": "change",
        "destroy": "change",
    },
    "device": {
        "create": _NAMED_SITE,
        "bulk": _NAMED_SITE,
        "by_external_id": _NAMED_SITE,
        "partial_update": "change",
        "destroy": "change",
        "activate": "change",
        "retire": "change",
        "want": "operate",
        "stop": "stop",
        "release": "stop",
        "open_stop": "view",
        "signals": "view",
        "enrolments": "enrol",
    },
    "channel": {
        "create": f"named:{_DEVICE}:change",
        "bulk": f"named:{_DEVICE}:change",
        "by_external_id": f"named:{_DEVICE}:change",
        "partial_update": "change",
        "destroy": "change",
    },
    "enrolment": {"create": f"named:{_DEVICE}:enrol", "destroy": "change"},
    "credential": {"revoke": "revoke"},
    "use-case": {
        "create": ADD_USE_CASE,
        "bulk": ADD_USE_CASE,
        "by_external_id": ADD_USE_CASE,
        "partial_update": "change",
        "not_pursue": "change",
        "measured": "view",
    },
    "outcome": {
        "create": f"named:{_CASE}:change",
        "bulk": f"named:{_CASE}:change",
        "by_external_id": f"named:{_CASE}:change",
        "partial_update": "change",
        "destroy": "change",
        "baseline": "change",
        "provability": "view",
    },
    "kpi-reading": {
        "create": f"named:{_OUTCOME}:change",
        "bulk": f"named:{_OUTCOME}:change",
        "partial_update": "change",
        "destroy": "change",
    },
    "criteria-set": {
        "create": ADD_USE_CASE,
        "bulk": ADD_USE_CASE,
        "publish": "change",
        "next_version": "change",
        "weights": "change",
        "destroy": "change",
    },
    "criterion": {
        "move": "change",
        "create": ADD_USE_CASE,
        "bulk": ADD_USE_CASE,
        "partial_update": "change",
        "destroy": "change",
    },
    "scoring-round": {
        "create": f"named:{_CASE}:change",
        "bulk": f"named:{_CASE}:change",
        "partial_update": _LEADS,
        "destroy": _LEADS,
        "seats": _LEADS,
        "unseat": _LEADS,
        "ratings": "rate",
        "judgements": "rate",
        "keep": "rate",
        "reveal": _LEADS,
        "second_vote": _LEADS,
        "close": _LEADS,
        "progress": "view",
        "results": "view",
        "what_if": "view",
    },
    "rating": {},
    "judgement": {},
    "business-case": {
        "create": f"named:{_CASE}:change",
        "bulk": f"named:{_CASE}:change",
        "partial_update": "change",
        "destroy": "change",
        "worth": "view",
    },
    "exchange-rate": {
        "create": ADD_USE_CASE,
        "bulk": ADD_USE_CASE,
        "partial_update": "change",
        "destroy": "change",
    },
    "ranking": {},
    "scenario": {
        "create": ADD_USE_CASE,
        "bulk": ADD_USE_CASE,
        "partial_update": "change",
        "destroy": "change",
        "run": "change",
        "copy": ADD_USE_CASE,
        "adopt": "change",
    },
    "exclusion": {},
    "effort-need": {
        "create": f"named:{_CASE}:change",
        "bulk": f"named:{_CASE}:change",
        "partial_update": "change",
        "destroy": "change",
    },
    "portfolio-run": {"cancel": "change", "changed": "view"},
    "import": {"kinds": "signed in", "bring_in": f"some:{_CASE}:change"},
    "adoption": {
        "create": f"named:{_CASE}:change",
        "bulk": f"named:{_CASE}:change",
        "by_external_id": f"named:{_CASE}:change",
        "partial_update": "change",
    },
    "gate": {"measure": "view", "criteria": "view", "history": "view", "resume": "sign"},
    "evidence": {},
    "waiver": {"create": f"named:{_GATE}:sign", "bulk": f"named:{_GATE}:sign", "revoke": "change"},
    "gate-review": {
        "create": f"named:{_GATE}:sign",
        "bulk": f"named:{_GATE}:sign",
        "sign": "sign",
        "decide": "decide",
        "withdraw": "change",
        "verify": "view",
        "want_by": "change",
        "remind": "sign",
        "check": "view",
        "document": "view",
    },
    "signature": {},
    "gate-condition": {"met": "change"},
    "gate-comment": {
        "create": f"named:{_GATE}:view",
        "bulk": f"named:{_GATE}:view",
        "partial_update": "change",
        "withdraw": "change",
    },
}
READS = {"list", "retrieve", "deleted"}

DOORS: dict[str, Row] = {
    "edge-enrol": Row(get="", post="door"),
    "edge-desired": Row(get="door"),
    "edge-messages": Row(post="door"),
    "edge-reported": Row(post="door"),
    "edge-artefact": Row(get="door"),
}

OPEN: dict[str, Row] = {
    name: Row(get="anyone")
    for name in (
        "healthz",
        "readyz",
        "metrics",
        "schema",
        "docs",
        "account_login",
        "account_logout",
        "account_change_password",
        "account_reset_password",
        "account_reset_password_done",
        "account_reset_password_from_key",
        "account_reset_password_from_key_done",
        "account_inactive",
        "account_signup",
        "account_reauthenticate",
    )
} | {"set_language": Row(post="anyone")}

PAGES |= {name: Row(*row) for name, row in upper.PAGES.items()}
API |= upper.API
DOORS |= {name: Row(get=get, post=post) for name, (get, post) in upper.DOORS.items()}
