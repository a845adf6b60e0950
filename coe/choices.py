from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class RetrospectiveState(TextChoices):
    DRAFT = "draft", _("Filled in, not held yet")
    HELD = "held", _("Held")


class ActionState(TextChoices):
    OPEN = "open", _("Open")
    DONE = "done", _("Done")
    DROPPED = "dropped", _("Dropped")


class ReviewVerdict(TextChoices):
    OPEN = "open", _("Not judged yet")
    ON_PLAN = "on_plan", _("On plan")
    ABOVE = "above", _("Above plan")
    BELOW = "below", _("Below plan")
    NOT_PROVABLE = "not_provable", _("Not provable yet")
