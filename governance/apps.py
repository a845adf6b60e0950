from django.apps import AppConfig


class GovernanceConfig(AppConfig):
    name = "governance"

    def ready(self) -> None:
        from governance import providers, registrations

        providers.register_all()
        registrations.register_all()
