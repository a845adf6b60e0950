from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "portal.core"
    label = "core"
    verbose_name = "Core"

    def ready(self) -> None:
        from django import forms
        from django.conf import settings
        from django.db.models.signals import post_migrate

        from portal.core import checks, menu  # noqa: F401
        from portal.core.access import sync_roles
        from portal.core.clock import check_calendar
        from portal.logs import configure

        menu.register_all()
        # Every form and filter: the validators of a field run before anything asks the database.
        forms.DateTimeField.default_validators = [check_calendar]
        configure(json=settings.LOG_JSON, level=settings.LOG_LEVEL)
        post_migrate.connect(sync_roles, dispatch_uid="core.sync_roles")
