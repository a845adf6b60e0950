"""The makers themselves: every model gets a valid row on either side, seen by the right people."""

import pytest

from portal.core.roles import SITE, USE_CASE
from tests.objects import entity_models, make_one

pytestmark = pytest.mark.django_db


def test_every_model_has_a_row_on_each_side_and_the_stranger_sees_only_his(cast):
    wrong = []
    for model in entity_models():
        here = make_one(model, cast)
        everybody = any("view" in way.everybody for way in model.access)
        if not everybody and model.objects.permitted(cast.stranger).filter(pk=here.pk).exists():
            wrong.append(f"{model._meta.label}: the stranger sees ours")
        if not model.objects.permitted(cast.coe_lead).filter(pk=here.pk).exists():
            wrong.append(f"{model._meta.label}: the CoE lead does not see ours")
        if model._meta.label not in ONE_FOR_ALL:
            there = make_one(model, cast, theirs=True)
            fenced = any(way.own or way.container in {SITE, USE_CASE} for way in model.access)
            if fenced and not everybody and not model.objects.permitted(cast.stranger).filter(pk=there.pk).exists():
                wrong.append(f"{model._meta.label}: the stranger does not see theirs")
    assert not wrong, "\n".join(wrong)


# One row serves both sides: the kind of connection is unique.
ONE_FOR_ALL = {"edge_bridge.Connection"}
