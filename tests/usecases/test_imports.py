"""Lists in and out: dry run, problems at row and field, nothing half-written, round trip, hostile files."""

from __future__ import annotations

import base64
import io
import time
import zipfile
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from openpyxl import Workbook, load_workbook

from portal.core import exports
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry
from portal.core.tabular import MAX_BYTES, WINDOWS, read_table
from tests.usecases.conftest import LINES
from usecases import imports, services
from usecases.models import BusinessCase, EffortNeed, KpiReading, Outcome, UseCase

pytestmark = pytest.mark.django_db
PAGE = reverse("usecases:import")
HEAD = "use_case,kpi,site,period_from,period_to,value,exposure,note\n"


def table(text: str) -> Any:
    return imports.table_of_text(text)


def plan(actor: Any, kind: str, text: str) -> imports.Report:
    return imports.import_plan(actor=actor, kind=kind, table=table(text))


def run(actor: Any, kind: str, text: str, partial: bool = False) -> imports.Report:
    return imports.import_run(actor=actor, kind=kind, table=table(text), partial=partial)


def told(report: imports.Report) -> list[tuple[int, str]]:
    return [(problem.row, problem.field) for problem in report.problems]


def sheet(rows: list[list[Any]]) -> bytes:
    book = Workbook(write_only=True)
    page = book.create_sheet()
    for row in rows:
        page.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def month(cast: Any, at: int, value: Any = 5, note: str = "") -> str:
    return f"{cast.ours.code},NOx emitted,{cast.home.code},2012-{at:02}-01,2012-{at + 1:02}-01,{value},100,{note}\n"


# ---- readings ----------------------------------------------------------------------------------------------------------


def test_readings_are_checked_then_written(cast: Any, outcome: Outcome) -> None:
    text = HEAD + month(cast, 1) + month(cast, 2, 6.5, "from the log")
    report = plan(cast.data_scientist, "kpi_readings", text)
    assert (report.rows, report.new, report.changed, report.same, report.problems) == (2, 2, 0, 0, [])
    assert KpiReading.objects.count() == 3
    assert run(cast.data_scientist, "kpi_readings", text).written == 2
    made = KpiReading.objects.get(period_from=datetime(2012, 2, 1, tzinfo=UTC))
    assert (made.value, made.source, made.note, made.site) == (6.5, "import", "from the log", cast.home)
    assert AuditEntry.objects.filter(action="kpireading.import", object_id=str(made.pk)).count() == 1
    again = plan(cast.data_scientist, "kpi_readings", HEAD + month(cast, 1) + month(cast, 2, 7))
    assert (again.new, again.changed, again.same) == (0, 1, 1)


def test_every_problem_has_its_row_and_field_and_nothing_is_written(cast: Any, outcome: Outcome) -> None:
    here = f"{cast.ours.code},NOx emitted,"
    text = (
        HEAD
        + month(cast, 1)
        + f"{here},2012-03-01,2012-02-01,1,1,\n"  # 3: ends before it begins
        + f"{here},2012-03-01,2012-04-01,nan,1,\n"  # 4
        + f"{here},2012-03-01,2012-04-01,1,-1,\n"  # 5
        + f"{here},March,2012-04-01,1,1,\n"  # 6
        + f"{here},2012-03-01,2012-04-01,=1+1,1,\n"  # 7
        + "nowhere,NOx emitted,,2012-03-01,2012-04-01,1,1,\n"  # 8
        + f"{cast.ours.code},Something else,,2012-03-01,2012-04-01,1,1,\n"  # 9
        + f"{here}mars,2012-03-01,2012-04-01,1,1,\n"  # 10
        + month(cast, 1, 9)  # 11: twice
        + f"{here},2012-03-01,2012-04-01,inf,1e999,\n"  # 12
    )
    report = plan(cast.data_scientist, "kpi_readings", text)
    assert told(report) == [
        (3, "period_to"),
        (4, "value"),
        (5, "exposure"),
        (6, "period_from"),
        (7, "value"),
        (7, "value"),
        (8, "use_case"),
        (9, "kpi"),
        (10, "site"),
        (11, "period_from"),
        (12, "value"),
        (12, "exposure"),
    ]
    with pytest.raises(DomainError) as refused:
        run(cast.data_scientist, "kpi_readings", text)
    assert refused.value.code == "rows_refused"
    assert refused.value.extra["refused"][0]["row"] == 3
    assert KpiReading.objects.count() == 3
    done = run(cast.data_scientist, "kpi_readings", text, partial=True)
    assert (done.written, done.refused_rows) == (1, 10)
    assert KpiReading.objects.count() == 4


