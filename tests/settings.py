"""The project's settings in an environment of the tests: pytest-django reads the settings before any conftest, so it is made here."""

import os
import tempfile
from importlib import import_module

os.environ.setdefault("PHASEGATE_TESTING", "1")
os.environ.setdefault("PHASEGATE_SECRET_KEY", "tests-only-not-a-secret-0123456789abcdefghijklmnopqrstuvwxyz")
os.environ.setdefault("PHASEGATE_HOME", tempfile.mkdtemp(prefix="phasegate-tests-"))

_project = import_module("portal.settings")
globals().update({name: getattr(_project, name) for name in dir(_project) if name.isupper()})
