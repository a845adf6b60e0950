"""What setting a model up needs to know: channels to choose from, devices that have them, and which step comes next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Sum
from django.urls import reverse
from django.utils.translation import gettext as _

from devices.choices import ChannelRole
from devices.models import Channel, Device, Site
from governance import backends, recipes
from governance.choices import StageKind, VersionState
from governance.models import Batch, Model, ModelVersion, Pipeline
from governance.services.commissioning import commissioned, job_key
from portal.core.access import may, who_may
from portal.core.errors import DomainError
from portal.core.models import Job
from usecases.models import Adoption, UseCase


@dataclass(frozen=True)
class Option:
    """A channel code with every unit it has among the devices that know it."""

    code: str
    units: tuple[str, ...]
    label: str


def _channels(user: Any, use_case: UseCase | None, role: str) -> list[Any]:
    """Channels that the user may see; those at sites which adopted the use case, where any did."""
    rows = Channel.objects.permitted(user).filter(role=role).select_related("device__site")
    sites = list(Adoption.objects.filter(use_case=use_case).values_list("site_id", flat=True)) if use_case else []
    if sites:
        rows = rows.filter(device__site__in=sites)
    return list(rows.order_by("device__site__name", "device__created_at", "created_at")[:2000])


def channel_options(user: Any, use_case: UseCase | None = None, role: str = ChannelRole.SIGNAL) -> list[Option]:
    """One option a code, in the order of the devices; a code that several devices know is named once with all of them."""
    by_code: dict[str, list[Any]] = defaultdict(list)
    for channel in _channels(user, use_case, role):
        by_code[channel.code].append(channel)
    return [
        Option(code, tuple(dict.fromkeys(c.unit for c in known)), _words(code, known))
        for code, known in by_code.items()
    ]


def _words(code: str, known: Sequence[Any]) -> str:
    first = known[0]
    name = f"{code}: {first.name}" if first.name != code else code
    units = " / ".join(dict.fromkeys(c.unit for c in known))
    span = (
        f", {first.range_low:g} – {first.range_high:g}"
        if first.range_low is not None and first.range_high is not None
        else ""
    )
    where = ", ".join(dict.fromkeys(str(c.device) for c in known))
    return f"{name}, {units}{span} ({where})"


def adoptions_to_wire(user: Any, model: Model) -> Any:
    """Adoptions of the model's use case at sites whose pipelines the user may set up."""
    sites = Site.objects.permitted(user, "change")
    return Adoption.objects.filter(use_case=model.use_case_id, site__in=sites).select_related(
        "use_case", "site", "location"
    )


def sources_for(user: Any, model: Model) -> Any:
    """Devices with signal channels at the sites that adopted the use case and that the user may change."""
    sites = adoptions_to_wire(user, model).values("site_id")
    wanted = Channel.objects.filter(role=ChannelRole.SIGNAL, code__in=model.features).values("device_id")
    return Device.objects.filter(site__in=sites, pk__in=wanted).select_related("site").order_by("site__name", "name")


def rows_on_record(pipeline: Pipeline) -> dict[str, int]:
    """Rows that came in and labels that came in, as the batches count them; of the gateway that sent most."""
    counted = dict[str, int]()
    for kind in (StageKind.WINDOW, StageKind.LABEL):
        rows = Batch.objects.filter(pipeline=pipeline, stage__kind=kind).values("gateway").annotate(n=Sum("rows"))
        counted[kind] = max((row["n"] for row in rows.order_by("-n")), default=0)
    return counted


def pipelines_of(user: Any, model: Model) -> list[Any]:
    """The model's pipelines with ``slo_count`` of their adoptions, one query."""
    rows = Pipeline.objects.permitted(user).filter(model=model).select_related("adoption__site", "adoption__use_case")
    return list(rows.annotate(slo_count=Count("adoption__slos")))


def open_job(pipeline: Pipeline) -> Job | None:
    """The commissioning that is under way."""
    return Job.objects.filter(unique_key=job_key(pipeline.pk)).first()


# ---- the steps --------------------------------------------------------------------------------------------------------


def first_steps(user: Any, use_case: UseCase) -> list[dict[str, Any]]:
    """The way ahead of a use case without a model."""
    return _numbered(
        [
            _step(
                _("Choose inputs"),
                _("Which channels the model reads, and what it says."),
                url=f"{reverse('governance:model-create')}?use_case={use_case.pk}",
                action=_("Set up a model"),
                allowed=may(use_case, user, "change"),
                who=(UseCase, "change"),
            ),
            _step(_("Set up its pipeline"), _("From the device that measures, with checks at every stage.")),
            _step(_("Commission the first version"), _("Train it on the rows on record, or bring one.")),
            _step(_("Sign and roll out"), _("Somebody who may signs; the canary gets it first.")),
            _step(_("Set SLOs"), _("What is promised, and who answers for it.")),
        ]
    )


def setup_steps(
    user: Any, model: Model, versions: Sequence[ModelVersion], pipelines: Sequence[Any]
) -> list[dict[str, Any]]:
    """The steps from inputs to SLOs with the one that is next; empty when all are done. ``pipelines`` come from ``pipelines_of``."""
    steps = [
        _step(_("Choose inputs"), _contract_words(model), done=True),
        _wiring(user, model, pipelines),
        _commissioning(user, model, versions, pipelines),
        _release(user, versions, pipelines),
        _promises(user, pipelines),
    ]
    return [] if all(step["state"] == "done" for step in steps) else _numbered(steps)