def test_periods_that_overlap_are_named_with_the_row_they_meet(cast: Any, outcome: Outcome) -> None:
    here = f"{cast.ours.code},NOx emitted,{cast.home.code},"
    all_plants = f"{cast.ours.code},NOx emitted,,"
    text = (
        HEAD
        + here + "2012-01-01,2012-02-01,1,1,\n"
        + here + "2012-02-01,2012-03-01,1,1,\n"  # 3: begins where row 2 ends
        + here + "2012-02-10,2012-02-20,1,1,\n"  # 4: inside row 3
        + all_plants + "2012-01-15,2012-01-20,1,1,\n"  # 5: row 2 is a part of it
        + here + "2011-03-10,2011-04-01,1,1,\n"  # 6: in March 2011, which is known
        + here + "2011-01-01,2011-01-31,600,100,\n"  # 7: January 2011 made longer, nothing in the way
    )  # fmt: skip
    report = plan(cast.data_scientist, "kpi_readings", text)
    assert told(report) == [(4, "period_from"), (5, "period_from"), (6, "period_from")]
    reasons = [problem.reason for problem in report.problems]
    assert reasons[0] == "Row 3 counts a part of this period already; it would count twice."
    assert reasons[1].startswith("Row 2 ")
    assert reasons[2].startswith("The reading from 1 Mar 2011 to 28 Mar 2011 counts")
    done = run(cast.data_scientist, "kpi_readings", text, partial=True)
    assert (done.written, done.refused_rows) == (3, 3)
    assert plan(cast.data_scientist, "kpi_readings", HEAD + here + "2012-01-01,2012-02-01,1,1,\n").same == 1


def test_a_frozen_baseline_asks_for_a_reason_in_its_column(cast: Any, outcome: Outcome) -> None:
    services.outcomes.baseline_freeze(use_case=cast.ours, now=datetime(2026, 1, 1, tzinfo=UTC), actor=cast.coe_lead)
    head = HEAD.strip() + ",reason\n"
    row = f"{cast.ours.code},NOx emitted,{cast.home.code},2011-05-01,2011-06-01,1,100,"
    assert told(plan(cast.data_scientist, "kpi_readings", f"{head}{row},\n")) == [(2, "reason")]
    run(cast.data_scientist, "kpi_readings", f"{head}{row},Found in the archive\n")
    assert AuditEntry.objects.filter(action="outcome.rebaseline", object_id=str(outcome.pk)).exists()


def test_who_may_only_look_is_told_at_the_row(cast: Any, outcome: Outcome) -> None:
    report = plan(cast.plant_manager, "kpi_readings", HEAD + month(cast, 1))
    assert told(report) == [(2, "use_case")]
    assert "look at" in report.problems[0].reason
    assert "There is no use case" in plan(cast.stranger, "kpi_readings", HEAD + month(cast, 1)).problems[0].reason


def test_ten_thousand_readings_take_seconds_and_few_queries(cast: Any, outcome: Outcome) -> None:
    rows = "".join(
        f"{cast.ours.code},NOx emitted,{cast.home.code},{1000 + at // 300}-{1 + at % 300 // 28:02}-{1 + at % 28:02}T00:00,"
        f"3000-01-01,{at},1,\n"
        for at in range(3000)
    )
    begun = time.perf_counter()
    report = plan(cast.data_scientist, "kpi_readings", HEAD + rows)
    assert report.rows == 3000
    assert time.perf_counter() - begun < 5


