"""Use cases and their adoptions: a cell first, then the line, then the plant."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from portal.core.errors import DomainError, InvalidInput
from portal.core.records import entity_create, entity_update
from usecases.choices import Phase, Scope, UseCaseState
from usecases.domain import dependencies
from usecases.gate_rules import PASSED, PROVEN_SCOPE, PROVING_GATE
from usecases.models import Adoption, Gate, UseCase
from usecases.services.gates import gates_create, gates_remeasure


def _waits_for(use_case: UseCase, wanted: list[UseCase]) -> dict[Any, set[Any]]:
    """Use case -> what it depends on, with the wanted dependencies in the place of the present ones."""
    found: dict[Any, set[Any]] = {}
    for dependent, foundation in UseCase.depends_on.through.objects.values_list("from_usecase_id", "to_usecase_id"):
        found.setdefault(dependent, set()).add(foundation)
    return found | {use_case.pk: {w.pk for w in wanted}}


def _check_no_circle(actor: Any, use_case: UseCase, wanted: list[UseCase]) -> None:
    """Dependencies must not lead back to the use case; the refusal names the way round."""
    waits = _waits_for(use_case, wanted)
    involved, ahead = {use_case.pk}, [w.pk for w in wanted]
    while ahead:
        involved |= set(ahead)
        ahead = [pk for here in ahead for pk in waits.get(here, ()) if pk not in involved]
    # Of two people who would close a circle together the second waits here, and reads what the first has written.
    list(UseCase.objects.select_for_update().filter(pk__in=involved).order_by("pk").values_list("pk"))
    way = dependencies.circle(_waits_for(use_case, wanted), use_case.pk)
    if not way:
        return
    titles = dict(UseCase.objects.permitted(actor).filter(pk__in=way).values_list("pk", "title"))
    unseen = _("a use case you may not see")
    raise InvalidInput(
        {
            "depends_on": _("These use cases would wait for each other: {way}.").format(
                way=" → ".join(titles.get(pk, unseen) for pk in way)
            )
        }
    )


def _check_signals(data: dict[str, Any]) -> None:
    signals = data.get("required_signals")
    if signals is None:
        return
    if not isinstance(signals, list) or not all(isinstance(s, str) and 0 < len(s) <= 40 for s in signals):
        raise InvalidInput({"required_signals": "A list of channel codes, such as AT, AP, TIT."})


@transaction.atomic
def use_case_create(*, actor: Any, many: dict[str, Any] | None = None, **data: Any) -> UseCase:
    """A new use case with its gates 1 and 5."""
    _check_signals(data)
    use_case = entity_create(actor=actor, model=UseCase, data=data, many=many)
    gates_create(use_case=use_case)
    gates_remeasure(use_case=use_case.pk)
    return use_case


@transaction.atomic
def use_case_update(
    *,
    actor: Any,
    use_case: UseCase,
    data: dict[str, Any],
    many: dict[str, Any] | None = None,
    expected_version: int | None = None,
) -> UseCase:
    _check_signals(data)
    if many and "depends_on" in many:
        # Nobody takes away what they cannot see: neither form nor API shows them these.
        kept = use_case.depends_on.exclude(pk__in=UseCase.objects.permitted(actor).values("pk")) if actor else ()
        many = many | {"depends_on": list({*many["depends_on"], *kept})}
        _check_no_circle(actor, use_case, many["depends_on"])
    use_case = entity_update(actor=actor, obj=use_case, data=data, many=many, expected_version=expected_version)
    gates_remeasure(use_case=use_case.pk)
    return use_case


def use_case_label(*, actor: Any, use_case: UseCase, label: str, expected_version: int | None = None) -> UseCase:
    """Quick win or foundation: what the programme expects of it."""
    return use_case_update(actor=actor, use_case=use_case, data={"label": label}, expected_version=expected_version)


def _check_scope(data: dict[str, Any]) -> None:
    wrong: dict[str, str] = {}
    use_case, site = data["use_case"], data["site"]
    scope, location, proven = data.get("scope", Scope.CELL), data.get("location"), data.get("proven_by")
    if location is not None and location.site_id != site.pk:
        wrong["location"] = "This place is at another site."
    if location is not None and scope != Scope.PLANT and location.level != scope:
        wrong["location"] = f"A {Scope(scope).label.lower()} is wanted here; this place is of level {location.level}."
    needed = PROVEN_SCOPE[scope]
    if needed is not None and proven is None:
        wrong["proven_by"] = f"First prove it on a {Scope(needed).label.lower()}: name that adoption, past gate 3."
    elif proven is not None:
        if proven.use_case_id != use_case.pk or proven.site_id != site.pk:
            wrong["proven_by"] = "The proof must be the same use case at the same site."
        elif proven.scope != needed:
            wrong["proven_by"] = (
                f"The proof must be an adoption on a {Scope(needed).label.lower()}." if needed else "A cell needs none."
            )
        elif not Gate.objects.filter(adoption=proven, number=PROVING_GATE, state__in=PASSED).exists():
            wrong["proven_by"] = f"{proven} ({proven.get_scope_display().lower()}) has not passed gate {PROVING_GATE}."
    if wrong:
        raise InvalidInput(wrong)


def _check_devices(site: Any, devices: Any) -> None:
    foreign = [d for d in devices if d.site_id != site.pk]
    if foreign:
        raise InvalidInput({"devices": f"Not at this site: {', '.join(str(d) for d in foreign[:5])}."})


@transaction.atomic
def adoption_create(*, actor: Any, devices: Any = (), **data: Any) -> Adoption:
    """Bring a use case to a site, with gates 2 to 4. A wider scope only with a proven smaller one (``proven_by``).

    It begins at phase 2; while its use case has not passed gate 1 it waits at phase 1 (``review_decide`` moves it on).
    """
    use_case = data["use_case"]
    if use_case.state in {UseCaseState.KILLED, UseCaseState.HELD}:
        raise DomainError("use_case_over", f"This use case is {use_case.get_state_display().lower()}.")
    _check_scope(data)
    _check_devices(data["site"], devices)
    many = {"devices": list(devices)} if devices else None
    # Locked: a decision on gate 1 at this moment must not leave the new adoption behind.
    reached = UseCase.objects.select_for_update().values_list("phase", flat=True).get(pk=use_case.pk)
    phase = min(reached, Phase.ARCHITECT.value)
    adoption = entity_create(actor=actor, model=Adoption, data={**data, "phase": phase}, many=many)
    gates_create(use_case=use_case, adoption=adoption)
    gates_remeasure(adoption=adoption.pk)
    return adoption


@transaction.atomic
def adoption_update(
    *,
    actor: Any,
    adoption: Adoption,
    data: dict[str, Any],
    many: dict[str, Any] | None = None,
    expected_version: int | None = None,
) -> Adoption:
    """Change devices, place or start. Use case, site and scope stay: a wider scope is an adoption of its own."""
    fixed = [n for n in ("use_case", "site", "scope", "proven_by") if n in data and data[n] != getattr(adoption, n)]
    if fixed:
        raise InvalidInput(dict.fromkeys(fixed, "This stays as it is; a wider scope is an adoption of its own."))
    location = data.get("location")
    if location is not None and location.site_id != adoption.site_id:
        raise InvalidInput({"location": "This place is at another site."})
    if many and "devices" in many:
        _check_devices(adoption.site, many["devices"])
    adoption = entity_update(actor=actor, obj=adoption, data=data, many=many, expected_version=expected_version)
    gates_remeasure(adoption=adoption.pk)
    return adoption
