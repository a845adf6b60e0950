"""All addresses. Pages by app; /api/v1 through one router; the other doors each with their own prefix."""

from importlib import import_module
from typing import Any

from allauth.account import views as account
from django.urls import URLPattern, URLResolver, include, path, re_path
from django_prometheus.exports import ExportToDjangoView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from portal.core import health
from portal.core.api import people, resources
from portal.core.api.urls import Router

APPS = ("devices", "usecases", "governance", "edge_bridge", "coe", "marketplace")


def _optional(module: str, attribute: str) -> Any:
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            return None
        raise


router = Router()
router.register("jobs", resources.JobViewSet, "job")
router.register("audit-entries", resources.AuditEntryViewSet, "audit-entry")
router.register("notifications", resources.NotificationViewSet, "notification")
router.register("tokens", resources.TokenViewSet, "token")
router.register("people", people.PersonViewSet, "person")
for app in (*APPS, "portal.dashboard"):
    register = _optional(f"{app}.api.urls", "register")
    if register:
        register(router)

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", ExportToDjangoView, name="metrics"),
    path("api/v1/", include((router.urls, "api"))),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("account/login/", account.login, name="account_login"),
    path("account/logout/", account.logout, name="account_logout"),
    path("account/password/change/", account.password_change, name="account_change_password"),
    path("account/password/reset/", account.password_reset, name="account_reset_password"),
    path("account/password/reset/done/", account.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^account/password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "account/password/reset/key/done/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    path("account/inactive/", account.account_inactive, name="account_inactive"),
    path("account/signup/", account.signup, name="account_signup"),
    path("account/reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("portal.core.urls")),
]
for app in APPS:
    if _optional(f"{app}.urls", "urlpatterns") is not None:
        urlpatterns.append(path("", include(f"{app}.urls")))
    doors = _optional(f"{app}.doors", "urlpatterns")
    if doors is not None:
        urlpatterns.append(path("", include(f"{app}.doors")))
if _optional("portal.dashboard.urls", "urlpatterns") is not None:
    urlpatterns.append(path("", include("portal.dashboard.urls")))

handler400 = "portal.core.fallbacks.bad_request"
handler404 = "portal.core.fallbacks.not_found"
handler500 = "portal.core.fallbacks.server_error"
