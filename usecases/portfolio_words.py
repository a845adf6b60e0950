"""What a run of the optimiser says, in words and rows for the pages; the figures come from the stored result alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from portal.core.plots import figure, line
from portal.core.roles import ROLES
from portal.core.templatetags.phasegate import money
from usecases.models import PortfolioRun, Scenario
from usecases.planning import quarter_label

#: From this share of drawn plans on a use case is a safe bet; up to the other it is a poor one.
SAFE, POOR = 0.9, 0.1
#: Up to this gap what more money adds is told without a warning.
FINE = 0.01


class Told:
    """One plan, ready to be shown to somebody who may see the use cases in ``visible`` and the ``sites`` (ids as text)."""

    def __init__(
        self, run: PortfolioRun, scenario: Scenario, visible: Iterable[str], sites: Mapping[str, str] | None = None
    ) -> None:
        self.run, self.scenario, self.result = run, scenario, run.result
        self.sites = sites or {}
        self.currency = run.inputs.get("currency", scenario.currency)
        self.cases: dict[str, dict[str, Any]] = run.inputs.get("cases", {})
        self.problem: dict[str, Any] = run.inputs.get("problem", {})
        self.candidates = {c["key"]: c for c in self.problem.get("candidates", [])}
        self.visible = set(visible)
        self.quarters = [quarter_label(scenario.start, q) for q in range(len(self.problem.get("budget", [])))]

    def money(self, amount: float | None) -> str:
        return money(amount, self.currency)

    def title(self, key: str) -> str:
        return (
            self.cases[key]["title"] if key in self.visible and key in self.cases else _("a use case you may not see")
        )

    def titles(self, keys: Iterable[str]) -> str:
        return ", ".join(self.title(k) for k in keys)

    def link(self, key: str) -> str:
        return reverse("usecases:use-case", args=[key]) if key in self.visible else ""

    @property
    def sentence(self) -> str:
        """What the budget buys, in one sentence."""
        starts = self.result.get("starts")
        if not starts:
            return _("No plan keeps all the rules.")
        asked = len(self.cases)
        text = _("{n} of {of} use cases fit: expected {value} for {spend} of spending.").format(
            n=len(starts), of=asked, value=self.money(self.result["value"]), spend=self.money(sum(self.result["spend"]))
        )
        nxt = next((m for m in self.result.get("marginal", []) if m["quarter"] is None), None)
        if nxt:
            text += " " + self.marginal_text(nxt)
        return text

    def marginal_text(self, row: dict[str, Any]) -> str:
        when = "" if row["quarter"] is None else _(" in {q}").format(q=self.quarters[row["quarter"]])
        if row["gain"] <= 0:
            return _("The next {step}{when} would add nothing.").format(step=self.money(row["step"]), when=when)
        text = _("The next {step}{when} would add {gain}").format(
            step=self.money(row["step"]), when=when, gain=self.money(row["gain"])
        )
        if row["added"]:
            text += ": " + _("{titles} comes in").format(titles=self.titles(row["added"]))
        if row["dropped"]:
            text += _(", {titles} goes out").format(titles=self.titles(row["dropped"]))
        return text + "."

    @property
    def certainty(self) -> str:
        """How good the plan is, in plain words."""
        status, gap = self.result.get("status"), self.result.get("gap")
        if status == "greedy":
            return _("A first plan by value for money; the optimiser was stopped before it found a better one.")
        if status in {"infeasible", "nothing_found", None}:
            return ""
        if gap is None:
            return _("The best plan found in time; how much better another could be is not known.")
        if gap < 0.00005:
            return _("No other plan is worth more.")
        text = _("No plan can be worth more than {gap} % above this one.").format(gap=f"{100 * gap:.2g}")
        if status == "time_limit":
            text = _("The time was over before the best plan was proven.") + " " + text
        return text

    @property
    def unproven(self) -> str:
        """Differences of two plans say little while the first is not proven."""
        gap = self.result.get("gap")
        if not self.result.get("starts") or (gap is not None and gap <= FINE):
            return ""
        return _(
            "This plan is not proven to be the best: some of these gains may be had without more money. Give it more time for a surer answer."
        )

    def gantt(self) -> list[dict[str, Any]]:
        """One row per use case that is in: a cell per quarter ("", starts, runs), its money in that quarter."""
        rows = []
        for key, start in sorted(self.result.get("starts", {}).items(), key=lambda kv: (kv[1], self.title(kv[0]))):
            c = self.candidates[key]
            cells = []
            for q, label in enumerate(self.quarters):
                spent = c["spend"][q - start] if 0 <= q - start < len(c["spend"]) else 0.0
                state = "starts" if q == start else "runs" if q > start else ""
                cells.append({"quarter": label, "state": state, "spend": f"{spent:,.0f}" if spent else ""})
            rows.append(
                {
                    "title": self.title(key),
                    "url": self.link(key),
                    "cells": cells,
                    "starts": self.quarters[start],
                    "value": f"{self.worth(key, start):,.0f}",
                    "foundation": c["foundation"],
                    "must": key in self.problem["must"],
                    "enabling": self.enabling(key),
                }
            )
        return rows

    def worth(self, key: str, start: int) -> float:
        """Expected value as the plan counts it: a later start is worth less, and the values of the rows add up to the plan's."""
        return round(float(self.candidates[key]["value"]) * (1 + self.problem.get("rate", 0.0)) ** -start, 2)

    def enabling(self, key: str) -> str:
        amount = self.result.get("enabling", {}).get(key)
        return self.money(amount) if amount else ""

    def out(self) -> list[dict[str, Any]]:
        """One row per use case that is not in, with the reason and what forcing it in would cost."""
        forced = {c["key"]: c["amount"] for c in self.result.get("costs", []) if c["kind"] == "force"}
        rows = [
            {"key": r["key"], "title": self.title(r["key"]), "url": self.link(r["key"]), "why": self.reason(r),
             "value": self.money(self.candidates[r["key"]]["value"]), "cost": self.forced(forced, r["key"])}
            for r in self.result.get("out", [])
        ]  # fmt: skip
        for key, why in self.run.inputs.get("blocked", {}).items():
            text = (
                _("It has no business case yet, so there is nothing to weigh.")
                if why["code"] == "no_case"
                else _("It needs {other}, which is neither in this plan nor past gate 1.").format(
                    other=why["other"] if why.get("key") in self.visible else _("a use case you may not see")
                )
            )
            rows.append(
                {"key": key, "title": self.title(key), "url": self.link(key), "why": text, "value": "", "cost": ""}
            )
        return rows

    def forced(self, forced: dict[str, float | None], key: str) -> str:
        if key not in forced:
            return ""
        amount = forced[key]
        if amount is None:
            return _("It cannot be forced in.")
        if amount <= 0:
            return _("Forcing it in would cost nothing.")
        return _("Forcing it in would cost {amount}.").format(amount=self.money(amount))

    def reason(self, r: dict[str, Any]) -> str:
        quarter = self.quarters[r["quarter"]] if r["quarter"] is not None else ""
        if r["code"] == "budget":
            return _("Does not fit: {q} lacks {amount} of budget.").format(q=quarter, amount=self.money(r["lacking"]))
        if r["code"] == "capacity":
            return _("Does not fit: {q} lacks {days} days of {role}.").format(
                q=quarter, days=f"{r['lacking']:,.0f}", role=role_label(r["role"])
            )
        if r["code"] == "share":
            return _("With it too little would be spent on {what}.").format(what=self.share_label(r["other"]))
        return {
            "must_not": _("It must stay out."),
            "excluded": _("Only one of it and {other} may start."),
            "needs": _("It needs {other}, which is out."),
            "no_value": _("Its expected value is not above zero."),
            "too_late": _("{other}, which it needs, starts too late in this plan."),
            "within_gap": _("It would fit, but the plan is as good without it."),
        }[r["code"]].format(other=self.title(r["other"]) if r["other"] else "")

    def share_label(self, name: str) -> str:
        if name == "foundations":
            return _("foundations")
        return self.sites.get(name.removeprefix("site:")) or _("a site you may not see")

    def loads(self) -> list[dict[str, Any]]:
        """Per quarter: money and days used of what there is, for bars and tables."""
        rows = [self._load(_("Budget"), self.result["spend"], self.problem["budget"], self.money)]
        for role, used in self.result.get("effort", {}).items():
            label = _("{role}, days").format(role=role_label(role))
            rows.append(self._load(label, used, self.problem["capacity"][role], lambda d: f"{d:,.0f} d"))
        return rows

    def _load(self, label: str, used: list[float], limit: list[float], say: Any) -> dict[str, Any]:
        cells = [
            {
                "quarter": q,
                "text": _("{used} of {limit}").format(used=say(u), limit=say(most)),
                "share": round(100 * u / most, 1) if most else 0.0,
            }
            for q, u, most in zip(self.quarters, used, limit, strict=True)
        ]
        return {"label": label, "cells": cells}

    def rules(self) -> list[str]:
        """What each rule costs, the costliest first."""
        said = []
        found = [c for c in self.result.get("costs", []) if c["kind"] != "force" and c["amount"]]
        for cost in sorted(found, key=lambda c: -c["amount"]):
            amount = self.money(cost["amount"])
            if cost["kind"] == "exclusion":
                a, b = cost["key"].split("|")
                said.append(
                    _("Allowing both {a} and {b} would add {amount}.").format(
                        a=self.title(a), b=self.title(b), amount=amount
                    )
                )
            elif cost["kind"] == "must":
                said.append(
                    _("Not insisting on {a} would add {amount}.").format(a=self.title(cost["key"]), amount=amount)
                )
            else:
                said.append(_("Allowing {a} would add {amount}.").format(a=self.title(cost["key"]), amount=amount))
        return said  # fmt: skip

    def marginals(self) -> list[dict[str, Any]]:
        """Each with the moves of the budget that a click makes: (quarter, money)."""
        budget = self.problem["budget"]
        total = sum(budget)
        rows = []
        for row in self.result.get("marginal", []):
            spread = [b / total if total else 1 / len(budget) for b in budget]
            moves = [(q, round(row["step"] * part, 2)) for q, part in enumerate(spread)]
            if row["quarter"] is not None:
                moves = [(row["quarter"], row["step"])]
            rows.append({"text": self.marginal_text(row), "gain": row["gain"], "moves": moves})
        return rows

    def relief(self) -> str:
        """What to relax first when nothing fits."""
        relax = self.result.get("relax") or {}
        ways = []
        for kind, what, quarter, exact in relax.get("raises", []):
            amount = math.ceil(exact - 0.001)
            if kind == "budget":
                ways.append(_("raise {q} by {amount}").format(q=self.quarters[quarter], amount=self.money(amount)))
            elif kind == "capacity":
                ways.append(
                    _("add {days} days of {role} in {q}").format(
                        days=f"{amount:,}", role=role_label(what), q=self.quarters[quarter]
                    )
                )
            else:
                ways.append(_("give up the least share for {what}").format(what=self.share_label(what)))
        first = _(" and ").join(ways)
        drops = self.titles(relax.get("drops", []))
        if first and drops:
            return _("Does not fit: {raises}, or drop {drops}.").format(raises=first, drops=drops)
        if first or drops:
            return _("Does not fit: {way}.").format(way=first or _("drop {drops}").format(drops=drops))
        return _("Does not fit: what must be in contradicts the dependencies and exclusions; take one of them back.")

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The whole plan for a spreadsheet: what is in with its money per quarter, then what is out and why."""
        header = [
            _("Use case"),
            _("Code"),
            _("In the plan"),
            _("Starts"),
            _("Expected value"),
            _("Currency"),
            *self.quarters,
            _("Why not"),
            _("If you insisted"),
        ]
        rows: list[list[Any]] = []
        for key, start in sorted(self.result.get("starts", {}).items(), key=lambda kv: (kv[1], self.title(kv[0]))):
            c = self.candidates[key]
            spend = [
                c["spend"][q - start] if 0 <= q - start < len(c["spend"]) else 0.0 for q in range(len(self.quarters))
            ]
            rows.append(
                [
                    self.title(key),
                    self.code(key),
                    True,
                    self.quarters[start],
                    self.worth(key, start),
                    self.currency,
                    *spend,
                    "",
                    "",
                ]
            )
        blank: list[Any] = [None] * len(self.quarters)
        for row in self.out():
            worth = self.candidates[row["key"]]["value"] if row["key"] in self.candidates else None
            rows.append(
                [row["title"], self.code(row["key"]), False, "", worth, self.currency, *blank, row["why"], row["cost"]]
            )
        return header, rows

    def code(self, key: str) -> str:
        return str(self.cases[key]["code"]) if key in self.visible and key in self.cases else ""

    def bets(self, core: PortfolioRun) -> list[dict[str, Any]]:
        """Use cases by the share of drawn plans that contain them."""
        share, done = core.result.get("share", {}), core.result.get("done", 0)
        rows = []
        for key, part in sorted(share.items(), key=lambda kv: (-kv[1], self.title(kv[0]))):
            verdict = _("a safe bet") if part >= SAFE else _("out") if part <= POOR else _("depends")
            rows.append(
                {
                    "title": self.title(key),
                    "url": self.link(key),
                    "share": round(100 * part),
                    "text": _("In {n} of {of} plans: {verdict}").format(n=round(part * done), of=done, verdict=verdict),
                    "tone": "ok" if part >= SAFE else "unknown" if part <= POOR else "watch",
                }
            )
        return rows


def role_label(key: str) -> str:
    return ROLES[key].label if key in ROLES else key


def frontier_figure(run: PortfolioRun, currency: str) -> dict[str, Any]:
    points = run.result.get("points", [])
    return figure(
        [line([p["budget"] for p in points], [p["value"] for p in points], _("Expected value"), mode="lines+markers")],
        x_title=_("budget ({currency})").format(currency=currency),
        y_title=_("expected value ({currency})").format(currency=currency),
        height=300,
    )


def frontier_title(run: PortfolioRun, currency: str) -> str:
    """Where more budget stops paying: the first point after which the value hardly grows."""
    points = run.result.get("points", [])
    if len(points) < 2:
        return _("Too few points yet")
    best = points[-1]["value"]
    enough = next((p for p in points if p["value"] >= 0.95 * best), points[-1])
    return _("{budget} buys 95 % of what twice the budget would").format(budget=money(enough["budget"], currency))