def _contract_words(model: Model) -> str:
    words = {"n": len(model.features), "target": model.target, "unit": model.unit}
    if model.target:
        return _("%(n)s inputs; predicts %(target)s in %(unit)s.") % words
    return _("%(n)s inputs; learns what healthy looks like.") % words


def one_of(names: Sequence[str]) -> str:
    """ "A, B or C"."""
    if len(names) < 2:
        return "".join(names)
    return _("%(first)s or %(last)s") % {"first": ", ".join(names[:-1]), "last": names[-1]}


def _wiring(user: Any, model: Model, pipelines: Sequence[Any]) -> dict[str, Any]:
    allowed = not pipelines and adoptions_to_wire(user, model).exists()
    adopted = bool(pipelines) or allowed or Adoption.objects.filter(use_case=model.use_case_id).exists()
    if not adopted:
        return _step(
            _("Set up its pipeline"),
            _("Adopt the use case at a site first: its pipeline brings the rows of that site."),
            url=reverse("usecases:adoption-create", args=[model.use_case_id]),
            action=_("Adopt at a site"),
            allowed=may(model.use_case, user, "change"),
            who=(UseCase, "change"),
        )
    return _step(
        _("Set up its pipeline"),
        ", ".join(str(p.adoption.site) for p in pipelines)
        or _("From the device that measures, with checks at every stage."),
        done=bool(pipelines),
        url=reverse("governance:pipeline-create", args=[model.pk]),
        action=_("Set up a pipeline"),
        allowed=allowed,
        who=(Site, "change"),
    )


def _commissioning(
    user: Any, model: Model, versions: Sequence[ModelVersion], pipelines: Sequence[Any]
) -> dict[str, Any]:
    waiting = next((p for p in pipelines if not commissioned(p)), None)
    done = bool(versions) and any(commissioned(p) for p in pipelines)
    if done or waiting is None:
        first = versions[-1] if versions else None
        text = (
            _("v%(n)s is on record.") % {"n": first.number}
            if first
            else _("Train it on the rows on record, or bring one.")
        )
        return _step(_("Commission the first version"), text, done=done)
    job = open_job(waiting)
    return _step(
        _("Commission the first version"),
        _("Under way: %(step)s") % {"step": job.step or _("waiting for a worker")}
        if job
        else _("Train it on the rows on record, or bring one."),
        url=reverse("core:job", args=[job.pk]) if job else reverse("governance:pipeline-commission", args=[waiting.pk]),
        action=_("See how far it is") if job else _("Commission"),
        allowed=may(waiting, user, "commission"),
        who=(Pipeline, "commission"),
    )


def _release(user: Any, versions: Sequence[ModelVersion], pipelines: Sequence[Any]) -> dict[str, Any]:
    title = _("Sign and roll out")
    live = any(v.state in {VersionState.LIVE, VersionState.SUPERSEDED} for v in versions)
    candidate = next((v for v in versions if v.state == VersionState.CANDIDATE), None)
    approved = next((v for v in versions if v.state == VersionState.APPROVED), None)
    if live or (candidate is None and approved is None):
        return _step(title, _("Somebody who may signs; the canary gets it first."), done=live)
    if approved is None:
        assert candidate is not None
        text = _("%(version)s waits for a signature.") % {"version": candidate}
        return _step(title, text, url=candidate.get_absolute_url(), action=_("Look at it and sign"), allowed=True)
    ready = next((p for p in pipelines if commissioned(p)), None)
    return _step(
        title,
        _("%(version)s is signed.") % {"version": approved},
        url=release_url(approved, ready.adoption) if ready else "",
        action=_("Roll it out"),
        allowed=ready is not None,
    )


def release_url(version: ModelVersion, adoption: Any) -> str:
    """Where a person brings the version to the gateways; empty where nothing is set up for it."""
    try:
        return backends.release_backend().start_url(version=version, adoption=adoption)
    except DomainError:
        return ""


def _promises(user: Any, pipelines: Sequence[Any]) -> dict[str, Any]:
    without = next((p for p in pipelines if not p.slo_count), None)
    return _step(
        _("Set SLOs"),
        _("What is promised, and who answers for it."),
        done=bool(pipelines) and without is None,
        url=f"{reverse('governance:slo-create')}?adoption={without.adoption_id}" if without else "",
        action=_("Set an SLO"),
        allowed=without is not None and may(without, user, "operate"),
        who=(Pipeline, "operate"),
    )


def _step(
    label: str,
    text: str,
    *,
    done: bool = False,
    url: str = "",
    action: str = "",
    allowed: bool = False,
    who: tuple[Any, str] | None = None,
) -> dict[str, Any]:
    return {
        "label": label,
        "text": text,
        "state": "done" if done else "later",
        "url": url if allowed and not done else "",
        "action": action,
        "refused": _("%(who)s may: ask one of them.") % {"who": one_of(who_may(*who))} if who else "",
    }


def _numbered(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Numbers, and the first that is not done as the one that is next; only that one has a link."""
    now = next((step for step in steps if step["state"] != "done"), None)
    for number, step in enumerate(steps, 1):
        step["number"] = number
        if step is now:
            step["state"] = "now"
        else:
            step["url"] = ""
    return steps


def recipe_choices() -> list[tuple[str, str]]:
    return [
        (r.key, f"{r.label} ({_('needs labels') if r.labelled else _('needs no labels')})")
        for r in recipes.RECIPES.values()
    ]
