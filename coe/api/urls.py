from typing import Any

from coe.api import deputies, views


def register(router: Any) -> None:
    router.register("coe-roles", views.CoeRoleViewSet, "coe-role")
    router.register("appointments", views.AppointmentViewSet, "appointment")
    router.register("deputies", deputies.DeputyViewSet, "deputy")
    router.register("certificates", views.CertificateViewSet, "certificate")
    router.register("tracks", views.TrackViewSet, "track")
    router.register("retrospectives", views.RetrospectiveViewSet, "retrospective")
    router.register("actions", views.ActionViewSet, "action")
    router.register("roi-reviews", views.RoiReviewViewSet, "roi-review")
