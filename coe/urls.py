"""Addresses of the pages."""

from django.urls import path

from coe.views import deputies, learning, people, reviews

app_name = "coe"

urlpatterns = [
    path("coe/", people.OverviewPage.as_view(), name="overview"),
    path("coe/skills/", people.SkillsPage.as_view(), name="skills"),
    path("coe/calendar/", people.CalendarPage.as_view(), name="calendar"),
    path("coe/roles/<uuid:pk>/", people.RolePage.as_view(), name="role"),
    path("coe/appointments/new", people.AppointmentCreate.as_view(), name="appointment-new"),
    path("coe/appointments/<uuid:pk>/end", people.AppointmentEnd.as_view(), name="appointment-end"),
    path("coe/certificates/<uuid:pk>/revoke", people.CertificateRevoke.as_view(), name="certificate-revoke"),
    path("coe/deputies/", deputies.DeputyList.as_view(), name="deputies"),
    path("coe/deputies/new", deputies.DeputyCreate.as_view(), name="deputy-new"),
    path("coe/deputies/<uuid:pk>/revoke", deputies.DeputyRevoke.as_view(), name="deputy-revoke"),
    path("coe/tracks/", learning.TracksPage.as_view(), name="tracks"),
    path("coe/tracks/<uuid:pk>/", learning.TrackPage.as_view(), name="track"),
    path("coe/tracks/<uuid:pk>/quiz", learning.QuizPage.as_view(), name="quiz"),
    path("coe/attempts/<uuid:pk>/", learning.AttemptPage.as_view(), name="attempt"),
    path("coe/retrospectives/", reviews.RetrospectiveList.as_view(), name="retrospectives"),
    path("coe/retrospectives/<uuid:pk>/", reviews.RetrospectivePage.as_view(), name="retrospective"),
    path("coe/retrospectives/<uuid:pk>/edit", reviews.RetrospectiveUpdate.as_view(), name="retrospective-edit"),
    path("coe/retrospectives/<uuid:pk>/hold", reviews.RetrospectiveHold.as_view(), name="retrospective-hold"),
    path("coe/roi-reviews/", reviews.RoiReviewList.as_view(), name="roi-reviews"),
    path("coe/roi-reviews/<uuid:pk>/", reviews.RoiReviewPage.as_view(), name="roi-review"),
    path("coe/roi-reviews/<uuid:pk>/hold", reviews.RoiReviewHold.as_view(), name="roi-review-hold"),
    path("coe/roi-reviews/<uuid:pk>/budget", reviews.RoiReviewBudget.as_view(), name="roi-review-budget"),
    path("coe/actions/", reviews.ActionList.as_view(), name="actions"),
    path("coe/actions/new", reviews.ActionCreate.as_view(), name="action-new"),
    path("coe/actions/<uuid:pk>/", reviews.ActionDetail.as_view(), name="action"),
    path("coe/actions/<uuid:pk>/edit", reviews.ActionUpdate.as_view(), name="action-edit"),
    path("coe/actions/<uuid:pk>/close", reviews.ActionClose.as_view(), name="action-close"),
    path("coe/actions/<uuid:pk>/reopen", reviews.ActionReopen.as_view(), name="action-reopen"),
    path("coe/actions/<uuid:pk>/delete", reviews.ActionDelete.as_view(), name="action-delete"),
]
