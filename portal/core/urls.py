from django.urls import path

from portal.core import views

app_name = "core"
urlpatterns = [
    path("search/", views.SearchPage.as_view(), name="search"),
    path("inbox/", views.InboxPage.as_view(), name="inbox"),
    path("audit/", views.AuditPage.as_view(), name="audit"),
    path("settings/", views.SettingsPage.as_view(), name="settings"),
    path("settings/tokens/", views.TokensPage.as_view(), name="tokens"),
    path("settings/tokens/<uuid:pk>/revoke/", views.TokenRevoke.as_view(), name="token-revoke"),
    path("jobs/<uuid:pk>/", views.JobPage.as_view(), name="job"),
    path("jobs/<uuid:pk>/cancel/", views.JobCancel.as_view(), name="job-cancel"),
    path("switch/site/", views.SiteSwitch.as_view(), name="site-switch"),
    path("switch/role/", views.DemoSwitch.as_view(), name="demo-switch"),
]
