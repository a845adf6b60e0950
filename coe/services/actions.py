"""Actions after a retrospective or review: what, who, until when, and what became of it."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from coe.choices import ActionState
from coe.models import Action
from portal.core import audit
from portal.core.clock import day_text, wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.notifications import notify
from portal.core.records import change_state, entity_create, entity_delete, entity_update
from usecases.services import gates_remeasure


def _check(data: dict[str, Any], site: Any) -> None:
    """The retrospective and the review an action comes from belong to its site."""
    wrong = {}
    retrospective, review = data.get("retrospective"), data.get("roi_review")
    if retrospective is not None and retrospective.site_id != site.pk:
        wrong["retrospective"] = f"This retrospective belongs to {retrospective.site}."
    if review is not None and review.adoption.site_id != site.pk:
        wrong["roi_review"] = f"This review belongs to {review.adoption.site}."
    owner = data.get("owner")
    if owner is not None and not owner.is_active:
        wrong["owner"] = "This account is not active."
    if wrong:
        raise InvalidInput(wrong)


def _tell_owner(action: Action, actor: Any) -> None:
    if action.owner_id and action.owner_id != getattr(actor, "pk", None):
        notify(
            user_ids=[action.owner_id],
            kind="action",
            text=f"Yours until {day_text(action.due_on)}: {action.text}",
            url=action.get_absolute_url(),
            dedupe_key=f"action:{action.pk}:{action.owner_id}",
        )


@transaction.atomic
def action_create(*, actor: Any, **data: Any) -> Action:
    """``site, text, due_on`` and optionally ``owner, retrospective, roi_review, amount, currency``."""
    _check(data, data["site"])
    action = entity_create(actor=actor, model=Action, data=data)
    _tell_owner(action, actor)
    gates_remeasure(site=action.site)
    return action


@transaction.atomic
def action_update(*, actor: Any, action: Action, data: dict[str, Any], expected_version: int | None = None) -> Action:
    """Change an open action. Its site stays."""
    if expected_version is not None and action.version != expected_version:
        raise StaleWrite
    if action.state != ActionState.OPEN:
        raise DomainError("wrong_state", f"This action is {action.get_state_display().lower()}: open it again first.")
    if "site" in data and data["site"].pk != action.site_id:
        raise InvalidInput({"site": "An action stays at its site; make another one there."})
    _check(data, action.site)
    action = entity_update(actor=actor, obj=action, data=data, expected_version=expected_version)
    _tell_owner(action, actor)
    gates_remeasure(site=action.site)
    return action


@transaction.atomic
def action_close(*, actor: Any, action: Action, state: str = ActionState.DONE) -> Action:
    """Done, or dropped."""
    if state not in {ActionState.DONE, ActionState.DROPPED}:
        raise InvalidInput({"state": "An action is closed as done or as dropped."})
    change_state(action, old=ActionState.OPEN, new=state, closed_at=wall_now())
    audit.record(actor=actor, action=f"action.{state}", obj=action, changes={"state": [ActionState.OPEN, state]})
    gates_remeasure(site=action.site)
    return action


@transaction.atomic
def action_reopen(*, actor: Any, action: Action) -> Action:
    old = action.state
    change_state(action, old=(ActionState.DONE, ActionState.DROPPED), new=ActionState.OPEN, closed_at=None)
    audit.record(actor=actor, action="action.reopen", obj=action, changes={"state": [old, ActionState.OPEN]})
    gates_remeasure(site=action.site)
    return action


@transaction.atomic
def action_delete(*, actor: Any, action: Action) -> None:
    site = action.site
    entity_delete(actor=actor, obj=action)
    gates_remeasure(site=site)
