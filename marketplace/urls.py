from django.urls import path

from marketplace.views import catalogue, invoices, usage

app_name = "marketplace"
urlpatterns = [
    path("catalogue/", catalogue.CataloguePage.as_view(), name="catalogue"),
    path("catalogue/new/", catalogue.ServiceCreate.as_view(), name="service-create"),
    path("catalogue/<uuid:pk>/", catalogue.ServicePage.as_view(), name="service"),
    path("catalogue/<uuid:pk>/change/", catalogue.ServiceEdit.as_view(), name="service-edit"),
    path("catalogue/<uuid:pk>/package/", catalogue.ServicePackage.as_view(), name="service-package"),
    path("catalogue/<uuid:pk>/publish/", catalogue.ServicePublish.as_view(), name="service-publish"),
    path("catalogue/<uuid:pk>/retire/", catalogue.ServiceRetire.as_view(), name="service-retire"),
    path("catalogue/<uuid:pk>/admit/", catalogue.PartnerAdmit.as_view(), name="service-admit"),
    path("catalogue/<uuid:pk>/plans/new/", catalogue.PlanCreate.as_view(), name="plan-create"),
    path("catalogue/<uuid:pk>/subscribe/", catalogue.Subscribe.as_view(), name="subscribe"),
    path("plans/<uuid:pk>/change/", catalogue.PlanEdit.as_view(), name="plan-edit"),
    path("subscriptions/<uuid:pk>/", usage.SubscriptionPage.as_view(), name="subscription"),
    path("subscriptions/<uuid:pk>/keys/new/", usage.KeyCreate.as_view(), name="key-create"),
    path("subscriptions/<uuid:pk>/suspend/", usage.SubscriptionSuspend.as_view(), name="subscription-suspend"),
    path("subscriptions/<uuid:pk>/resume/", usage.SubscriptionResume.as_view(), name="subscription-resume"),
    path("subscriptions/<uuid:pk>/end/", usage.SubscriptionEnd.as_view(), name="subscription-end"),
    path("subscriptions/<uuid:pk>/preview/", invoices.PreviewPage.as_view(), name="preview"),
    path("subscriptions/<uuid:pk>/invoice/", invoices.InvoiceDraft.as_view(), name="invoice-draft"),
    path("client-keys/<uuid:pk>/revoke/", usage.KeyRevoke.as_view(), name="key-revoke"),
    path("usage/", usage.UsagePage.as_view(), name="usage"),
    path("invoices/", invoices.InvoicesPage.as_view(), name="invoices"),
    path("invoices/<uuid:pk>/", invoices.InvoicePage.as_view(), name="invoice"),
    path("invoices/<uuid:pk>/issue/", invoices.InvoiceIssue.as_view(), name="invoice-issue"),
    path("invoices/<uuid:pk>/pay/", invoices.InvoicePay.as_view(), name="invoice-pay"),
    path("invoices/<uuid:pk>/print/", invoices.InvoicePrint.as_view(), name="invoice-print"),
    path("invoices/<uuid:pk>/lines.csv", invoices.InvoiceCsv.as_view(), name="invoice-csv"),
]
