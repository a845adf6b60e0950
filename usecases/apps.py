from django.apps import AppConfig


class UsecasesConfig(AppConfig):
    name = "usecases"

    def ready(self) -> None:
        from portal.core import navigation, search
        from usecases import checks, measured_facts, providers  # noqa: F401
        from usecases.models import Adoption, ScoringRound, UseCase

        providers.register_all()
        measured_facts.register_all()
        navigation.register(
            navigation.NavItem("align", "Use cases", "usecases:use-cases", "use_case", 10),
            navigation.NavItem("align", "Scoring", "usecases:rounds", "scoring", 20),
            navigation.NavItem("align", "Criteria", "usecases:criteria-sets", "criterion", 25),
            navigation.NavItem("align", "Portfolio", "usecases:portfolio", "portfolio", 30),
        )
        search.register_model(
            key="use_case",
            label="Use case",
            model=UseCase,
            fields=("title", "code", "summary"),
            url_name="usecases:use-case",
            icon="use_case",
            subtitle="code",
            order=10,
        )
        search.register_model(
            key="adoption",
            label="Adoption",
            model=Adoption,
            fields=("use_case__title", "site__name"),
            url_name="usecases:adoption",
            icon="adoption",
            order=20,
        )
        search.register_model(
            key="round",
            label="Scoring round",
            model=ScoringRound,
            fields=("title",),
            url_name="usecases:round",
            icon="scoring",
            order=60,
        )
