"""What gate 2 is told of models: how many are signed, and why a type of model is not quantised."""

from __future__ import annotations

from typing import Any

import pytest

from governance.providers import model_quantised, model_versioned
from portal.core.clock import wall_now
from tests.factories import make_model, make_version
from usecases.evidence import Subject

pytestmark = pytest.mark.django_db
WHY = "A tree ensemble has no matrix product."


def test_where_no_type_allows_it_quantisation_is_not_applicable_and_says_why(cast: Any) -> None:
    subject = Subject(use_case=cast.ours, adoption=None, now=wall_now())
    assert model_quantised(subject).status == "not_measured"
    report = {"status": "not_applicable", "reason": WHY}
    trees = make_model(cast.ours, name="NOx trees")
    make_version(trees, 1, state="live", quantisation="not_applicable", quantisation_report=report)
    found = model_quantised(subject)
    assert (found.status, found.text) == ("not_applicable", f"NOx trees: {WHY}")
    net = make_version(make_model(cast.ours, name="Net"), 1, state="live", quantisation="int8")
    assert (model_quantised(subject).status, model_quantised(subject).value) == ("measured", 1.0)
    type(net).objects.filter(pk=net.pk).update(quantisation="fp32")
    assert model_quantised(subject).value == 0.5


def test_signed_models_are_counted_in_words(cast: Any) -> None:
    subject = Subject(use_case=cast.ours, adoption=None, now=wall_now())
    for name, signature in (("A", "s"), ("B", "")):
        made = make_version(make_model(cast.ours, name=name), 1)
        type(made).objects.filter(pk=made.pk).update(signature=signature, registry_version="1")
    found = model_versioned(subject)
    assert (found.value, found.text) == (0.5, "Models with a signed version: 1 of 2")