# ---- use cases -----------------------------------------------------------------------------------------------------------


def test_use_cases_are_made_changed_and_linked_also_to_ones_further_down(cast: Any) -> None:
    text = (
        "code;title;label;depends_on;owner\n"
        "pump;Pump health;quick_win;lake;\n"
        f"lake;Data lake;Foundation;;{cast.data_scientist.email.upper()}\n"
        f"{cast.ours.code};{cast.ours.title};;;\n"
    )
    report = plan(cast.coe_lead, "use_cases", text)
    assert (report.new, report.changed, report.same, report.problems) == (2, 0, 1, [])
    assert run(cast.coe_lead, "use_cases", text).written == 2
    pump, lake = UseCase.objects.get(code="pump"), UseCase.objects.get(code="lake")
    assert list(pump.depends_on.all()) == [lake]
    assert (lake.label, lake.owner) == ("foundation", cast.data_scientist)
    assert pump.gates.count() == 2


def test_use_cases_that_would_wait_for_each_other_are_refused(cast: Any) -> None:
    text = "code,title,depends_on\na-1,A,b-1\nb-1,B,c-1\nc-1,C,a-1\nd-1,D,nowhere\n"
    report = plan(cast.coe_lead, "use_cases", text)
    assert told(report) == [(2, "depends_on"), (3, "depends_on"), (4, "depends_on"), (5, "depends_on")]
    assert not UseCase.objects.filter(code="a-1").exists()


def test_a_thousand_use_cases_at_once_and_no_more(cast: Any) -> None:
    text = "code,title\n" + "".join(f"case-{at},Case {at}\n" for at in range(1001))
    with pytest.raises(InvalidInput, match="1,000 rows"):
        plan(cast.coe_lead, "use_cases", text)


def test_bad_cells_of_use_cases(cast: Any) -> None:
    text = (
        "code,title,label,owner\nNot a code,A,,\nfine,,,\nalso-fine,B,brilliant,\nok-1,C,,nobody@test.example\n"
        "ok-2,D,,\nok-2,E,,\n"
    )
    assert told(plan(cast.coe_lead, "use_cases", text)) == [
        (2, "code"),
        (3, "title"),
        (4, "label"),
        (5, "owner"),
        (7, "code"),
    ]
    assert "may not make" in plan(cast.data_scientist, "use_cases", "code,title\nnew-1,New\n").problems[0].reason


# ---- lines and efforts ---------------------------------------------------------------------------------------------------


LINE_HEAD = "use_case,kind,name,low,likely,high,first_quarter,last_quarter,note\n"


def test_lines_are_added_and_changed_and_the_others_stay(cast: Any, business: BusinessCase) -> None:
    text = (
        LINE_HEAD
        + f"{cast.ours.code},benefit,fuel,25000,41000,50000,1,12,Invoices of 2025\n"
        + f"{cast.ours.code},Running cost,training,1000,2000,3000,1,4,\n"
    )
    report = plan(cast.data_scientist, "business_lines", text)
    assert (report.new, report.changed, report.same) == (1, 1, 0)
    run(cast.data_scientist, "business_lines", text)
    case = BusinessCase.objects.get()
    found = {line.name: line for line in case.lines.all()}
    assert list(found) == ["sensors", "running", "fuel", "training"]
    assert (int(found["fuel"].likely), found["fuel"].ramp_quarters, found["fuel"].note) == (
        41_000,
        2.0,
        "Invoices of 2025",
    )
    assert case.version == business.version + 1
    assert case.result["npv"] != business.result["npv"]


