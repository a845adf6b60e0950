"""The code keeps to docs/architecture.md: imports, foreign keys, migrations, settings, sizes, permission at the root of every read."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.dispatch import Signal

from portal.core.models import Entity
from tests.routes import routes, viewsets

ROOT = Path(__file__).resolve().parents[1]
APPS = ("portal", "devices", "usecases", "governance", "edge_bridge", "coe", "marketplace")
ORDER = {"core": 0, "devices": 1, "usecases": 2, "governance": 3, "edge_bridge": 4, "coe": 4, "marketplace": 4}
FOREIGN = {"auth", "contenttypes", "sessions"}
LONGER: dict[str, int] = {}  # file -> lines, for a file that may be longer than 500; there is none


def sources(*folders: str) -> list[Path]:
    return [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py")) if "migrations" not in p.parts]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(arguments), cwd=ROOT, capture_output=True, text=True, timeout=240, check=False, env=dict(os.environ)
    )


def test_import_contracts():
    done = command(str(Path(sys.executable).parent / "lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_domain_code_of_every_app_is_under_the_contract():
    text = (ROOT / "pyproject.toml").read_text()
    for folder in ROOT.glob("*/domain"):
        assert f'"{folder.parent.name}.domain"' in text, f"{folder.parent.name}.domain is in no import contract"


def test_foreign_keys_point_down():
    wrong = []
    for model in apps.get_models():
        here = model._meta.app_label
        if here not in ORDER:
            continue
        for field in model._meta.get_fields():
            target = field.related_model if field.is_relation and not field.auto_created else None
            there = target._meta.app_label if target is not None and hasattr(target, "_meta") else here
            if there != here and there not in FOREIGN and ORDER.get(there, 99) >= ORDER[here]:
                wrong.append(f"{model._meta.label}.{field.name} -> {target._meta.label}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.django_db
def test_no_migration_is_missing():
    done = command(sys.executable, "manage.py", "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def _read_from_environment() -> set[str]:
    """Names of every variable that the code reads, by env_*() or os.environ."""
    found: set[str] = set()
    pattern = re.compile(
        r"""(?:env_(?:str|bool|int|list)\(\s*|environ\.get\(\s*|environ\[\s*|getenv\(\s*)["']([A-Z][A-Z0-9_]+)["']"""
    )
    for path in sources("portal", *APPS[1:]):
        found |= set(pattern.findall(path.read_text()))
    return found - {"DJANGO_SETTINGS_MODULE", "PATH", "HOME"}


def test_every_variable_is_in_the_operations_page():
    page = (ROOT / "docs" / "operations.md").read_text()
    missing = sorted(name for name in _read_from_environment() if f"`{name}`" not in page)
    assert not missing, "Not in docs/operations.md: " + ", ".join(missing)


def test_no_file_is_longer_than_500_lines():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources(*APPS, "tests", "benchmarks", "scripts")
        if (lines := len(path.read_text().splitlines())) > LONGER.get(str(path.relative_to(ROOT)), 500)
    }
    assert not long, long


def test_no_post_save_and_no_logic_in_save():
    wrong = []
    for path in sources(*APPS):
        text = path.read_text()
        if re.search(r"\b(post_save|pre_save|post_delete|m2m_changed)\b", text):
            wrong.append(f"{path.relative_to(ROOT)}: a model signal")
        if (
            (path.stem == "models" or path.parent.name == "models")
            and "views" not in path.parts
            and re.search(r"def save\(", text)
        ):
            wrong.append(f"{path.relative_to(ROOT)}: save()")
    assert not wrong, "\n".join(wrong)


def test_no_bare_exception_handlers_and_no_unfinished_work():
    wrong = []
    for path in sources(*APPS):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: except Exception")
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: import *")
        for at, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"#.*\b(TODO|FIXME|XXX)\b", line):
                wrong.append(f"{path.relative_to(ROOT)}:{at}: {line.strip()[:80]}")
    assert not wrong, "\n".join(wrong)


def test_every_entity_says_who_may_see_it():
    without = [m._meta.label for m in apps.get_models() if issubclass(m, Entity) and not m.access]
    assert not without, without


def test_every_resource_starts_from_a_permitted_queryset():
    wrong = []
    for name, cls in viewsets().items():
        model = getattr(getattr(cls, "queryset", None), "model", None)
        if model is None:
            continue
        if not hasattr(model.objects, "permitted"):
            wrong.append(f"{name}: {model._meta.label} has no permitted()")
    assert not wrong, wrong


def test_every_page_of_ours_asks_for_sign_in():
    from django.contrib.auth.mixins import LoginRequiredMixin

    allowed = {"core:demo-switch"}
    wrong = [
        r.name
        for r in routes("page")
        if r.name not in allowed and not (r.cls and issubclass(r.cls, LoginRequiredMixin))
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("owner", APPS)
def test_signals_are_listed(owner: str):
    page = (ROOT / "docs" / "signals.md").read_text()
    path = ROOT / owner / "signals.py"
    if not path.exists():
        pytest.skip(f"{owner} declares no signal")
    module: Any = __import__(f"{owner}.signals", fromlist=["*"])
    declared = [name for name, value in vars(module).items() if isinstance(value, Signal)]
    missing = [name for name in declared if f"`{owner}.signals.{name}`" not in page]
    assert not missing, f"Not in docs/signals.md: {missing}"
    for name in re.findall(rf"`{owner}\.signals\.(\w+)`", page):
        assert name in declared, f"docs/signals.md lists {name}, which is not there"


def test_registries_are_listed_and_there():
    page = (ROOT / "docs" / "registries.md").read_text()
    listed = set(re.findall(r"`([a-z_.]+)\.(register\w*)`", page)) | {
        ("portal.core.navigation", name) for name in re.findall(r", `(register_site_lister)`", page)
    }
    assert listed
    for module, name in listed:
        assert hasattr(__import__(module, fromlist=[name]), name), f"{module}.{name} is not there"
    modules = {module for module, _ in listed}
    for path in sources(*APPS):
        defined = [n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if any(
            item == "register" or (item.startswith("register_") and item != "register_all") for item in defined
        ) and not name.endswith("api.urls"):
            owner = name.removesuffix(".__init__")
            assert owner in modules or any(m.startswith(f"{owner}.") or owner.startswith(f"{m}.") for m in modules), (
                f"{name} has a registry that docs/registries.md does not list"
            )


def test_scheduled_tasks_exist():
    from portal.celery import app
    from portal.schedule import SCHEDULE

    app.loader.import_default_modules()
    unknown = [str(entry["task"]) for entry in SCHEDULE.values() if entry["task"] not in app.tasks]
    assert not unknown, unknown


def test_every_task_has_a_time_limit():
    from portal.celery import app

    app.loader.import_default_modules()
    without = [
        name for name, task in app.tasks.items() if name.split(".")[0] in {"core", *APPS} and task.time_limit is None
    ]
    assert not without, without
