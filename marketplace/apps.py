from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MarketplaceConfig(AppConfig):
    name = "marketplace"
    verbose_name = _("Marketplace")

    def ready(self) -> None:
        from marketplace import panels, providers, receivers
        from marketplace.models import Invoice, Service, Subscription
        from portal.core import navigation, search
        from usecases.signals import gate_reopened

        providers.register_all()
        panels.register_all()
        gate_reopened.connect(receivers.on_gate_reopened, dispatch_uid="marketplace.watch")
        navigation.register(
            navigation.NavItem("monetise", _("Catalogue"), "marketplace:catalogue", "service", 10),
            navigation.NavItem("monetise", _("Usage"), "marketplace:usage", "usage", 20),
            navigation.NavItem("monetise", _("Invoices"), "marketplace:invoices", "invoice", 30),
        )
        kinds = (
            ("service", _("Service"), Service, ("name", "code"), "marketplace:service", 70),
            ("subscription", _("Subscription"), Subscription, ("customer",), "marketplace:subscription", 80),
            ("invoice", _("Invoice"), Invoice, ("number",), "marketplace:invoice", 90),
        )
        for key, label, model, fields, url_name, order in kinds:
            search.register_model(
                key=key, label=label, model=model, fields=fields, url_name=url_name, icon=key, order=order
            )
