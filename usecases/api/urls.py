from typing import Any

from usecases.api import business, criteria, gates, imports, outcomes, portfolio, ranking, rounds, views


def register(router: Any) -> None:
    router.register("use-cases", views.UseCaseViewSet, "use-case")
    router.register("outcomes", outcomes.OutcomeViewSet, "outcome")
    router.register("kpi-readings", outcomes.KpiReadingViewSet, "kpi-reading")
    router.register("criteria-sets", criteria.CriteriaSetViewSet, "criteria-set")
    router.register("criteria", criteria.CriterionViewSet, "criterion")
    router.register("scoring-rounds", rounds.ScoringRoundViewSet, "scoring-round")
    router.register("ratings", rounds.RatingViewSet, "rating")
    router.register("judgements", rounds.JudgementViewSet, "judgement")
    router.register("ranking", ranking.RankingViewSet, "ranking")
    router.register("business-cases", business.BusinessCaseViewSet, "business-case")
    router.register("exchange-rates", business.ExchangeRateViewSet, "exchange-rate")
    router.register("", imports.ImportViewSet, "import")
    router.register("adoptions", views.AdoptionViewSet, "adoption")
    router.register("gates", gates.GateViewSet, "gate")
    router.register("evidence", gates.EvidenceViewSet, "evidence")
    router.register("waivers", gates.WaiverViewSet, "waiver")
    router.register("gate-reviews", gates.GateReviewViewSet, "gate-review")
    router.register("signatures", gates.SignatureViewSet, "signature")
    router.register("gate-conditions", gates.GateConditionViewSet, "gate-condition")
    router.register("gate-comments", gates.GateCommentViewSet, "gate-comment")
    router.register("scenarios", portfolio.ScenarioViewSet, "scenario")
    router.register("exclusions", portfolio.ExclusionViewSet, "exclusion")
    router.register("effort-needs", portfolio.EffortNeedViewSet, "effort-need")
    router.register("portfolio-runs", portfolio.PortfolioRunViewSet, "portfolio-run")
