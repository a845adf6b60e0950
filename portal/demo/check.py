"""The demo's story against a running demo, through the API only. Prints each step with its figures; exit code 0 only if all hold."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx

from edge_bridge.demo.replay import load
from portal.demo.paths import DemoError, Paths

# The laboratory's delay, the windows and the repair all need rows; at two to four rows a second this is ample.
PATIENCE_S = 900
DECAY_LEAD_ROWS = 60


class Broken(Exception):
    """A step of the story does not hold."""


@dataclass
class Story:
    url: str
    tokens: dict[str, str]
    failures: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, *, role: str = "coe_lead", **extra: Any) -> Any:
        answer = httpx.request(
            method,
            f"{self.url}/api/v1/{path}",
            headers={"Authorization": f"Bearer {self.tokens[role]}"} | extra.pop("headers", {}),
            timeout=60,
            **extra,
        )
        if answer.status_code >= 400:
            raise Broken(f"{method} {path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json() if answer.content else None

    def get(self, path: str, **params: Any) -> Any:
        role = params.pop("role", "coe_lead")
        return self.call("GET", path, role=role, params=params)

    def all(self, path: str, **params: Any) -> list[dict[str, Any]]:
        page = self.get(path, page_size=1000, **params)
        rows: list[dict[str, Any]] = page["results"]
        while page["next"]:
            page = httpx.get(
                page["next"],
                headers={"Authorization": f"Bearer {self.tokens[params.get('role', 'coe_lead')]}"},
                timeout=60,
            ).json()
            rows += page["results"]
        return rows

    def one(self, path: str, **wanted: Any) -> dict[str, Any]:
        for row in self.all(path):
            if all(row.get(key) == value for key, value in wanted.items()):
                return row
        raise Broken(f"there is no {path} with {wanted}")

    def step(self, number: str, title: str, act: Callable[[], str]) -> None:
        try:
            said = act()
        except (Broken, httpx.HTTPError, KeyError, IndexError, TypeError) as error:
            self.failures.append(number)
            print(f"  FAILED  {number} {title}: {type(error).__name__} {error}", flush=True)
            return
        print(f"  ok      {number} {title}: {said}", flush=True)


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Broken(otherwise)


def run(paths: Paths) -> int:
    if not paths.demo_json.exists():
        raise DemoError(f"no demo is running in {paths.home}; start it with `make demo` and the same HOME_DIR.")
    known = json.loads(paths.demo_json.read_text())
    story = Story(known["url"], {user["role"]: user["token"] for user in known["users"]})
    print(f"The story at {story.url}", flush=True)
    checks = Checks(story)
    for number, title, act in checks.steps():
        story.step(number, title, act)
    if story.failures:
        print(f"\n{len(story.failures)} of the steps do not hold: {', '.join(story.failures)}.", flush=True)
        return 1
    print("\nThe whole story holds.", flush=True)
    return 0


class Checks:
    def __init__(self, story: Story) -> None:
        self.s = story
        self.incident: dict[str, Any] = {}

    def steps(self) -> list[tuple[str, str, Callable[[], str]]]:
        return [
            ("1.1", "three sites, labelled", self.sites),
            ("1.2", "PLC to gateway to portal", self.gateways),
            ("2.1", "ranking and its verdict", self.ranking),
            ("2.2", "sliders rank again", self.what_if),
            ("2.3", "business case", self.business_case),
            ("3.1", "device with live signals", self.signals),
            ("3.2", "models signed, quantised where the type allows", self.models),
            ("4.1", "lineage from prediction to channel", self.lineage),
            ("4.2", "decay found, alert", self.decay),
            ("4.3", "retrained, rolled out, live", self.repair),
            ("4.4", "a refused challenger is kept", self.refused),
            ("4.5", "SLO: alert to retrain", self.slo),
            ("5.1", "gate 3 saw the criterion turn red and green", self.gate),
            ("5.2", "the frozen evidence verifies", self.verify),
            ("6.1", "retrospective filled from the incident", self.retrospective),
            ("6.2", "ROI review, planned against measured", self.roi),
            ("7.1", "paid call, metered, invoice reconciles", self.paid_call),
            ("8.1", "what a stranger may not see is 404", self.stranger),
        ]

    @property
    def turbine(self) -> dict[str, Any]:
        return self.s.one("sites", code="turbine-hall-1")

    def _adoption(self) -> dict[str, Any]:
        case = self.s.one("use-cases", code="nox-soft-sensor")
        return self.s.one("adoptions", use_case=case["id"], site=self.turbine["id"])

    def sites(self) -> str:
        rows = {row["code"]: row for row in self.s.all("sites")}
        expect({"turbine-hall-1", "workshop-7", "process-unit"} <= set(rows), "a site is missing")
        expect(
            rows["process-unit"]["kind"] == "simulated" and rows["turbine-hall-1"]["kind"] == "replay",
            "a site does not say what it is",
        )
        return f"{len(rows)} sites; process unit says it is simulated"

    def gateways(self) -> str:
        before = self.s.get(f"sites/{self.turbine['id']}/replay")
        expect(before["state"] in {"running", "finished"}, f"the replay is {before['state']}")
        online = [
            g for g in self.s.all("gateways") if g["site"] == self.turbine["id"] and g["connectivity"] == "online"
        ]
        expect(len(online) == 2, f"{len(online)} of 2 gateways are online")
        if before["state"] == "finished":
            return f"2 gateways online, replay finished at plant time {before['plant_now']}"
        began = time.monotonic()
        while time.monotonic() - began < 60:
            time.sleep(2)
            after = self.s.get(f"sites/{self.turbine['id']}/replay")
            if after["rows_done"] > before["rows_done"]:
                rows, spent = after["rows_done"] - before["rows_done"], time.monotonic() - began
                return f"2 gateways online, {rows} rows more within {spent:.0f} s, plant time {after['plant_now']}"
        raise Broken("no row came within a minute")

    def _round(self) -> dict[str, Any]:
        return self.s.one("scoring-rounds", title="Portfolio workshop")

    def ranking(self) -> str:
        result = self.s.get(f"scoring-rounds/{self._round()['id']}/results")
        rows = result["rows"]
        expect(rows[0]["rank"] == 1 and len(rows) >= 5, "the ranking is not whole")
        return f"first {rows[0]['title']}; verdict {result['verdict']}"

    def what_if(self) -> str:
        began = time.monotonic()
        criteria = {c["key"]: c for c in self.s.all("criteria") if c["parent"] is None}
        weights = {key: (0.05 if key == "roi" else 0.475) for key in criteria}
        result = self.s.call(
            "POST", f"scoring-rounds/{self._round()['id']}/what-if", role="plant_manager", json={"weights": weights}
        )
        return f"{len(result['rows'])} use cases ranked again in {1000 * (time.monotonic() - began):.0f} ms, first {result['rows'][0]['title']}"

    def business_case(self) -> str:
        case = self.s.one("use-cases", code="nox-soft-sensor")
        row = self.s.one("business-cases", use_case=case["id"])
        expect("ssumption" in row["assumption"], "the money does not say that it is an assumption")
        evidence = self._evidence(1, "align.npv")
        return f"{evidence['text']}"

    def _plc(self) -> dict[str, Any]:
        return self.s.one("devices", code="turbine", site=self.turbine["id"])

    def signals(self) -> str:
        found = self.s.get(f"devices/{self._plc()['id']}/signals")
        text = json.dumps(found)
        expect("TIT" in text, "the live signals do not name the channel TIT")
        return f"{len(text) // 1024} KiB of live signals with 9 channels"

    def models(self) -> str:
        live = [v for v in self.s.all("model-versions") if v["state"] == "live"]
        kinds = {v["quantisation"] for v in live}
        expect(len(live) >= 4 and all(v["signature"] for v in live), f"{len(live)} signed versions are live")
        expect({"int8", "not_applicable"} <= kinds, f"quantisation is {kinds}")
        return f"{len(live)} live, all signed; quantisation {', '.join(sorted(kinds))}"

    def lineage(self) -> str:
        evidence = self._evidence(3, "trust.lineage")
        expect(evidence["state"] == "met", evidence["text"])
        return str(evidence["text"])

    def _live_incidents(self) -> list[dict[str, Any]]:
        adoption = self._adoption()["id"]
        rows = [i for i in self.s.all("incidents") if i["adoption"] == adoption and not i["fast_forwarded"]]
        return sorted(rows, key=lambda i: i["opened_at"])

    def decay(self) -> str:
        """The first live alert at or after the boundary; jumps near it when the replay is still far away."""
        site = self.turbine["id"]
        replay = load("turbine")
        boundary = replay.first_of("2014")
        state = self.s.get(f"sites/{site}/replay")
        if state["rows_done"] < boundary - DECAY_LEAD_ROWS:
            self.s.call(
                "POST", f"sites/{site}/replay", role="ot_engineer", json={"jump_row": boundary - DECAY_LEAD_ROWS}
            )
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            row = self._after_boundary()
            if row is not None:
                return row
            time.sleep(3)
        raise Broken(f"no retraining began within {PATIENCE_S} s")

    def _after_boundary(self) -> str | None:
        for incident in self._live_incidents():
            due = [
                r
                for r in self.s.all("retrainings")
                if r["incident"] == incident["id"] and (r["train_to"] or "") >= "2014-01-01"
            ]
            if due:
                self.incident = incident
                replay = load("turbine")
                rows = int((_ms(due[0]["train_to"]) - replay.plant_ms[replay.first_of("2014")]) / 3_600_000)
                expect(rows <= 600, f"found {rows} rows after the boundary; 600 are allowed")
                return f"{incident['title']}; found {rows} rows after the 2013/14 boundary; {incident['cause']}"
        return None

    def repair(self) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            rows = [r for r in self.s.all("retrainings") if r["incident"] == self.incident["id"]]
            done = [r for r in rows if r["state"] == "live" and (r["train_to"] or "") >= "2014-01-01"]
            if done:
                last = done[-1]
                seconds = _seconds(last["finished_at"]) - _seconds(last["created_at"])
                old, new = last["comparison"]["incumbent_mae"], last["comparison"]["challenger_mae"]
                return f"from due to live in {seconds:.0f} s (wall time); typically off by {new:.2f} against {old:.2f} mg/m3 on held-out rows"
            time.sleep(3)
        raise Broken("no version of the repair went live")

    def refused(self) -> str:
        rows = [r for r in self.s.all("retrainings") if r["state"] == "refused"]
        expect(bool(rows), "no refused challenger is on record")
        best = rows[-1]["comparison"]
        return f"{len(rows)} refused, the last with {best['challenger_rmse']:.1f} against {best['incumbent_rmse']:.1f}"

    def slo(self) -> str:
        slo = self.s.one("slos", adoption=self._adoption()["id"], kind="alert_to_retrain")
        found = self.s.get(f"slos/{slo['id']}/status")
        incident = self.s.get(f"incidents/{self.incident['id']}")
        expect(incident["live_at"] is not None, "the incident has no version live")
        seconds = _seconds(incident["live_at"]) - _seconds(incident["opened_at"])
        expect(seconds < 7200, f"the repair took {seconds:.0f} s")
        return f"{seconds:.0f} s from alert to live (wall time), limit 7200 s; status {json.dumps(found)[:80]}…"

    def _gate(self, number: int) -> dict[str, Any]:
        case = self.s.one("use-cases", code="nox-soft-sensor")
        adoption = self._adoption()["id"] if number in {2, 3, 4} else None
        return self.s.one("gates", use_case=case["id"], adoption=adoption, number=number)

    def _evidence(self, number: int, key: str) -> dict[str, Any]:
        gate = self._gate(number)["id"]
        return self.s.one("evidence", gate=gate, key=key, current=True)

    def gate(self) -> str:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            gate = self._gate(3)
            states = [
                e["state"] for e in self.s.all("evidence") if e["gate"] == gate["id"] and e["key"] == "trust.drift"
            ]
            if "not_met" in states and "met" in states and self._evidence(3, "trust.drift")["state"] == "met":
                return f"trust.drift went through {', '.join(states)}; the gate is {gate['state']}"
            time.sleep(3)
        raise Broken(f"trust.drift was only {set(states)}")

    def verify(self) -> str:
        reviews = [r for r in self.s.all("gate-reviews") if r["state"] == "decided"]
        expect(len(reviews) >= 5, f"{len(reviews)} decided reviews")
        for review in reviews:
            found = self.s.get(f"gate-reviews/{review['id']}/verify")
            expect(bool(found.get("intact", found.get("verified", found.get("valid")))), f"{found}")
        return f"{len(reviews)} reviews verify"

    def retrospective(self) -> str:
        rows = [r for r in self.s.all("retrospectives") if r["site"] == self.turbine["id"]]
        filled = [r for r in rows if r["summary"].get("incidents")]
        held = [r for r in rows if r["state"] == "held"]
        expect(bool(filled) and bool(held), "no retrospective is filled in and held")
        return f"{len(rows)} months prepared, {len(filled)} with incidents, {len(held)} held"

    def roi(self) -> str:
        rows = [r for r in self.s.all("roi-reviews") if r["adoption"] == self._adoption()["id"]]
        expect(bool(rows) and any(r["held_at"] for r in rows), "no ROI review is held")
        last = sorted(rows, key=lambda r: r["quarter"])[-1]
        return (
            f"{last['quarter']}: planned {last['planned']}, measured {last['measured']} ({last['measured_low']} to {last['measured_high']}) {last['currency']}, "
            f"{last['verdict']}"
        )

    def paid_call(self) -> str:
        subscription = next(s for s in self.s.all("subscriptions", role="external_partner") if not s["internal"])
        key = self.s.call(
            "POST",
            f"subscriptions/{subscription['id']}/keys",
            role="external_partner",
            json={"name": f"check {uuid4().hex[:6]}"},
        )
        secret = key.get("secret") or key["key"]
        replay: Any = load("turbine")
        rows = [dict(zip(replay.columns, values, strict=True)) for values in replay.values[100:125].tolist()]
        call: dict[str, Any] = {
            "headers": {"Authorization": f"Bearer {secret}", "Idempotency-Key": uuid4().hex},
            "json": {"rows": rows},
            "timeout": 60,
        }
        address = f"{self.s.url}/services/nox-soft-sensor/v1/score"
        now = self._metered(subscription["id"])
        first, again = httpx.post(address, **call), httpx.post(address, **call)
        expect(first.status_code == 200, f"the call answered {first.status_code}: {first.text[:200]}")
        expect(again.content == first.content, "the repeated call was not the same answer")
        values = [p["value"] for p in first.json()["predictions"]]
        off = sum(abs(v - t) for v, t in zip(values, replay.label[100:125].tolist(), strict=True)) / len(values)
        then = self._metered(subscription["id"])
        billed = then["events"] - now["events"], then["preview"]["units"] - now["preview"]["units"]
        expect(billed == (25, 25), f"25 rows raised the usage by {billed[0]} and the invoice by {billed[1]}")
        checks = [self.s.get(f"invoices/{i['id']}/reconcile", role="external_partner") for i in then["invoices"]]
        for found in [then["preview"], *checks]:
            expect(
                found["holds"] and not found["differences"], f"an invoice does not reconcile: {found['differences']}"
            )
        return (
            f"25 rows scored (typically off by {off:.2f}), billed once; {len(checks)} invoices and the running month reconcile, "
            f"{then['preview']['units']} rows so far, {then['preview']['total']}"
        )

    def _metered(self, subscription: str) -> dict[str, Any]:
        """Units of all usage events, the running month as an invoice, and the invoices drawn up, of one subscription."""

        def own(path: str) -> list[dict[str, Any]]:
            return [row for row in self.s.all(path, role="external_partner") if row["subscription"] == subscription]

        return {
            "events": sum(row["units"] for row in own("usage-events")),
            "preview": self.s.get(f"subscriptions/{subscription}/preview", role="external_partner"),
            "invoices": own("invoices"),
        }

    def stranger(self) -> str:
        site = self.turbine["id"]
        answer = httpx.get(
            f"{self.s.url}/api/v1/sites/{site}",
            headers={"Authorization": f"Bearer {self.s.tokens['external_partner']}"},
            timeout=30,
        )
        expect(answer.status_code == 404, f"the partner got {answer.status_code} for a site")
        nobody = httpx.get(f"{self.s.url}/api/v1/sites", timeout=30)
        expect(nobody.status_code == 401, f"nobody got {nobody.status_code}")
        return "404 for a partner, 401 for nobody"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _ms(text: str) -> float:
    return _seconds(text) * 1000
