"""Devices or channels from a table: planned first (every problem with its row and field), then written as a whole, or, when asked,
without the rows that have problems. It only creates: a row that exists already is a problem, never overwritten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.utils.translation import gettext as _

from devices.choices import ChannelRole, Fallback
from devices.models import Asset, Channel, Device, DeviceType, Location, Site
from portal.core import audit
from portal.core.errors import DomainError, InvalidInput
from portal.core.tabular import Table, cell_problem

DEVICES, CHANNELS = "devices", "channels"
COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    DEVICES: (
        ("site", "code", "name", "device_type"),
        (
            "location",
            "asset",
            "gateway",
            "serial",
            "report_every_s",
            "fallback",
            "host",
            "port",
            "unit",
            "external_source",
            "external_id",
        ),
    ),
    CHANNELS: (
        ("site", "device", "code", "name", "unit"),
        (
            "role",
            "range_low",
            "range_high",
            "period_s",
            "register",
            "type",
            "divisor",
            "external_source",
            "external_id",
        ),
    ),
}
EXAMPLES = {
    DEVICES: (
        "site,code,name,device_type,location,gateway,report_every_s\n"
        "hall-1,gw-3,Gateway 3,Edge gateway,hall/line-1,,10\n"
        "hall-1,plc-9,PLC 9,Legacy PLC,hall/line-1/cell-2,gw-3,10\n"
    ),
    CHANNELS: (
        "site,device,code,name,unit,range_low,range_high,period_s\n"
        "hall-1,plc-9,TIT,Turbine inlet temperature,Cel,800,1200,3600\n"
    ),
}
REGISTER_TYPES = ("int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
MAX_SHOWN = 500


@dataclass(frozen=True)
class Problem:
    """``row`` as in the file (the header is 1)."""

    row: int
    field: str
    reason: str


@dataclass
class Plan:
    """What an import would write, and what stands in its way."""

    kind: str
    records: list[models.Model] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    rows: int = 0

    @property
    def refused_rows(self) -> int:
        return len({problem.row for problem in self.problems})


def import_plan(*, actor: Any, kind: str, table: Table) -> Plan:
    """Check every row; nothing is written. ``InvalidInput`` on field ``file`` when the header is wrong."""
    required, optional = COLUMNS[kind]
    unknown = [name for name in table.header if name not in (*required, *optional)]
    missing = [name for name in required if name not in table.header]
    if unknown or missing:
        parts = []
        if missing:
            parts.append(_("missing: %(names)s") % {"names": ", ".join(missing)})
        if unknown:
            parts.append(_("unknown: %(names)s") % {"names": ", ".join(unknown)})
        raise InvalidInput({"file": _("The header is wrong (%(parts)s).") % {"parts": "; ".join(parts)}})
    if not table.rows:
        raise InvalidInput({"file": _("There are no rows under the header.")})
    plan = Plan(kind, rows=len(table.rows))
    maker: _Maker = _DeviceMaker(actor) if kind == DEVICES else _ChannelMaker(actor)
    for number, cells in table.rows:
        row = _Row(number, cells, plan.problems)
        record = maker.make(row)
        if record is not None and not row.bad:
            plan.records.append(record)
    return plan


@transaction.atomic
def import_run(*, actor: Any, kind: str, table: Table, partial: bool = False) -> Plan:
    """Write what the plan holds. With problems nothing is written unless ``partial``: then the good rows are. One audit row per
    record. ``rows_refused`` (400) carries the problems."""
    plan = import_plan(actor=actor, kind=kind, table=table)
    if plan.problems and not partial:
        raise DomainError(
            "rows_refused",
            _("%(bad)s of %(all)s rows have problems; nothing was written.")
            % {"bad": plan.refused_rows, "all": plan.rows},
            {"refused": [{"row": p.row, "field": p.field, "message": p.reason} for p in plan.problems[:MAX_SHOWN]]},
            status=400,
        )
    model: Any = Device if kind == DEVICES else Channel
    try:
        with transaction.atomic():
            model.objects.bulk_create(plan.records, batch_size=500)
    except IntegrityError as error:
        raise DomainError("conflict", _("Somebody wrote one of these rows meanwhile. Check again.")) from error
    word = "device" if kind == DEVICES else "channel"
    for record in plan.records:
        audit.record(actor=actor, action=f"{word}.import", obj=record)
    return plan


class _Row:
    """One row being read; problems are noted with its number."""

    def __init__(self, number: int, cells: dict[str, str], problems: list[Problem]) -> None:
        self.number, self.cells, self._problems, self.bad = number, cells, problems, False
        for name, text in cells.items():
            reason = cell_problem(text)
            if reason:
                self.refuse(name, reason)

    def refuse(self, name: str, reason: str) -> None:
        self.bad = True
        self._problems.append(Problem(self.number, name, reason))

    def text(self, name: str, needed: bool = False) -> str:
        value = self.cells.get(name, "")
        if needed and not value:
            self.refuse(name, _("This is needed."))
        return value

    def number_of(self, name: str, default: float | None, whole: bool = False) -> Any:
        value = self.cells.get(name, "")
        if not value:
            return default
        try:
            return int(value) if whole else float(value)
        except ValueError:
            self.refuse(name, _("%(value)s is not a number.") % {"value": value[:40]})
            return default

    def one_of(self, name: str, allowed: list[str] | tuple[str, ...], default: str) -> str:
        value = self.cells.get(name, "") or default
        if value not in allowed:
            self.refuse(name, _("One of: %(all)s.") % {"all": ", ".join(allowed)})
        return value

    def take(self, record: models.Model, fields: dict[str, str]) -> None:
        """The model's own rules, without a query: fields, then ``clean``. ``fields`` maps model fields to columns."""
        relations = {f.name for f in record._meta.fields if f.is_relation}
        for check in (lambda: record.clean_fields(exclude=relations), record.clean):
            try:
                check()
            except ValidationError as error:
                for name, messages in error.message_dict.items():
                    for message in messages:
                        self.refuse(fields.get(name, name), message)


