from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class ServiceState(TextChoices):
    DRAFT = "draft", _("Draft")
    PUBLISHED = "published", _("Published")
    RETIRED = "retired", _("Retired")


class SubscriptionState(TextChoices):
    ACTIVE = "active", _("Active")
    SUSPENDED = "suspended", _("Suspended")
    ENDED = "ended", _("Ended")


class InvoiceState(TextChoices):
    DRAFT = "draft", _("Draft")
    ISSUED = "issued", _("Issued")
    PAID = "paid", _("Paid")


class LineKind(TextChoices):
    FEE = "fee", _("Monthly fee")
    INCLUDED = "included", _("Included in the plan")
    USAGE = "usage", _("Usage")
    ADJUSTMENT = "adjustment", _("Adjustment for late events")
