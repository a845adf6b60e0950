from django.db.models import IntegerChoices, TextChoices
from django.utils.translation import gettext_lazy as _


class Label(TextChoices):
    UNLABELLED = "unlabelled", _("Not labelled")
    QUICK_WIN = "quick_win", _("Quick win")
    FOUNDATION = "foundation", _("Foundation")
    MOON_SHOT = "moon_shot", _("Moon shot")


class UseCaseState(TextChoices):
    ACTIVE = "active", _("Active")
    HELD = "held", _("On hold")
    KILLED = "killed", _("Killed")
    FINISHED = "finished", _("Finished")


class Phase(IntegerChoices):
    ALIGN = 1, _("Align")
    ARCHITECT = 2, _("Architect")
    OPERATE = 3, _("Operate")
    ENABLE = 4, _("Enable")
    MONETISE = 5, _("Monetise")


class Direction(TextChoices):
    DOWN = "down", _("Lower is better")
    UP = "up", _("Higher is better")


class KpiSource(TextChoices):
    FORM = "form", _("Typed in")
    API = "api", _("API")
    COMPUTED = "computed", _("Computed from plant records")
    IMPORT = "import", _("Imported")


class SetState(TextChoices):
    DRAFT = "draft", _("Draft")
    PUBLISHED = "published", _("Published")
    RETIRED = "retired", _("Retired")


class CriterionSource(TextChoices):
    JUDGED = "judged", _("Judged by raters")
    MEASURED = "measured", _("Measured")
    DERIVED = "derived", _("Derived from the business case")


class WeightMethod(TextChoices):
    DIRECT = "direct", _("Percents")
    SWING = "swing", _("Swing")
    RANK_ORDER = "rank_order", _("Order only")
    AHP = "ahp", _("In pairs")


class RoundState(TextChoices):
    OPEN = "open", _("First vote")
    REVEALED = "revealed", _("Revealed")
    SECOND = "second", _("Second vote")
    CLOSED = "closed", _("Closed")


class RoundWeighting(TextChoices):
    CRITERIA = "criteria", _("As the criteria say")
    PAIRWISE = "pairwise", _("The raters compare the criteria in pairs")


class LineKind(TextChoices):
    CAPEX = "capex", _("Capital expense")
    OPEX = "opex", _("Running cost")
    BENEFIT = "benefit", _("Benefit")


class RunKind(TextChoices):
    PLAN = "plan", _("Plan")
    FRONTIER = "frontier", _("What more budget buys")
    CORE = "core", _("Safe bets")


class Scope(TextChoices):
    CELL = "cell", _("Cell")
    LINE = "line", _("Line")
    PLANT = "plant", _("Plant")


class GateState(TextChoices):
    CLOSED = "closed", _("Not reached")
    OPEN = "open", _("Open")
    PASSED = "passed", _("Passed")
    CONDITIONAL = "conditional", _("Passed with conditions")
    HELD = "held", _("Held")
    REOPENED = "reopened", _("Reopened")
    KILLED = "killed", _("Killed")
    NOT_PURSUED = "not_pursued", _("Not pursued")


class CriterionState(TextChoices):
    MET = "met", _("Met")
    NOT_MET = "not_met", _("Not met")
    SLIPPED = "slipped", _("Slipped")
    NOT_MEASURED = "not_measured", _("Not measured")
    NOT_APPLICABLE = "not_applicable", _("Not applicable")
    NOT_YET_DUE = "not_yet_due", _("Not yet due")
    WAIVED = "waived", _("Waived")


class Decision(TextChoices):
    GO = "go", _("Go")
    CONDITIONAL_GO = "conditional_go", _("Conditional go")
    HOLD = "hold", _("Hold")
    RECYCLE = "recycle", _("Recycle")
    KILL = "kill", _("Kill")


class ConditionKind(TextChoices):
    CONDITION = "condition", _("Condition")
    REDO = "redo", _("To redo")


class ReviewState(TextChoices):
    OPEN = "open", _("Collecting signatures")
    DECIDED = "decided", _("Decided")
    WITHDRAWN = "withdrawn", _("Withdrawn")


class Comparator(TextChoices):
    AT_LEAST = ">=", _("at least")
    ABOVE = ">", _("above")
    AT_MOST = "<=", _("at most")
    EQUAL = "==", _("equal to")
    TRUE = "true", _("true")