class _Maker:
    """Turns rows into unsaved records; keys of other records are looked up in tables loaded once per site."""

    def __init__(self, actor: Any) -> None:
        self._sites = {site.code: site for site in Site.objects.permitted(actor, "view")}
        self._may_change = set(Site.objects.permitted(actor, "change").values_list("pk", flat=True))
        self._external: set[tuple[str, str]] | None = None
        self._model: type[models.Model] = Device
        self._tables: dict[Any, dict[str, Any]] = {}
        self._codes: dict[Any, set[str]] = {}

    def taken(self, key: Any, rows: models.QuerySet[Any]) -> set[str]:
        """Codes that exist under a site or device, read once."""
        if key not in self._codes:
            self._codes[key] = set(rows.values_list("code", flat=True))
        return self._codes[key]

    def make(self, row: _Row) -> models.Model | None:
        raise NotImplementedError

    def site(self, row: _Row) -> Site | None:
        code = row.text("site", needed=True)
        site = self._sites.get(code)
        if code and site is None:
            row.refuse("site", _("There is no site %(code)s that you may see.") % {"code": code[:40]})
        elif site is not None and site.pk not in self._may_change:
            row.refuse("site", _("You may look at this site but not change it."))
            return None
        return site

    def find(self, row: _Row, name: str, key: Any, load: Callable[[], dict[str, Any]], needed: bool = False) -> Any:
        """The record a cell names, out of a table that is loaded once; None for an empty cell."""
        text = row.text(name, needed)
        if not text:
            return None
        if (name, key) not in self._tables:
            self._tables[(name, key)] = load()
        found = self._tables[(name, key)].get(text)
        if found is None:
            row.refuse(name, _("%(value)s is not known.") % {"value": text[:60]})
        return found

    def external(self, row: _Row) -> dict[str, str]:
        source, key = row.text("external_source"), row.text("external_id")
        if key:
            if self._external is None:
                rows = self._model._default_manager.exclude(external_id="")
                self._external = set(rows.values_list("external_source", "external_id"))
            if (source, key) in self._external:
                row.refuse("external_id", _("Another record has this key of that system."))
            self._external.add((source, key))
        return {"external_source": source, "external_id": key}


