"""The gateways' door: who may, how much, and every refusal of the protocol page."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import msgspec
import pytest
from django.test import Client

from devices.models import Credential
from devices.services import device_set_state, enrolment_create
from edge_bridge import wire
from edge_bridge.rollouts import rollout_start
from governance import artefacts
from governance.models import InboxMessage
from tests.edge_bridge.portal import Plant, make_plant, report, signed_version, telemetry

pytestmark = pytest.mark.django_db
CLIENT = Client(enforce_csrf_checks=True)


def post(path: str, body: bytes, token: str = "", **extra: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return CLIENT.post(
        f"/edge/v1/{path}",
        data=body,
        content_type=wire.CONTENT_TYPE,
        headers=headers | extra.pop("headers", {}),
        **extra,
    )


def get(path: str, token: str, **headers: str) -> Any:
    return CLIENT.get(
        f"/edge/v1/{path}",
        headers={"Authorization": f"Bearer {token}"} | {k.replace("_", "-"): v for k, v in headers.items()},
    )


def code(answer: Any) -> str:
    assert answer["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["detail"]
    return body["code"]


def enrol_body(claim: str, secret: str) -> bytes:
    return wire.encode(wire.EnrolRequest(claim_code=claim, secret=secret))


# ---- enrolment -------------------------------------------------------------------------------------------------------


def test_enrolment_gives_identity_once_and_again_for_a_lost_answer(plant: Plant) -> None:
    _row, claim = enrolment_create(actor=None, device=plant.gateways[0])
    secret = secrets.token_urlsafe(32)
    first = post("enrol", enrol_body(claim, secret))
    assert first.status_code == 200
    reply = wire.decode(first.content, wire.EnrolReply)
    assert reply.gateway == str(plant.gateways[0].pk)
    assert reply.site == "hall"
    assert reply.signing_keys == artefacts.public_keys()
    assert reply.sequences == {}
    again = wire.decode(post("enrol", enrol_body(claim, secret)).content, wire.EnrolReply)
    assert again.gateway == reply.gateway
    assert Credential.objects.filter(device=plant.gateways[0]).count() == 1
    other = post("enrol", enrol_body(claim, secrets.token_urlsafe(32)))
    assert (other.status_code, code(other)) == (409, "claim_used")
    # The version is above 0, so that an agent's first question is answered with a document.
    assert get("desired", secret, If_None_Match='"0"').status_code == 200


def test_enrolment_refuses_unknown_expired_and_malformed(plant: Plant) -> None:
    secret = secrets.token_urlsafe(32)
    assert code(post("enrol", enrol_body("AAAA-BBBB", secret))) == "claim_unknown"
    row, claim = enrolment_create(actor=None, device=plant.gateways[0])
    row.expires_at = row.created_at
    row.save()
    gone = post("enrol", enrol_body(claim, secret))
    assert (gone.status_code, code(gone)) == (410, "claim_expired")
    assert code(post("enrol", b"\xc1\xff")) == "malformed"
    assert code(post("enrol", wire.encode(telemetry(1)))) == "invalid"
    assert post("enrol", b"x" * 20_000).status_code == 413
    plc_row, plc_claim = enrolment_create(actor=None, device=plant.plc)
    assert code(post("enrol", enrol_body(plc_claim, secret))) == "claim_unknown"
    plc_row.refresh_from_db()
    assert plc_row.used_at is None


def test_sequences_tell_an_agent_that_lost_its_disk_where_to_go_on(plant: Plant) -> None:
    gateway = plant.gateways[0]
    send(plant, gateway, [seal(gateway, "turbine/rows", n, telemetry(1 + 8 * n)) for n in (1, 2, 3)])
    _row, claim = enrolment_create(actor=None, device=gateway)
    reply = wire.decode(post("enrol", enrol_body(claim, secrets.token_urlsafe(32))).content, wire.EnrolReply)
    assert reply.sequences == {"turbine/rows": 3}
    assert code(get("desired", plant.tokens[gateway.pk])) == "bad_token"


# ---- who may ---------------------------------------------------------------------------------------------------------


def test_wrong_missing_and_retired_tokens(plant: Plant) -> None:
    gateway = plant.gateways[0]
    token = plant.token(gateway)
    for bad in ("", "short", secrets.token_urlsafe(32), token[:-1] + ("a" if token[-1] != "a" else "b")):
        for answer in (
            get("desired", bad),
            post("messages", wire.seal_batch([]), bad),
            get("artefacts/" + "0" * 64, bad),
        ):
            assert (answer.status_code, code(answer)) == (401, "bad_token")
    plant.plc.gateway = plant.gateways[1]
    plant.plc.save()
    device_set_state(actor=None, device=gateway, state="retired")
    answer = get("desired", token)
    assert (answer.status_code, code(answer)) == (403, "gateway_disabled")


def test_methods_types_and_sizes(plant: Plant) -> None:
    token = plant.token(plant.gateways[0])
    assert code(get("messages", token)) == "method_not_allowed"
    assert code(post("desired", b"", token)) == "method_not_allowed"
    big = post("messages", b"\x00" * (10 * 1024 * 1024), token)
    assert (big.status_code, code(big)) == (413, "too_large")
    lied = CLIENT.generic(
        "POST",
        "/edge/v1/messages",
        wire.seal_batch([]),
        content_type="application/json",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert (lied.status_code, code(lied)) == (415, "unsupported_media_type")
    many = post("messages", msgspec.msgpack.encode([b"x"] * 65), token)
    assert (many.status_code, code(many)) == (413, "too_large")


# ---- desired ---------------------------------------------------------------------------------------------------------


def test_desired_state_is_computed_from_the_records(plant: Plant, django_assert_max_num_queries: Any) -> None:
    first, second = plant.gateways
    version = signed_version(plant, bias=5.0)
    rollout_start(actor=None, version=version, adoption=plant.adoption)
    token = plant.token(first)
    with django_assert_max_num_queries(11):
        answer = get("desired", token)
    state = wire.decode(answer.content, wire.DesiredState)
    assert answer["ETag"] == f'"{state.version}"'
    (source,) = state.sources
    assert (source.name, source.port, source.slot, source.controls_replay) == ("turbine", 5020, 0, True)
    assert {c.name for c in source.channels} == {"AT", "AP", "AH", "AFDP", "GTEP", "TIT", "TAT", "TEY", "CDP"}
    assert source.labels == wire.LabelConfig(name="NOX", unit="mg/m3")
    (order,) = state.installations
    assert order.id == plant.key()
    assert order.canary
    assert order.manifest.model_version == str(version.pk)
    from edge_bridge.agent.model import check_signature

    check_signature(order, artefacts.public_keys())
    other = wire.decode(get("desired", plant.token(second)).content, wire.DesiredState)
    assert (other.sources[0].slot, other.sources[0].controls_replay, other.installations) == (1, False, [])
    with django_assert_max_num_queries(2):
        same = get("desired", token, If_None_Match=answer["ETag"])
    assert same.status_code == 304


def test_a_change_of_a_channel_reaches_the_gateway(plant: Plant) -> None:
    from edge_bridge.desired import refresh

    gateway = plant.gateways[0]
    token = plant.token(gateway)
    refresh()
    tag = get("desired", token)["ETag"]
    assert refresh() == 0
    assert get("desired", token, If_None_Match=tag).status_code == 304
    channel = plant.plc.channels.get(code="AT")
    channel.range_high = 44.0
    channel.save()
    assert refresh() == 2
    state = wire.decode(get("desired", token, If_None_Match=tag).content, wire.DesiredState)
    assert next(c for c in state.sources[0].channels if c.name == "AT").high == 44.0


def test_a_broken_record_is_left_out_alone(plant: Plant) -> None:
    from edge_bridge.desired import desired_state

    channel = plant.plc.channels.get(code="AT")
    channel.source = {"register": "six"}
    channel.save()
    state, problems = desired_state(plant.gateways[0])
    assert state.sources == []
    assert "AT" in problems[0]


def test_a_stop_is_told_with_its_fallback(plant: Plant) -> None:
    from devices.services import machine_stop

    gateway = plant.gateways[0]
    rollout_start(actor=None, version=signed_version(plant), adoption=plant.adoption)
    token = plant.token(gateway)
    tag = get("desired", token)["ETag"]
    machine_stop(actor=None, device=gateway, reason="bearing hot", fallback="bypass")
    state = wire.decode(get("desired", token, If_None_Match=tag).content, wire.DesiredState)
    assert state.stopped
    assert state.installations[0].fallback == "bypass"


# ---- messages --------------------------------------------------------------------------------------------------------


def seal(gateway: Any, stream: str, sequence: int, body: Any) -> bytes:
    return wire.seal(str(gateway.pk), stream, sequence, body, wall_ms=1_700_000_000_000)


def send(plant: Plant, gateway: Any, envelopes: list[bytes]) -> dict[tuple[str, int], wire.Ack]:
    answer = post("messages", wire.seal_batch(envelopes), plant.token(gateway))
    assert answer.status_code == 200, answer.content
    batch = wire.decode(answer.content, wire.AckBatch)
    assert len(batch.acks) == len(envelopes)
    return {(ack.stream, ack.sequence): ack for ack in batch.acks}


def test_a_damaged_envelope_fails_the_whole_call_and_nothing_is_stored(plant: Plant) -> None:
    gateway = plant.gateways[0]
    good = seal(gateway, "turbine/rows", 1, telemetry(1))
    for bad, expected in (
        (good[:-9], "malformed"),
        (good[:-1] + bytes([good[-1] ^ 1]), "digest_mismatch"),
        (wire.encode(msgspec.structs.replace(wire.open_envelope(good), v=2)), "unsupported_version"),
        (b"", "malformed"),
    ):
        answer = post("messages", wire.seal_batch([good, bad]), plant.token(gateway))
        assert (answer.status_code, code(answer)) == (400, expected)
    truncated = post("messages", wire.seal_batch([good])[:-5], plant.token(gateway))
    assert (truncated.status_code, code(truncated)) == (400, "malformed")
    assert InboxMessage.objects.count() == 0


def test_each_envelope_has_its_own_answer(plant: Plant) -> None:
    gateway, other = plant.gateways
    strange = telemetry(1, columns={"AT": wire.pack_floats([1.0] * 8), "NOPE": wire.pack_floats([1.0] * 8)})
    acks = send(
        plant,
        gateway,
        [
            seal(gateway, "turbine/rows", 1, telemetry(1)),
            seal(gateway, "turbine/rows", 2, strange),
            seal(gateway, "turbine/labels", 1, telemetry(9)),
            seal(gateway, "kiln/rows", 1, telemetry(1, source="kiln")),
            seal(other, "turbine/rows", 4, telemetry(1)),
            seal(gateway, "turbine/rows", 3, telemetry(17, times=wire.PlantTimes(start=2**53, step=1))),
        ],
    )
    assert acks["turbine/rows", 2].code == "unknown_channel"
    assert acks["turbine/labels", 1].code == "unknown_stream"
    assert acks["kiln/rows", 1].code == "unknown_stream"
    assert acks["turbine/rows", 3].code == "invalid"
    assert acks["turbine/rows", 4].code == "wrong_gateway"
    assert acks["turbine/rows", 1].status == "accepted"
    assert InboxMessage.objects.count() == 1


def test_replayed_and_out_of_order_messages_are_stored_once(plant: Plant) -> None:
    gateway = plant.gateways[0]
    messages = [seal(gateway, "turbine/rows", n, telemetry(1 + 8 * n)) for n in range(1, 6)]
    assert {a.status for a in send(plant, gateway, messages[3:]).values()} == {"accepted"}
    assert {a.status for a in send(plant, gateway, messages[:3]).values()} == {"accepted"}
    assert {a.status for a in send(plant, gateway, messages).values()} == {"duplicate"}
    twice = post("messages", wire.seal_batch([messages[0], messages[0]]), plant.token(gateway))
    assert [a.status for a in wire.decode(twice.content, wire.AckBatch).acks] == ["duplicate", "duplicate"]
    changed = seal(gateway, "turbine/rows", 2, telemetry(500))
    assert send(plant, gateway, [changed])["turbine/rows", 2].code == "conflict"
    assert list(InboxMessage.objects.order_by("sequence").values_list("sequence", "rows")) == [
        (n, 8) for n in range(1, 6)
    ]


def test_an_ack_tells_of_a_new_desired_version(plant: Plant) -> None:
    gateway = plant.gateways[0]
    token = plant.token(gateway)
    before = wire.decode(post("messages", wire.seal_batch([]), token).content, wire.AckBatch).desired_version
    rollout_start(actor=None, version=signed_version(plant), adoption=plant.adoption)
    after = wire.decode(post("messages", wire.seal_batch([]), token).content, wire.AckBatch).desired_version
    assert after > before


def test_a_call_takes_few_queries_whatever_its_size(plant: Plant, django_assert_max_num_queries: Any) -> None:
    gateway = plant.gateways[0]
    token = plant.token(gateway)
    send(plant, gateway, [seal(gateway, "turbine/rows", 1, telemetry(1))])
    body = wire.seal_batch([seal(gateway, "turbine/rows", n, telemetry(1 + 8 * n)) for n in range(2, 60)])
    with django_assert_max_num_queries(18):
        assert post("messages", body, token).status_code == 200


# ---- reported --------------------------------------------------------------------------------------------------------


def test_reported_state_is_the_gateways_own_only(plant: Plant) -> None:
    first, second = plant.gateways
    assert post("reported", wire.encode(report(plant, first)), plant.token(first)).status_code == 204
    first.refresh_from_db()
    assert first.last_seen_at is not None
    assert first.actual["transport"] == "https"
    wrong = post("reported", wire.encode(report(plant, second)), plant.token(first))
    assert (wrong.status_code, code(wrong)) == (400, "wrong_gateway")


# ---- artefacts -------------------------------------------------------------------------------------------------------


def test_artefacts_only_of_installations_wanted_here_with_ranges(plant: Plant) -> None:
    first, second = plant.gateways
    version = signed_version(plant, bias=3.0)
    data = artefacts.load(version.sha256)
    address = f"artefacts/{version.sha256}"
    assert get(address, plant.token(first)).status_code == 404
    rollout_start(actor=None, version=version, adoption=plant.adoption)
    whole = get(address, plant.token(first))
    assert whole.status_code == 200
    assert hashlib.sha256(b"".join(whole.streaming_content)).hexdigest() == version.sha256
    part = get(address, plant.token(first), Range="bytes=10-")
    assert part.status_code == 206
    assert part["Content-Range"] == f"bytes 10-{len(data) - 1}/{len(data)}"
    assert b"".join(part.streaming_content) == data[10:]
    over = get(address, plant.token(first), Range=f"bytes={len(data)}-")
    assert over.status_code == 416
    assert over["Content-Range"] == f"bytes */{len(data)}"
    assert get(address, plant.token(second)).status_code == 404
    assert get("artefacts/../../etc/passwd", plant.token(first)).status_code == 404
    assert code(get("artefacts/" + "z" * 64, plant.token(first))) == "not_found"


def test_a_database_that_is_away_is_a_503_the_agent_waits_for(plant: Plant, monkeypatch: Any) -> None:
    from django.db.utils import OperationalError

    from edge_bridge import doors

    def away(*_args: Any) -> Any:
        raise OperationalError("database is locked")

    token = plant.token(plant.gateways[0])
    monkeypatch.setattr(doors, "messages_take", away)
    answer = post("messages", wire.seal_batch([]), token)
    assert (answer.status_code, code(answer)) == (503, "busy")
    assert answer["Retry-After"] == "2"


def test_a_second_site_with_the_same_source_name_is_not_mixed_up(plant: Plant) -> None:
    other = make_plant("away")
    gateway = other.gateways[0]
    assert {a.status for a in send(other, gateway, [seal(gateway, "turbine/rows", 1, telemetry(1))]).values()} == {
        "accepted"
    }
    assert InboxMessage.objects.get().gateway.site == other.site
