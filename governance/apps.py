from django.apps import AppConfig


class GovernanceConfig(AppConfig):
    name = "governance"

    def ready(self) -> None:
        from governance import measured_facts, providers, registrations

        providers.register_all()
        measured_facts.register_all()
        registrations.register_all()