class _DeviceMaker(_Maker):
    def __init__(self, actor: Any) -> None:
        super().__init__(actor)
        self._model = Device
        self._new: dict[tuple[Any, str], Device] = {}

    def make(self, row: _Row) -> Device | None:
        site = self.site(row)
        kind = self.find(row, "device_type", None, lambda: {t.name: t for t in DeviceType.objects.all()}, needed=True)
        if site is None:
            return None
        location = self.find(row, "location", site.pk, lambda: {x.path: x for x in Location.objects.filter(site=site)})
        asset = self.find(
            row,
            "asset",
            site.pk,
            lambda: {
                x.code: x for x in Asset.objects.filter(location__site=site).select_related("location").order_by("-id")
            },
        )
        gateway = self._gateway(row, site)
        address = {name: row.text(name) for name in ("host", "port", "unit") if row.text(name)}
        for name in ("port", "unit"):
            if name in address:
                address[name] = row.number_of(name, None, whole=True)
        device = Device(
            site=site,
            code=row.text("code", needed=True),
            name=row.text("name", needed=True),
            location=location,
            asset=asset,
            gateway=gateway,
            serial=row.text("serial"),
            report_every_s=row.number_of("report_every_s", 10, whole=True),
            fallback=row.one_of("fallback", Fallback.values, Fallback.LAST_GOOD.value),
            address=address,
            **self.external(row),
        )
        if kind is not None:
            device.device_type = kind
        row.take(device, {})
        codes = self.taken(site.pk, Device.objects.filter(site=site))
        if device.code in codes:
            row.refuse("code", _("This code is taken at this site; an import never overwrites."))
        codes.add(device.code)
        if not row.bad:
            self._new[(site.pk, device.code)] = device
        return device

    def _gateway(self, row: _Row, site: Site) -> Device | None:
        """A gateway at the site, or one further up in this very file."""
        new = self._new.get((site.pk, row.cells.get("gateway", "")))
        if new is not None:
            return new
        return self.find(row, "gateway", site.pk, lambda: {x.code: x for x in Device.objects.filter(site=site)})


class _ChannelMaker(_Maker):
    def __init__(self, actor: Any) -> None:
        super().__init__(actor)
        self._model = Channel

    def make(self, row: _Row) -> Channel | None:
        site = self.site(row)
        if site is None:
            return None
        device = self.find(
            row, "device", site.pk, lambda: {x.code: x for x in Device.objects.filter(site=site)}, needed=True
        )
        if device is None:
            return None
        source: dict[str, Any] = {}
        if row.text("register"):
            source["register"] = row.number_of("register", None, whole=True)
        if row.text("type"):
            source["type"] = row.one_of("type", REGISTER_TYPES, "")
        if row.text("divisor"):
            source["divisor"] = row.number_of("divisor", None)
        channel = Channel(
            device=device,
            code=row.text("code", needed=True),
            name=row.text("name", needed=True),
            unit=row.text("unit", needed=True),
            role=row.one_of("role", ChannelRole.values, ChannelRole.SIGNAL.value),
            range_low=row.number_of("range_low", None),
            range_high=row.number_of("range_high", None),
            period_s=row.number_of("period_s", 1.0),
            source=source,
            **self.external(row),
        )
        row.take(channel, {})
        if channel.range_low is not None and channel.range_high is not None and channel.range_low >= channel.range_high:
            row.refuse("range_low", _("The lowest value must be below the highest."))
        if channel.period_s <= 0:
            row.refuse("period_s", _("The period must be above zero."))
        codes = self.taken(device.pk, Channel.objects.filter(device=device))
        if channel.code in codes:
            row.refuse("code", _("This code is taken on this device; an import never overwrites."))
        codes.add(channel.code)
        return channel
