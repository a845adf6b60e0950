"""Lists from CSV and XLSX: what is refused and why, nothing half-written."""

import io
import zipfile

import pytest

from devices import importing
from devices.models import Channel, Device
from portal.core.errors import DomainError, InvalidInput
from portal.core.models import AuditEntry
from portal.core.tabular import MAX_BYTES, read_table
from tests.factories import make_device, make_device_type, make_location

HEAD = "site,code,name,device_type"


def why(content: bytes) -> str:
    with pytest.raises(InvalidInput) as refused:
        read_table(content)
    assert refused.value.errors[0]["field"] == "file"
    return refused.value.errors[0]["message"]


def xlsx(rows) -> bytes:
    from openpyxl import Workbook

    book = Workbook()
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_separators_marks_and_blank_lines():
    for content in (b"A Code;b\r\n\r\n1;2\r\n", b"\xef\xbb\xbfa code,b\n1,2\n,\n", b"a_code\tb\n1\t2\n"):
        table = read_table(content)
        assert table.header == ("a_code", "b")
        assert [cells for _, cells in table.rows] == [{"a_code": "1", "b": "2"}]
    assert read_table(b"a,b\n\n1,2\n").rows[0][0] == 3
    again = read_table(read_table(b'a,b\n"x, y","l1\nl2"\n').as_csv().encode())
    assert again.rows[0][1] == {"a": "x, y", "b": "l1\nl2"}


def test_unreadable_files_say_why():
    assert "nothing in it" in why(b"  \n ")
    assert "UTF-8" in why("ä;b".encode("latin-1") + b"\xff")
    assert "text file" in why(b"a,b\n\0,1")
    assert "twice" in why(b"a,a\n1,2")
    assert "no name" in why(b"a,,c\n1,2,3")
    assert "Line 2" in why(b'a,b\n"x,1')
    assert "5 MB" in why(b"a" * (MAX_BYTES + 1))
    assert "10,000" in why(b"a\n" + b"1\n" * 10_001)
    assert "XLSX" in why(b"PK\x03\x04broken")


def test_xlsx_reads_like_csv_and_a_bomb_is_not_unpacked():
    table = read_table(xlsx([["a", "b"], [1.0, None], ["=1+1", "x"]]))
    assert [cells for _, cells in table.rows] == [{"a": "1", "b": ""}, {"a": "=1+1", "b": "x"}]
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 60_000_000)
    assert len(bomb.getvalue()) < 100_000
    assert "50 MB" in why(bomb.getvalue())
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", b"hello")
    assert "XLSX" in why(other.getvalue())


@pytest.fixture
def plant(cast):
    area = make_location(cast.home, "area", code="hall")
    make_location(cast.home, "cell", area, code="c1")
    make_device_type("gateway", name="Edge gateway")
    make_device_type("plc", name="Legacy PLC")
    return cast


def run(actor, text: str, kind: str = "devices", **extra):
    return importing.import_run(actor=actor, kind=kind, table=read_table(text.encode()), **extra)


def problems(actor, text: str, kind: str = "devices"):
    plan = importing.import_plan(actor=actor, kind=kind, table=read_table(text.encode()))
    return {(p.row, p.field) for p in plan.problems}


