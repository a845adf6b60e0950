from django.urls import path

from portal.core import people_views, views

app_name = "core"
urlpatterns = [
    path("search/", views.SearchPage.as_view(), name="search"),
    path("inbox/", views.InboxPage.as_view(), name="inbox"),
    path("audit/", views.AuditPage.as_view(), name="audit"),
    path("settings/", views.SettingsPage.as_view(), name="settings"),
    path("settings/tokens/", views.TokensPage.as_view(), name="tokens"),
    path("settings/tokens/<uuid:pk>/revoke/", views.TokenRevoke.as_view(), name="token-revoke"),
    path("settings/people/", people_views.PeoplePage.as_view(), name="people"),
    path("settings/people/invite/", people_views.InvitePage.as_view(), name="person-invite"),
    path("settings/people/<uuid:pk>/", people_views.PersonPage.as_view(), name="person"),
    path("settings/people/<uuid:pk>/edit/", people_views.PersonEdit.as_view(), name="person-edit"),
    path("settings/people/<uuid:pk>/grant/", people_views.PersonGrant.as_view(), name="person-grant"),
    path("settings/people/<uuid:pk>/revoke/", people_views.PersonRevoke.as_view(), name="person-revoke"),
    path("settings/people/<uuid:pk>/link/", people_views.PersonLink.as_view(), name="person-link"),
    path("settings/people/<uuid:pk>/deactivate/", people_views.PersonDeactivate.as_view(), name="person-deactivate"),
    path("settings/people/<uuid:pk>/activate/", people_views.PersonActivate.as_view(), name="person-activate"),
    path("jobs/<uuid:pk>/", views.JobPage.as_view(), name="job"),
    path("jobs/<uuid:pk>/cancel/", views.JobCancel.as_view(), name="job-cancel"),
    path("switch/site/", views.SiteSwitch.as_view(), name="site-switch"),
    path("switch/role/", views.DemoSwitch.as_view(), name="demo-switch"),
]
