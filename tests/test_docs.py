"""The docs say what is so: tables equal the code, links lead somewhere, the documents the project promises are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portal.core.roles import ROLES, SERVICE, SITE, USE_CASE, VERBS
from portal.core.tokens import known_scopes

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md")) + list(ROOT.glob("*.md"))
FOLDERS = "portal|devices|usecases|governance|edge_bridge|coe|marketplace|tests|docs|deploy|scripts|benchmarks"
HEADINGS = {"Site": SITE, "Use case": USE_CASE, "Service": SERVICE}


def table(text: str, heading: str) -> list[list[str]]:
    part = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in part.splitlines()
        if line.startswith("|")
    ]
    return [rows[0], *rows[2:]]


@pytest.mark.parametrize("heading", HEADINGS)
def test_the_permission_tables_are_the_roles(heading: str):
    container = HEADINGS[heading]
    header, *rows = table((ROOT / "docs" / "permissions.md").read_text(), heading)
    assert header == ["role", *VERBS[container]]
    wanted = [
        [role.label]
        + [
            "everywhere"
            if verb in role.everywhere.get(container, ())
            else "granted"
            if verb in role.on.get(container, ())
            else ""
            for verb in VERBS[container]
        ]
        for role in ROLES.values()
    ]
    assert rows == wanted


def test_further_permissions_are_the_roles():
    _, *rows = table((ROOT / "docs" / "permissions.md").read_text(), "Beyond containers")
    assert rows == [
        [role.label, ", ".join(f"`{name}`" for name in role.extra)] for role in ROLES.values() if role.extra
    ]


def test_every_scope_is_explained():
    text = (ROOT / "docs" / "api.md").read_text()
    for scope in known_scopes():
        assert f"`{scope.split(':')[0]}`" in text, scope


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    broken = [t for t in targets if not re.match(r"[a-z]+:", t) and not (page.parent / t).exists()]
    assert not broken, broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path):
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]+\.\w+)`", page.read_text())
    gone = [name for name in named if not (ROOT / name).exists()]
    assert not gone, gone


def test_the_documents_a_newcomer_needs_are_there():
    wanted = ["README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "CONTRIBUTING.md"]
    wanted += [
        f"docs/{n}.md"
        for n in ("architecture", "api", "operations", "permissions", "registries", "signals", "ui", "edge-protocol")
    ]
    wanted += [
        f"docs/entities/{app}.md"
        for app in ("core", "devices", "usecases", "governance", "edge_bridge", "coe", "marketplace")
    ]
    missing = [name for name in wanted if not (ROOT / name).exists()]
    assert not missing, "Missing: " + ", ".join(missing)
