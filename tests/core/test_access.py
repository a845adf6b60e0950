"""Permission as a queryset, on real rows."""

import pytest
from django.http import Http404

from devices.models import Device, Site
from portal.core.access import EVERY_ROW, get_permitted, granted_ids, may, reach_of, revoke_role
from portal.core.errors import NotAllowed
from tests.factories import make_device
from usecases.models import ScoringRound

pytestmark = pytest.mark.django_db


def test_a_person_sees_only_the_containers_granted(cast):
    here, there = make_device(cast.home), make_device(cast.away)
    assert set(Device.objects.permitted(cast.ot_engineer)) == {here}
    assert set(Device.objects.permitted(cast.stranger)) == {there}
    assert set(Device.objects.permitted(cast.executive)) == {here, there}


def test_unseen_is_404_and_seen_but_not_allowed_names_who_may(cast):
    device = make_device(cast.home)
    with pytest.raises(Http404):
        get_permitted(Device.objects.all(), cast.stranger, device.pk)
    with pytest.raises(NotAllowed) as refusal:
        get_permitted(Device.objects.all(), cast.plant_manager, device.pk, "change")
    assert "OT engineer" in refusal.value.message
    assert get_permitted(Device.objects.all(), cast.ot_engineer, device.pk, "change") == device


def test_a_malformed_key_is_404(cast):
    with pytest.raises(Http404):
        get_permitted(Device.objects.all(), cast.ot_engineer, "not-a-uuid")


def test_one_query_for_a_permitted_list(cast, django_assert_max_num_queries):
    make_device(cast.home)
    with django_assert_max_num_queries(3):
        list(Device.objects.permitted(cast.ot_engineer))


def test_inactive_people_see_nothing(cast):
    cast.ot_engineer.is_active = False
    assert not Site.objects.permitted(cast.ot_engineer).exists()


def test_revoking_takes_the_verbs_back(cast):
    revoke_role(cast.ot_engineer, "ot_engineer", cast.home)
    assert not Site.objects.permitted(cast.ot_engineer).exists()
    assert not granted_ids(cast.ot_engineer, "devices.Site", "view").exists()


def test_many_to_many_ways_never_double_rows(cast):
    from usecases.models import CriteriaSet

    criteria = CriteriaSet.objects.create(name="x", number=1)
    meeting = ScoringRound.objects.create(title="r", criteria_set=criteria, facilitator=cast.coe_lead)
    meeting.use_cases.set([cast.ours, cast.theirs])
    meeting.raters.set([cast.plant_manager, cast.ot_engineer])
    assert list(ScoringRound.objects.permitted(cast.plant_manager)) == [meeting]
    assert list(ScoringRound.objects.permitted(cast.executive)) == [meeting]


def test_a_way_with_a_condition_opens_only_the_rows_that_meet_it(cast, meeting_with_answers):
    from usecases.models import Rating

    meeting, own, other = meeting_with_answers
    assert set(Rating.objects.permitted(cast.plant_manager)) == {own}
    assert not Rating.objects.permitted(cast.coe_lead).exists(), "the facilitator sees nothing before the reveal"
    assert reach_of(Rating, cast.coe_lead, "view") is not EVERY_ROW
    ScoringRound.objects.filter(pk=meeting.pk).update(state="revealed")
    assert set(Rating.objects.permitted(cast.coe_lead)) == {own, other}
    assert may(own, cast.coe_lead, "view")
    assert not may(own, cast.coe_lead, "change")
    assert set(Rating.objects.permitted(cast.plant_manager)) == {own}


def test_a_condition_narrows_what_a_permission_would_open_whole(cast, meeting_with_answers, monkeypatch):
    from django.db.models import Q

    from portal.core.access import Access
    from usecases.models import Rating

    _, own, other = meeting_with_answers
    low = Q(value__lt=3)
    ways = (
        Access("usecases.UseCase", "use_case_id", when=low),
        Access(None, everybody=("name",), when=low),
        Access(None, everything="usecases.add_usecase", only=("change",), when=low),
    )
    monkeypatch.setattr(Rating, "access", ways)
    assert cast.executive.has_perm("usecases.view_usecase")
    for person, action in ((cast.executive, "view"), (cast.stranger, "name"), (cast.coe_lead, "change")):
        assert reach_of(Rating, person, action) is not EVERY_ROW, action
        assert set(Rating.objects.permitted(person, action)) == {own}
    assert not Rating.objects.permitted(cast.plant_manager, "change").exists()
    monkeypatch.setattr(Rating, "access", (*ways, Access(None, everybody=("name",))))
    assert set(Rating.objects.permitted(cast.stranger, "name")) == {own, other}


@pytest.fixture
def meeting_with_answers(cast):
    from usecases.models import CriteriaSet, Criterion, Rating

    criteria = CriteriaSet.objects.create(name="x", number=1)
    leaf = Criterion.objects.create(criteria_set=criteria, key="a", name="A", weight=1.0)
    meeting = ScoringRound.objects.create(title="r", criteria_set=criteria, facilitator=cast.coe_lead)
    meeting.use_cases.set([cast.ours])
    rows = [
        Rating.objects.create(round=meeting, use_case=cast.ours, criterion=leaf, rater=person, value=value)
        for person, value in ((cast.plant_manager, 1.0), (cast.ot_engineer, 4.0))
    ]
    return meeting, *rows
