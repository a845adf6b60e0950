from typing import Any

from marketplace.api import views


def register(router: Any) -> None:
    router.register("services", views.ServiceViewSet, "service")
    router.register("plans", views.PlanViewSet, "plan")
    router.register("subscriptions", views.SubscriptionViewSet, "subscription")
    router.register("client-keys", views.ClientKeyViewSet, "client-key")
    router.register("usage-events", views.UsageEventViewSet, "usage-event")
    router.register("invoices", views.InvoiceViewSet, "invoice")