@pytest.mark.django_db
def test_devices_with_a_gateway_of_the_same_file(plant, django_assert_max_num_queries):
    text = (
        f"{HEAD},location,gateway,host,port,report_every_s,external_source,external_id\n"
        "home,gw-1,Gateway 1,Edge gateway,hall,,10.0.0.1,8443,5,cmms,1\n"
        "home,plc-1,PLC 1,Legacy PLC,hall/c1,gw-1,,,,cmms,2\n"
    )
    assert problems(plant.ot_engineer, text) == set()
    assert not Device.objects.exists()
    run(plant.ot_engineer, text)
    plc = Device.objects.get(code="plc-1")
    assert (plc.gateway.code, plc.location.path, plc.state) == ("gw-1", "hall/c1", "planned")
    gateway = Device.objects.get(code="gw-1")
    assert (gateway.address, gateway.report_every_s) == ({"host": "10.0.0.1", "port": 8443}, 5)
    assert AuditEntry.objects.filter(action="device.import").count() == 2
    assert problems(plant.ot_engineer, text) == {
        (2, "code"),
        (3, "code"),
        (2, "external_id"),
        (3, "external_id"),
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("nowhere,gw-1,G,Edge gateway", "site"),
        ("away,gw-1,G,Edge gateway", "site"),
        (",gw-1,G,Edge gateway", "site"),
        ("home,GW 1,G,Edge gateway", "code"),
        ("home,,G,Edge gateway", "code"),
        ("home,gw-1,,Edge gateway", "name"),
        (f"home,gw-1,{'x' * 121},Edge gateway", "name"),
        ("home,gw-1,G,Toaster", "device_type"),
        ("home,gw-1,=HYPERLINK(1),Edge gateway", "name"),
        ("home,gw-1,@SUM(A1),Edge gateway", "name"),
        ("home,gw-1,a\x07b,Edge gateway", "name"),
    ],
)
def test_a_bad_row_is_named_with_its_field(plant, row, field):
    text = f"{HEAD}\nhome,ok-1,Fine,Edge gateway\n{row}\n"
    assert (3, field) in problems(plant.ot_engineer, text)
    with pytest.raises(DomainError) as refused:
        run(plant.ot_engineer, text)
    assert refused.value.code == "rows_refused"
    assert refused.value.extra["refused"][0]["row"] == 3
    assert not Device.objects.exists()
    assert len(run(plant.ot_engineer, text, partial=True).records) == 1
    assert Device.objects.get().code == "ok-1"


@pytest.mark.django_db
def test_seeing_a_site_is_not_changing_it(plant):
    text = f"{HEAD}\nhome,gw-1,G,Edge gateway\n"
    assert problems(plant.plant_manager, text) == {(2, "site")}
    assert problems(plant.stranger, text) == {(2, "site")}


@pytest.mark.django_db
def test_a_wrong_header_is_refused_at_once(plant):
    for text in ("site,code\nhome,x\n", f"{HEAD},colour\nhome,x,y,z,red\n", f"{HEAD}\n"):
        with pytest.raises(InvalidInput):
            run(plant.ot_engineer, text)


@pytest.mark.django_db
def test_channels(plant):
    make_device(plant.home, "plc", code="plc-1")
    head = "site,device,code,name,unit,role,range_low,range_high,period_s,register,type,divisor\n"
    good = "home,plc-1,AT,Ambient,Cel,signal,-30,60,3600,6,int32,100000\nhome,plc-1,NOX,NOx,mg/m3,label,,,3600,,,\n"
    run(plant.ot_engineer, head + good, "channels")
    channel = Channel.objects.get(code="AT")
    assert (channel.range_low, channel.source) == (-30.0, {"register": 6, "type": "int32", "divisor": 100000.0})
    bad = (
        "home,plc-1,AT,Again,Cel,signal,,,,,,\n"
        "home,plc-1,AP,x,mbar,signal,9,1,,,,\n"
        "home,plc-1,AH,x,%,signal,nan,1,,,,\n"
        "home,plc-1,TIT,x,Cel,signal,,,0,,,\n"
        "home,plc-1,TAT,x,Cel,guess,,,,,,\n"
        "home,plc-9,TEY,x,MWh,signal,,,,,,\n"
        "home,plc-1,CDP,x,mbar,signal,low,,,,,\n"
        "home,plc-1,GTEP,x,mbar,signal,,,,,int99,\n"
    )
    assert problems(plant.ot_engineer, head + bad, "channels") >= {
        (2, "code"),
        (3, "range_low"),
        (4, "range_low"),
        (5, "period_s"),
        (6, "role"),
        (7, "device"),
        (8, "range_low"),
        (9, "type"),
    }


@pytest.mark.django_db
def test_a_long_list_needs_few_queries(plant, django_assert_max_num_queries):
    text = HEAD + "\n" + "".join(f"home,d-{i},Device {i},Legacy PLC\n" for i in range(1500))
    with django_assert_max_num_queries(12):
        importing.import_plan(actor=plant.ot_engineer, kind="devices", table=read_table(text.encode()))
