"""Make a person's account and give roles from the command line, as Settings -> People does on a page.

manage.py person_add ada@example.com --name "Ada L." --role ot_engineer --site hall-1 --use-case nox
"""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from portal.core import people
from portal.core.errors import DomainError
from portal.core.models import User
from portal.core.people import KINDS, RoleOn
from portal.core.roles import ROLES


class Command(BaseCommand):
    help = (
        "Make a person's account, or add roles to it. The password is asked for, or read from standard input; "
        "with --invite a link is printed that sets it once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="")
        parser.add_argument("--organisation", default="")
        parser.add_argument("--invite", action="store_true", help="no password: print a link that sets it once")
        parser.add_argument("--role", action="append", default=[], choices=sorted(ROLES))
        for word, label in KINDS.items():
            option = word.removesuffix("s").replace("_", "-")
            parser.add_argument(
                f"--{option}", dest=word, action="append", default=[], help=f"code of a {label.split('.')[1]}"
            )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with transaction.atomic():
                self._add(options)
        except DomainError as error:
            raise CommandError(str(error)) from error

    def _add(self, options: dict[str, Any]) -> None:
        containers = [self._container(word, code) for word in KINDS for code in options[word]]
        roles = [
            RoleOn(role, tuple(row for row in containers if row._meta.label in ROLES[role].on))
            for role in dict.fromkeys(options["role"])
        ]
        person = User.objects.filter(email__iexact=options["email"]).first()
        who = {key: options[key] for key in ("email", "name", "organisation")}
        if person is not None:
            self._give(person, roles)
        elif options["invite"]:
            made = people.person_invite(actor=None, roles=roles, **who)
            person = made.person
            self.stdout.write(f"{made.url}\nworks once, until {made.valid_until:%Y-%m-%d %H:%M} UTC")
        else:
            person = people.person_create(actor=None, roles=roles, password=self._password(), **who)
        self.stdout.write(f"{person.email}: {', '.join(person.role_keys) or 'no role yet'}")

    def _give(self, person: User, roles: list[RoleOn]) -> None:
        for wanted in roles:
            try:
                people.person_grant(actor=None, person=person, role=wanted.role, containers=wanted.containers)
            except DomainError as error:
                if error.code != "nothing_to_do":
                    raise
                self.stdout.write(error.message)

    def _container(self, word: str, code: str) -> Any:
        found = apps.get_model(KINDS[word]).objects.filter(code=code).first()
        if found is None:
            raise CommandError(f"There is no {word.removesuffix('s').replace('_', ' ')} with the code {code!r}.")
        return found

    def _password(self) -> str:
        return getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
