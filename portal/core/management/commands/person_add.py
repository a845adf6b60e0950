"""Make a person's account and give roles, so that an installation has its first users: nobody signs up by themselves.

manage.py person_add ada@example.com --name "Ada L." --role ot_engineer --site hall-1 --use-case nox
"""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.apps import apps
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from portal.core import audit
from portal.core.access import grant_role
from portal.core.models import User
from portal.core.roles import ROLES

CONTAINERS = {"site": "devices.Site", "use_case": "usecases.UseCase", "service": "marketplace.Service"}


class Command(BaseCommand):
    help = "Make a person's account, or add roles to it. The password is asked for, or read from standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="")
        parser.add_argument("--role", action="append", default=[], choices=sorted(ROLES))
        for option, label in CONTAINERS.items():
            parser.add_argument(
                f"--{option.replace('_', '-')}",
                dest=option,
                action="append",
                default=[],
                help=f"code of a {label.split('.')[1]}",
            )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        containers = [self._container(option, code) for option in CONTAINERS for code in options[option]]
        user = User.objects.filter(email__iexact=options["email"]).first()
        if user is None:
            password = self._password()
            try:
                validate_password(password)
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from error
            user = User.objects.create_user(options["email"], password, name=options["name"])
            audit.record(actor=None, action="user.create", obj=user)
        for role in options["role"]:
            grant_role(user, role, *containers)
            audit.record(
                actor=None, action="user.grant", obj=user, changes={"role": role, "on": [str(c) for c in containers]}
            )
        self.stdout.write(f"{user.email}: {', '.join(user.role_keys) or 'no role yet'}")

    def _container(self, option: str, code: str) -> Any:
        found = apps.get_model(CONTAINERS[option]).objects.filter(code=code).first()
        if found is None:
            raise CommandError(f"There is no {option.replace('_', ' ')} with the code {code!r}.")
        return found

    def _password(self) -> str:
        return getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
