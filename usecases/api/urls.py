from typing import Any

from usecases.api import business, outcomes, views


def register(router: Any) -> None:
    router.register("use-cases", views.UseCaseViewSet, "use-case")
    router.register("outcomes", outcomes.OutcomeViewSet, "outcome")
    router.register("kpi-readings", outcomes.KpiReadingViewSet, "kpi-reading")
    router.register("criteria-sets", views.CriteriaSetViewSet, "criteria-set")
    router.register("criteria", views.CriterionViewSet, "criterion")
    router.register("scoring-rounds", views.ScoringRoundViewSet, "scoring-round")
    router.register("ratings", views.RatingViewSet, "rating")
    router.register("business-cases", business.BusinessCaseViewSet, "business-case")
    router.register("adoptions", views.AdoptionViewSet, "adoption")
    router.register("gates", views.GateViewSet, "gate")
    router.register("evidence", views.EvidenceViewSet, "evidence")
    router.register("waivers", views.WaiverViewSet, "waiver")
    router.register("gate-reviews", views.GateReviewViewSet, "gate-review")
    router.register("signatures", views.SignatureViewSet, "signature")