def test_lines_that_the_calculator_refuses_are_marked_at_their_row(cast: Any, business: BusinessCase) -> None:
    text = (
        LINE_HEAD
        + f"{cast.ours.code},benefit,early,1,2,3,0,4,\n"
        + f"{cast.ours.code},opex,order,3,2,1,1,4,\n"
        + f"{cast.ours.code},opex,minus,-1,2,3,1,4,\n"
        + f"{cast.theirs.code},opex,foreign,1,2,3,1,4,\n"
        + f"{cast.ours.code},tax,odd,1,2,3,1,4,\n"
    )
    report = plan(cast.coe_lead, "business_lines", text)
    assert told(report) == [(2, "first_quarter"), (3, "likely"), (4, "low"), (5, "use_case"), (6, "kind")]
    assert "business case" in report.problems[3].reason
    assert BusinessCase.objects.get().version == business.version


def test_efforts(cast: Any) -> None:
    text = f"use_case,role,quarter,days\n{cast.ours.code},Data scientist,0,20\n{cast.ours.code},ot_engineer,1,2.5\n"
    assert run(cast.data_scientist, "effort_needs", text).written == 2
    assert sorted(EffortNeed.objects.values_list("role", "days")) == [("data_scientist", 20.0), ("ot_engineer", 2.5)]
    again = f"use_case,role,quarter,days\n{cast.ours.code},ot_engineer,1,0\n{cast.ours.code},ot_engineer,3,0\n"
    report = run(cast.data_scientist, "effort_needs", again)
    assert (report.new, report.changed, report.same) == (0, 1, 1)
    assert EffortNeed.objects.get().role == "data_scientist"
    wrong = f"use_case,role,quarter,days\n{cast.ours.code},wizard,0,20\n{cast.ours.code},ot_engineer,1.5,-2\n"
    assert told(plan(cast.data_scientist, "effort_needs", wrong)) == [(2, "role"), (3, "quarter"), (3, "days")]


# ---- round trip ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "xlsx"])
@pytest.mark.parametrize("kind", list(imports.readers()))
def test_what_is_exported_comes_back_as_it_was(
    cast: Any, outcome: Outcome, business: BusinessCase, as_user: Any, kind: str, form: str
) -> None:
    services.use_case_update(
        actor=cast.coe_lead,
        use_case=cast.ours,
        data={"summary": "=SUM(A1) and -1, +2", "required_signals": ["AT", "AP"], "owner": cast.data_scientist},
        many={"depends_on": [cast.theirs]},
    )
    services.business_case_update(
        actor=cast.coe_lead,
        case=business,
        data={},
        lines=[LINES[0], LINES[2] | {"note": "@treasury", "delay_high": 1.5}],
    )
    EffortNeed.objects.create(use_case=cast.ours, role="ot_engineer", quarter=0, days=2.25)
    answer = as_user(cast.coe_lead).get(PAGE, {"kind": kind, "export": form})
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    report = imports.import_plan(actor=cast.coe_lead, kind=kind, table=read_table(content, WINDOWS))
    assert report.problems == []
    assert report.rows > 0
    assert (report.new, report.changed, report.same) == (0, 0, report.rows)


@pytest.mark.parametrize("kind", list(imports.readers()))
def test_the_template_has_the_columns_and_one_row(cast: Any, as_user: Any, kind: str) -> None:
    answer = as_user(cast.coe_lead).get(PAGE, {"kind": kind, "template": "xlsx"})
    rows = list(load_workbook(io.BytesIO(answer.content)).active.iter_rows(values_only=True))
    assert list(rows[0]) == imports.reader_of(kind).names()
    assert len(rows) == 2
    assert imports.table_of_text(imports.template_text(kind)).header == rows[0]


def test_numbers_stay_numbers_and_text_is_neutralised(cast: Any, outcome: Outcome, as_user: Any) -> None:
    KpiReading.objects.update(note="=cmd|' /C calc'!A0", value=-12.5)
    answer = as_user(cast.data_scientist).get(PAGE, {"kind": "kpi_readings", "export": "xlsx"})
    row = next(load_workbook(io.BytesIO(answer.content)).active.iter_rows(min_row=2, max_row=2))
    assert (row[5].value, row[5].data_type) == (-12.5, "n")
    assert row[7].value.startswith("'=cmd")
    assert exports.safe_cell(-3) == -3


# ---- hostile files ---------------------------------------------------------------------------------------------------------


