"""Addresses of the pages."""

from django.urls import path

from portal.dashboard import views

app_name = "dashboard"

urlpatterns = [
    path("", views.CockpitPage.as_view(), name="cockpit"),
    path("my-work/", views.WorkPage.as_view(), name="work"),
    path("my-plant/", views.PlantPage.as_view(), name="plant"),
    path("my-plant/signals/<uuid:pk>", views.PlantSignals.as_view(), name="plant-signals"),
    path("scale-map/", views.ScaleMapPage.as_view(), name="scale-map"),
]
