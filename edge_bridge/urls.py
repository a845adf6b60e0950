from django.urls import path

from edge_bridge import views

app_name = "edge_bridge"

urlpatterns = [
    path("rollouts/", views.RolloutList.as_view(), name="rollouts"),
    path("rollouts/new/", views.RolloutCreate.as_view(), name="rollout-new"),
    path("rollouts/<uuid:pk>/", views.RolloutPage.as_view(), name="rollout"),
    path("rollouts/<uuid:pk>/live/", views.RolloutLive.as_view(), name="rollout-live"),
    path("rollouts/<uuid:pk>/stop/", views.RolloutStop.as_view(), name="rollout-stop"),
    path("installations/", views.InstallationList.as_view(), name="installations"),
    path("connections/", views.Connections.as_view(), name="connections"),
]