def why(content: bytes, kind: str = "kpi_readings", actor: Any = None) -> str:
    with pytest.raises(InvalidInput) as refused:
        imports.import_plan(actor=actor, kind=kind, table=read_table(content, WINDOWS))
    assert refused.value.errors[0]["field"] == "file"
    return str(refused.value.errors[0]["message"])


def test_a_wrong_header_names_what_is_missing_and_unknown(cast: Any) -> None:
    text = why(b"use_case,kpi,when,value\na,b,c,1\n", actor=cast.coe_lead)
    assert "missing: period_from, period_to, exposure" in text
    assert "unknown: when" in text
    assert "no rows" in why(HEAD.encode(), actor=cast.coe_lead)


def test_a_formula_in_a_workbook_is_refused_at_its_cell(cast: Any, outcome: Outcome) -> None:
    rows = [
        HEAD.strip().split(","),
        [cast.ours.code, "NOx emitted", None, "2012-01-01", "2012-02-01", "=SUM(A1:A9)", 5, None],
    ]
    report = imports.import_plan(actor=cast.data_scientist, kind="kpi_readings", table=read_table(sheet(rows)))
    assert (2, "value") in told(report)
    assert "formula" in report.problems[0].reason


def test_dates_and_numbers_of_a_workbook_are_read(cast: Any, outcome: Outcome) -> None:
    first, last = datetime(2012, 1, 1), datetime(2012, 2, 1)
    rows = [HEAD.strip().split(","), [cast.ours.code, "NOx emitted", cast.home.code, first, last, 5.5, 100, None]]
    report = imports.import_plan(actor=cast.data_scientist, kind="kpi_readings", table=read_table(sheet(rows)))
    assert (report.new, report.problems) == (1, [])


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_a_hundred_thousand_rows_are_answered_quickly(form: str) -> None:
    rows = [["use_case", "role", "quarter", "days"], *([f"case-{at}", "ot_engineer", 0, at] for at in range(100_000))]
    content = sheet(rows) if form == "xlsx" else "\n".join(",".join(map(str, row)) for row in rows).encode()
    begun = time.perf_counter()
    with pytest.raises(InvalidInput, match="10,000"):
        read_table(content)
    assert time.perf_counter() - begun < 5


def test_empty_formatted_rows_do_not_count() -> None:
    rows = [["a", "b"], ["1", "2"], *([None, None] for _ in range(20_000)), ["3", "4"]]
    found = read_table(sheet(rows))
    assert [number for number, _cells in found.rows] == [2, 20_003]


