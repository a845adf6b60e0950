"""A filter that is not set says that it shows all: on every list there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django import forms
from django.test import RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver

from portal.core.pages import ListPage, _say_all

pytestmark = pytest.mark.django_db


def lists(patterns: Any = None) -> Iterator[type[ListPage]]:
    for pattern in patterns if patterns is not None else get_resolver().url_patterns:
        if isinstance(pattern, URLResolver):
            yield from lists(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            view = getattr(pattern.callback, "view_class", None)
            if view is not None and issubclass(view, ListPage) and view.filterset_class is not None:
                yield view


def test_no_filter_of_a_list_says_dashes_or_unknown(cast: Any) -> None:
    request = RequestFactory().get("/")
    request.user = cast.coe_lead
    views = list(lists())
    assert len(views) > 15
    for view in views:
        form = view.filterset_class({}, request=request).form
        _say_all(form)
        for name, field in form.fields.items():
            if isinstance(field.widget, forms.Select) and not isinstance(field.widget, forms.SelectMultiple):
                first = str(next(iter(field.widget.choices))[1])
                assert first.startswith(("All", "Any")), f"{view.__name__}: {name} says {first!r}"


def test_yes_or_no_filters_keep_their_three_answers(cast: Any, as_user: Any) -> None:
    html = as_user(cast.coe_lead).get("/coe/actions/?overdue=true").content.decode()
    select = re.search(r'<select name="overdue".*?</select>', html, re.DOTALL)
    assert select
    assert re.findall(r">(\w+)</option>", select.group()) == ["All", "Yes", "No"]
    assert re.search(r"selected>\s*Yes", select.group())
