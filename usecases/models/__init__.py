"""Why we do it: use cases, outcomes, scoring, business cases, adoptions, gates and the evidence they are decided on."""

from usecases.models.business import BusinessCase, BusinessLine, ExchangeRate
from usecases.models.cases import Adoption, UseCase, UseCaseGroupObjectPermission, UseCaseUserObjectPermission
from usecases.models.criteria import CriteriaSet, Criterion
from usecases.models.gates import Evidence, Gate, GateComment, GateCondition, GateReview, Signature, Waiver
from usecases.models.outcomes import KpiReading, Outcome
from usecases.models.portfolio import EffortNeed, Exclusion, PortfolioRun, Scenario
from usecases.models.scoring import Judgement, Rating, ScoringRound, Seat

__all__ = [
    "Adoption",
    "BusinessCase",
    "BusinessLine",
    "CriteriaSet",
    "Criterion",
    "EffortNeed",
    "Evidence",
    "ExchangeRate",
    "Exclusion",
    "Gate",
    "GateComment",
    "GateCondition",
    "GateReview",
    "Judgement",
    "KpiReading",
    "Outcome",
    "PortfolioRun",
    "Rating",
    "Scenario",
    "ScoringRound",
    "Seat",
    "Signature",
    "UseCase",
    "UseCaseGroupObjectPermission",
    "UseCaseUserObjectPermission",
    "Waiver",
]
