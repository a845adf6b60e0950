"""Verbs of the marketplace: offers (services, plans), subscriptions and keys, metering, invoices."""

from marketplace.services.invoices import (
    invoice_draft,
    invoice_issue,
    invoice_pay,
    invoice_preview,
    invoice_reconcile,
    invoices_draw_up,
)
from marketplace.services.metering import call_score
from marketplace.services.offers import (
    partner_admit,
    plan_create,
    plan_update,
    service_create,
    service_package,
    service_publish,
    service_retire,
    service_update,
)
from marketplace.services.subscriptions import (
    client_key_create,
    client_key_revoke,
    subscription_create,
    subscription_end,
    subscription_resume,
    subscription_suspend,
)

__all__ = [
    "call_score",
    "client_key_create",
    "client_key_revoke",
    "invoice_draft",
    "invoice_issue",
    "invoice_pay",
    "invoice_preview",
    "invoice_reconcile",
    "invoices_draw_up",
    "partner_admit",
    "plan_create",
    "plan_update",
    "service_create",
    "service_package",
    "service_publish",
    "service_retire",
    "service_update",
    "subscription_create",
    "subscription_end",
    "subscription_resume",
    "subscription_suspend",
]
