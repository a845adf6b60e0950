"""The overview: can what runs be trusted now, and what is there to do?"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _l

from devices.plant_time import replay_text
from governance.selectors.trust import trust_overview
from portal.core.pages import Page


class TrustPage(Page):
    title = _l("Trust")

    def get(self, request: HttpRequest) -> HttpResponse:
        cards = trust_overview(request.user, self.site_id)
        sites = {card.adoption.site_id: card.pipelines[0]["pipeline"].adoption.site for card in cards if card.pipelines}
        banner = " · ".join(f"{site}: {text}" for site in sites.values() if (text := replay_text(site)))
        return self.render("governance/trust.html", {"cards": cards, "replay_banner": banner or None})