def test_a_file_too_large_says_rows_or_size(cast: Any) -> None:
    assert "10,000" in why(b"a,b\n" + b"1,2\n" * (MAX_BYTES // 4), actor=cast.coe_lead)
    assert "5 MB" in why(b"a,b\n" + b"x" * MAX_BYTES, actor=cast.coe_lead)


def test_a_zip_bomb_is_not_unpacked(cast: Any) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * (60 * 1024 * 1024))
    assert len(out.getvalue()) < 100_000
    assert "unpacks to more than 50 MB" in why(out.getvalue(), actor=cast.coe_lead)


def test_windows_text_and_separators(cast: Any, outcome: Outcome) -> None:
    text = "use_case;role;quarter;days\r\n" + f"{cast.ours.code};Data scientist;0;1\r\n"
    for content in (text.encode("cp1252"), text.replace(";", "\t").encode("utf-8-sig")):
        assert (
            imports.import_plan(actor=cast.data_scientist, kind="effort_needs", table=read_table(content, WINDOWS)).new
            == 1
        )
    umlauts = "code;title\nkuehlung;Kühlung für Öfen\n".encode("cp1252")
    assert read_table(umlauts, WINDOWS).rows[0][1]["title"] == "Kühlung für Öfen"


# ---- page and API ----------------------------------------------------------------------------------------------------------


def test_the_page_checks_first_keeps_the_rows_and_then_writes(cast: Any, outcome: Outcome, as_user: Any) -> None:
    client = as_user(cast.data_scientist)
    upload = SimpleUploadedFile("readings.csv", (HEAD + month(cast, 1)).encode())
    checked = client.post(PAGE, {"kind": "kpi_readings", "file": upload})
    assert checked.status_code == 200
    assert "Nothing has been written yet" in checked.content.decode()
    assert KpiReading.objects.count() == 3
    text = checked.context["form"].initial["text"]
    assert client.post(PAGE, {"kind": "kpi_readings", "text": text, "write": "all"}).status_code == 302
    assert KpiReading.objects.count() == 4


def test_with_problems_only_the_good_rows_are_written_when_asked(cast: Any, outcome: Outcome, as_user: Any) -> None:
    client = as_user(cast.data_scientist)
    text = HEAD + month(cast, 1) + month(cast, 2, "many")
    body = {"kind": "kpi_readings", "text": text}
    shown = client.post(PAGE, body)
    assert shown.status_code == 422
    assert "Import the 1 good row, leave out 1" in shown.content.decode()
    assert client.post(PAGE, body | {"write": "all"}).status_code == 422
    assert KpiReading.objects.count() == 3
    assert client.post(PAGE, body | {"write": "good"}).status_code == 302
    assert KpiReading.objects.count() == 4


def test_a_wrong_header_stands_at_the_file(cast: Any, as_user: Any) -> None:
    upload = SimpleUploadedFile("x.csv", b"a,b\n1,2\n")
    answer = as_user(cast.data_scientist).post(PAGE, {"kind": "effort_needs", "file": upload})
    assert answer.status_code == 400
    assert "missing: use_case, role, quarter, days" in answer.content.decode()
    assert answer.context["form"].errors["file"]
    assert as_user(cast.plant_manager).get(PAGE).status_code == 403


def test_the_api_checks_writes_and_takes_parts(cast: Any, outcome: Outcome, api: Any) -> None:
    client = api(cast.data_scientist)
    good = {"use_case": cast.ours.code, "role": "ot_engineer", "quarter": 0, "days": 2}
    bad = good | {"quarter": 1, "days": "NaN"}
    body = {"kind": "effort_needs", "rows": [good, bad]}

    def send(**more: Any) -> Any:
        return client.post("/api/v1/imports", body | more, format="json")

    dry = send(dry_run=True)
    assert dry.status_code == 200
    assert (dry.json()["new"], dry.json()["refused"], dry.json()["written"]) == (1, 1, 0)
    assert dry.json()["problems"][0] | {"message": ""} == {"row": 3, "field": "days", "message": ""}
    refused = send()
    assert refused.status_code == 400
    assert refused.json()["refused"][0]["row"] == 3
    assert not EffortNeed.objects.exists()
    assert send(partial=True).json()["written"] == 1
    file = base64.b64encode(sheet([list(good), list(good.values())])).decode()
    same = client.post("/api/v1/imports", {"kind": "effort_needs", "file": file}, format="json").json()
    assert (same["same"], same["written"]) == (1, 0)
    for wrong in (
        {"rows": []},
        {"text": ""},
        {"file": "%%%"},
        {},
        {"text": "a", "rows": [good]},
        {"kind": "x", "text": "a"},
    ):
        answer = client.post("/api/v1/imports", {"kind": "effort_needs"} | wrong, format="json")
        assert answer.status_code == 400, wrong
    kinds = client.get("/api/v1/imports").json()
    assert [kind["kind"] for kind in kinds] == list(imports.readers())


def test_the_same_key_imports_once(cast: Any, api: Any) -> None:
    client = api(cast.data_scientist)
    body = {"kind": "effort_needs", "text": f"use_case,role,quarter,days\n{cast.ours.code},ot_engineer,0,2\n"}
    answers = [client.post("/api/v1/imports", body, format="json", HTTP_IDEMPOTENCY_KEY="once") for _ in range(2)]
    assert [answer.json()["written"] for answer in answers] == [1, 1]
    assert answers[1]["Idempotent-Replay"] == "true"
