"""Every sender's recorded payloads: what they are read as, and that nothing but a signed one is accepted."""

import contextlib
import copy
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telegram import Update

from lib import providers
from lib.errors import InvalidBody, InvalidJson, NotFound, SecretInvalid, TimestampInvalid
from lib.providers import Attachment, Delivery, Ignored, Item, Unknown, discord, whatsapp
from tests.senders import SENDERS, Proof, Sender, cases, document, payload, provider_of

CHANNEL = "0197a000-0000-7000-8000-0000000000c1"
ALL = sorted(SENDERS)
CHANNELS = [name for name in ALL if name != "n8n"]

ANN = {"id": "5512345678", "name": "Ann Lee", "username": "annlee", "phone": None}
GROUP = "-1002233445566"
SUPER = {"chat_id": GROUP, "is_group": True, "group_title": "Charter crew"}
ANN_WA = {"id": "CH.5Kc4Qm8TnWpX2rVb", "name": "Ann Lee", "phone": "+41791112233", "username": None}
ANN_DC = {"id": "80351110224678912", "name": "Ann", "username": "annlee"}
WAMID = "wamid.HBgLNDE3OTExMTIyMzMVAgASGBQzQUE4{:04}"
OURS = "wamid.HBgLNDE3OTExMTIyMzMVAgARGBI5{:04}"

READ: dict[tuple[str, str], list[tuple[str, dict[str, Any]]]] = {
    ("telegram", "text"): [("ChannelMessage", {
        "external_id": "7", "chat_id": "5512345678", "sender": ANN, "is_group": False, "thread_id": None,
        "text": "Geneva to Nice on Friday, four people ✈️", "sent_at": datetime.fromtimestamp(1793000000, UTC),
        "edited": False, "delivery_key": "900000001", "ordering_key": "5512345678", "attachments": [],
    })],
    ("telegram", "edited_text"): [("ChannelMessage", {
        "external_id": "7", "edited": True, "text": "Geneva to Nice on Saturday, four people",
        "sent_at": datetime.fromtimestamp(1793000060, UTC), "delivery_key": "900000002", "ordering_key": "5512345678",
    })],
    ("telegram", "group_text"): [("ChannelMessage", {
        **SUPER, "sender": {"id": "6623456789", "name": "Bob", "username": None}, "reply_to": "20", "text": "Any news?",
    })],
    ("telegram", "topic_text"): [("ChannelMessage", {
        **SUPER, "thread_id": "12", "reply_to": None, "ordering_key": f"{GROUP}:12",
    })],
    ("telegram", "reply_thread"): [("ChannelMessage", {"thread_id": None, "reply_to": "20", "ordering_key": GROUP})],
    ("telegram", "anonymous_admin"): [("ChannelMessage", {"sender": {"id": GROUP, "name": "Charter crew"}})],
    ("telegram", "photo"): [("ChannelMessage", {
        "text": "My passport", "attachments": [{"kind": "image", "external_id": "AgACAgQAAxkBAAMIZ-large"}],
    })],
    ("telegram", "document"): [("ChannelMessage", {"text": "", "attachments": [{
        "kind": "document", "external_id": "BQACAgQAAxkBAAMJ", "media_type": "application/pdf", "name": "itinerary.pdf",
    }]})],
    ("telegram", "voice"): [("ChannelMessage", {"attachments": [{"kind": "audio", "media_type": "audio/ogg"}]})],
    ("telegram", "animation"): [("ChannelMessage", {"attachments": [{"kind": "video"}]})],
    ("telegram", "location"): [("ChannelMessage", {"attachments": [{"kind": "location", "name": "46.2381, 6.1089"}]})],
    ("telegram", "contact"): [("ChannelMessage", {"attachments": [{"kind": "contact", "name": "Bob 41791234567"}]})],
    ("telegram", "group_migrated"): [("ChatMigrated", {"old_chat_id": "-4099001122", "new_chat_id": GROUP})],
    ("telegram", "supergroup_migrated"): [("ChatMigrated", {"old_chat_id": "-4099001122", "new_chat_id": GROUP})],
    ("telegram", "member_joined"): [("Ignored", {})],
    ("telegram", "other_bot"): [("Ignored", {})],
    ("telegram", "callback_query"): [("Unknown", {
        "reason": "update: callback_query", "delivery_key": "900000017",
    })],
    ("telegram", "business_message"): [("Unknown", {"reason": "update: business_message"})],
    ("whatsapp", "text"): [("ChannelMessage", {
        "external_id": WAMID.format(1), "chat_id": ANN_WA["id"], "sender": ANN_WA, "is_group": False,
        "text": "Geneva to Nice on Friday, four people ✈️", "sent_at": datetime.fromtimestamp(1793000000, UTC),
        "delivery_key": WAMID.format(1), "ordering_key": ANN_WA["id"], "by_business": False,
    })],
    ("whatsapp", "reply"): [("ChannelMessage", {"reply_to": OURS.format(1)})],
    ("whatsapp", "username_only"): [("ChannelMessage", {
        "chat_id": "US.8Jx2PaQz71LmNcRd",
        "sender": {"id": "US.8Jx2PaQz71LmNcRd", "name": "Cleo", "username": "cleo.flies", "phone": None},
    })],
    ("whatsapp", "number_only"): [("ChannelMessage", {
        "chat_id": "41791112233", "sender": {"id": "41791112233", "name": "Ann Lee", "phone": "+41791112233"},
    })],
    ("whatsapp", "image"): [("ChannelMessage", {
        "text": "My passport",
        "attachments": [{"kind": "image", "external_id": "1339412300000001", "media_type": "image/jpeg"}],
    })],
    ("whatsapp", "document"): [("ChannelMessage", {"attachments": [{"kind": "document", "name": "itinerary.pdf"}]})],
    ("whatsapp", "voice"): [("ChannelMessage", {"attachments": [{"kind": "audio"}]})],
    ("whatsapp", "location"): [("ChannelMessage", {"attachments": [{"kind": "location", "name": "46.2381, 6.1089"}]})],
    ("whatsapp", "button"): [("ChannelMessage", {"text": "Yes, please"})],
    ("whatsapp", "list_reply"): [("ChannelMessage", {"text": "Operator One"})],
    ("whatsapp", "group"): [("ChannelMessage", {
        "is_group": True, "chat_id": "Y2FwaV9ncm91cDoxMDY1", "sender": ANN_WA,
    })],
    ("whatsapp", "reaction"): [("Ignored", {})],
    ("whatsapp", "unsupported"): [("Unknown", {
        "reason": "message: unsupported", "delivery_key": WAMID.format(13),
    })],
    ("whatsapp", "number_changed"): [("ChatMigrated", {
        "old_chat_id": ANN_WA["id"], "new_chat_id": "CH.9Tf3LkPw2VsYb6Ng",
    })],
    ("whatsapp", "several"): [
        ("ChannelMessage", {"text": "First", "ordering_key": ANN_WA["id"]}),
        ("ChannelMessage", {"text": "Second", "ordering_key": ANN_WA["id"]}),
        ("ChannelMessage", {"text": "From Bob", "ordering_key": "33612345678", "sender": {"name": "Bob"}}),
        ("DeliveryStatus", {"status": "delivered", "delivery_key": f"{OURS.format(4)}:delivered"}),
    ],
    ("whatsapp", "echo"): [("ChannelMessage", {
        "by_business": True, "chat_id": ANN_WA["id"], "sender": {"id": "15550783881"}, "text": "I will call you.",
    })],
    ("whatsapp", "sent"): [("DeliveryStatus", {
        "external_id": OURS.format(5), "status": "sent", "error": None, "ordering_key": ANN_WA["id"],
        "at": datetime.fromtimestamp(1793000010, UTC),
    })],
    ("whatsapp", "delivered_and_read"): [
        ("DeliveryStatus", {"status": "read"}), ("DeliveryStatus", {"status": "delivered"}),
    ],
    ("whatsapp", "failed"): [("DeliveryStatus", {"status": "failed", "error": "131047 Re-engagement message"})],
    ("whatsapp", "other_status"): [("Unknown", {"reason": "malformed: status"})],
    ("whatsapp", "other_number"): [("Unknown", {"reason": "another phone number"})],
    ("whatsapp", "template_status"): [("Unknown", {"reason": "field: message_template_status_update"})],
    ("discord", "ping"): [("Ignored", {})],
    ("discord", "guild_command"): [("ChannelMessage", {
        "external_id": "1437519243251712000", "chat_id": "645027906669510667", "is_group": True, "sender": ANN_DC,
        "text": "Geneva to Nice on Friday?", "reply_token": "aW50ZXJhY3Rpb246MTQzNzUxOTI0MzI1MTcxMjAwMA",
        "sent_at": datetime.fromtimestamp(((1437519243251712000 >> 22) + 1420070400000) / 1000, UTC),
    })],
    ("discord", "private_command"): [("ChannelMessage", {
        "is_group": False, "chat_id": "1301000000000000777", "sender": {**ANN_DC, "name": "Ann Lee"},
    })],
    ("discord", "subcommand"): [("ChannelMessage", {"text": "LSGG LFMN"})],
    ("discord", "command_without_text"): [("ChannelMessage", {"text": "/help"})],
    ("discord", "component"): [("Unknown", {"reason": "interaction"})],
    ("discord", "autocomplete"): [("Ignored", {})],
    ("discord", "modal"): [("Unknown", {"reason": "interaction"})],
    ("discord", "event_ping"): [("Ignored", {})],
    ("discord", "event"): [("Unknown", {"reason": "event: ENTITLEMENT_CREATE"})],
    ("omi", "segments_object"): [("DeviceSegments", {
        "uid": "omi-user-1", "session_id": "omi-user-1", "ordering_key": "omi-user-1", "segments": [
            {"id": "7d1c0f1e-0000-4000-8000-000000000001", "text": "I would like", "is_user": True, "end": 1.2},
            {"text": "Where to?", "speaker": "SPEAKER_01", "is_user": False, "start": 1.5},
        ],
    })],
    ("omi", "segments_grown"): [("DeviceSegments", {"segments": [
        {"id": "7d1c0f1e-0000-4000-8000-000000000001", "text": "I would like to fly to Nice", "end": 3.9},
    ]})],
    ("omi", "segments_list"): [("DeviceSegments", {"session_id": "omi-user-1", "segments": [{"text": "On Friday"}]})],
    ("omi", "segments_without_id"): [("DeviceSegments", {"segments": [{"id": None}]})],
    ("omi", "no_segment"): [("Ignored", {})],
    ("omi", "conversation"): [("DeviceConversation", {
        "external_id": "conv-2f7a", "title": "Trip to Nice", "overview": "Four people want to fly to Nice.",
        "started_at": datetime(2026, 11, 30, 11, 58, tzinfo=UTC), "discarded": False,
        "segments": [{"text": "I would like to fly to Nice"}, {"text": "On Friday"}],
    })],
    ("omi", "conversation_discarded"): [("DeviceConversation", {"discarded": True, "title": None, "segments": []})],
    ("avinode", "rfq"): [("BusinessEvent", {
        "type": "rfqs", "external_id": "arfq-1000001", "trip_id": "A1B2C3", "ordering_key": "A1B2C3",
        "href": "https://sandbox.avinode.com/api/rfqs/arfq-1000001", "delivery_key": None,
    })],
    ("avinode", "trip"): [("BusinessEvent", {"type": "trips", "external_id": "atrip-64956150"})],
    ("avinode", "quote"): [("BusinessEvent", {"type": "quotes"})],
    ("avinode", "seller_message"): [("BusinessEvent", {"type": "tripmsgs"})],
    ("avinode", "without_trip"): [("BusinessEvent", {"trip_id": None, "ordering_key": "arfq-1000002"})],
    ("avinode", "client_lead"): [("Unknown", {"reason": "type: clientleads"})],
    ("standard", "event"): [("Unknown", {
        "reason": "type: contact.created", "delivery_key": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
    })],
    ("standard", "without_type"): [("Unknown", {"reason": "type"})],
    ("n8n", "answer"): [("AsyncAnswer", {"text": "Four operators fly that route.", "error": None})],
    ("n8n", "failure"): [("AsyncAnswer", {"text": None, "error": "The model is down"})],
    ("n8n", "item_list"): [("AsyncAnswer", {"text": "Hello"})],
}  # fmt: skip
"""What each recorded payload is read as: the kinds of its items, and some of their fields."""


def deliver(sender: Sender, body: bytes, proof: Proof | None = None) -> Delivery:
    headers, query = proof or sender.signed(CHANNEL, body)
    return Delivery(headers, body, query)


def read(sender: Sender, body: bytes) -> tuple[providers.Parsed, ...]:
    provider = providers.find(provider_of(sender.name))
    return provider.parse(deliver(sender, body), sender.external_id)


def holds(value: Any, expected: Any) -> bool:
    """Whether a value has at least the members of the expected one."""
    if isinstance(expected, dict):
        return all(holds(getattr(value, name), member) for name, member in expected.items())
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(holds, value, expected))
    return bool(value == expected)


def test_each_payload_has_its_row() -> None:
    assert {(name, case) for name in ALL if name != "svix" for case in cases(name)} == set(READ)


@pytest.mark.parametrize(("name", "case"), READ)
def test_a_payload_is_read(name: str, case: str) -> None:
    found = read(SENDERS[name], payload(name, case))
    assert [type(item).__name__ for item in found] == [kind for kind, _ in READ[name, case]]
    for item, (_, expected) in zip(found, READ[name, case], strict=True):
        assert holds(item, expected), item


@pytest.mark.parametrize("case", cases("telegram"))
def test_python_telegram_bot_reads_the_same_updates(case: str) -> None:
    update = Update.de_json(document("telegram", case), None)
    assert update is not None
    message = update.message or update.edited_message
    if message is None:
        return
    # What the library writes back is read alike, apart from names that Telegram no longer sends.
    (ours,) = read(SENDERS["telegram"], update.to_json().encode())
    assert ours == read(SENDERS["telegram"], payload("telegram", case))[0]


# Proof ----------------------------------------------------------------------------------------------------------------


def fails(sender: Sender, proof: Proof, body: bytes = b'{"a": 1}', secret: str | None = None) -> str:
    """The code with which a delivery is refused."""
    with pytest.raises((SecretInvalid, TimestampInvalid)) as refused:
        providers.find(provider_of(sender.name)).verify(secret or sender.secret, deliver(sender, body, proof))
    assert refused.value.status == 401
    return refused.value.code


@pytest.mark.parametrize("name", ALL)
def test_only_the_right_proof_is_accepted(name: str) -> None:
    sender, body = SENDERS[name], b'{"a": 1}'
    headers, query = sender.signed(CHANNEL, body)
    providers.find(provider_of(name)).verify(sender.secret, Delivery(headers, body, query))

    def offering(value: str | None) -> Proof:
        """The proof with another value in its place, or none."""
        place, key = (query, sender.proof[1:]) if sender.proof.startswith("?") else (headers, sender.proof)
        changed = {other: held for other, held in place.items() if other != key} | (
            {} if value is None else {key: value}
        )
        return (headers, changed) if place is query else (changed, query)

    place = query if sender.proof.startswith("?") else headers
    right = place[sender.proof.removeprefix("?")]
    malformed = ("", " ", right[:-1], right[:-6] + "AAAA" + right[-2:], right[::-1], "=", "v1,", "v1", "sha256=",
                 "sha256=é", "Basic", "Basic !", "Basic é", "Bearer", "\udc80", "0" * 10_000)  # fmt: skip
    for value in (None, *malformed):
        assert fails(sender, offering(value)) == "secret_invalid"
    assert fails(sender, sender.signed(CHANNEL, body, secret=sender.other_secret)) == "secret_invalid"
    for secret in ("", "x") if name in ("discord", "standard", "svix") else ("x",):
        assert fails(sender, (headers, query), secret=secret or " ") == "secret_invalid"


@pytest.mark.parametrize("name", ["whatsapp", "discord", "standard", "svix"])
def test_a_signature_is_for_one_body(name: str) -> None:
    sender = SENDERS[name]
    assert fails(sender, sender.signed(CHANNEL, b'{"a": 1}'), b'{"a": 2}') == "secret_invalid"


@pytest.mark.parametrize("name", [name for name in ALL if SENDERS[name].is_timed])
@pytest.mark.parametrize("seconds", [-400, 400])
def test_a_timestamp_outside_of_the_tolerance_is_refused(name: str, seconds: int) -> None:
    sender, body = SENDERS[name], b'{"a": 1}'
    assert fails(sender, sender.signed(CHANNEL, body, at=time.time() + seconds)) == "timestamp_invalid"
    providers.find(provider_of(name)).verify(
        sender.secret, deliver(sender, body, sender.signed(CHANNEL, body, at=time.time() + seconds / 2))
    )
    headers, query = sender.signed(CHANNEL, body)
    for value in ("", "soon", "9" * 400, "nan"):
        stale = {key: value if key.endswith("timestamp") else held for key, held in headers.items()}
        assert fails(sender, (stale, query)) in ("secret_invalid", "timestamp_invalid")


# References, keys and responses ---------------------------------------------------------------------------------------


def test_a_delivery_names_its_channel_where_it_can() -> None:
    def reference(name: str, body: bytes, **query: str) -> str:
        headers, _ = SENDERS[name].signed(CHANNEL, body)
        return providers.find(provider_of(name)).reference(Delivery(headers, body, query))

    assert reference("whatsapp", payload("whatsapp", "several")) == "106540352242922"
    assert reference("discord", payload("discord", "event_ping")) == "1201234567890123456"
    assert reference("avinode", b"{}") == CHANNEL
    assert reference("omi", b"{}", channel=CHANNEL) == CHANNEL
    for name in ("telegram", "standard", "omi"):
        with pytest.raises(NotFound):
            reference(name, b"{}")
    for name in ("whatsapp", "discord"):
        with pytest.raises(InvalidBody):
            reference(name, b"[]")
        with pytest.raises(InvalidJson):
            reference(name, b"{")
    with pytest.raises(SecretInvalid):
        providers.find("avinode").reference(Delivery({}, b"{}", {}))


def test_an_item_has_the_same_key_however_it_is_grouped() -> None:
    several = document("whatsapp", "several")
    keys = [
        item.delivery_key
        for item in read(SENDERS["whatsapp"], payload("whatsapp", "several"))
        if isinstance(item, Item)
    ]
    alone = copy.deepcopy(several)
    alone["entry"][0]["changes"][0]["value"]["messages"] = several["entry"][0]["changes"][0]["value"]["messages"][1:2]
    found = read(SENDERS["whatsapp"], json.dumps(alone).encode())
    assert [item.delivery_key for item in found if isinstance(item, Item)] == [keys[1], keys[3]]
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("case", "response"),
    [
        ("ping", ({"type": 1}, 200)), ("guild_command", ({"type": 5}, 200)), ("component", ({"type": 6}, 200)),
        ("autocomplete", ({"type": 8, "data": {"choices": []}}, 200)), ("modal", ({"type": 6}, 200)),
        ("event_ping", (None, 204)), ("event", (None, 204)),
    ],
)  # fmt: skip
def test_discord_gets_the_response_that_it_expects(case: str, response: tuple[Any, int]) -> None:
    answer = discord.provider.acknowledgement(deliver(SENDERS["discord"], payload("discord", case)), duplicate=False)
    assert (answer.document, answer.status) == response


def test_a_verify_token_is_for_one_channel_and_one_secret() -> None:
    token = whatsapp.provider.verify_token("secret", CHANNEL)
    assert token.startswith(f"{CHANNEL}.")
    assert token != whatsapp.provider.verify_token("other", CHANNEL)


# Hostile bodies -------------------------------------------------------------------------------------------------------

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20),
    st.sampled_from(["\x00", "\ud800", "x" * 300, 10**400, -1, [], {}, [[]], {"id": {}}, "2026-13-01", "<script>"]),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a JSON value has values."""
    yield path
    for key, member in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(member, (*path, key))


def changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """A JSON value with another value in one place."""
    if not path:
        return odd
    changed_value = copy.copy(value)
    changed_value[path[0]] = changed(value[path[0]], path[1:], odd)
    return changed_value


@pytest.mark.parametrize("name", [name for name in ALL if name != "svix"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_payload_is_read_or_parked_and_never_breaks(name: str, data: st.DataObject) -> None:
    sender = SENDERS[name]
    body = document(name, data.draw(st.sampled_from(cases(name))))
    for _ in range(data.draw(st.integers(1, 3))):
        body = changed(body, data.draw(st.sampled_from(list(places(body)))), data.draw(ODD))
    content = json.dumps(body).encode()
    provider, delivery = providers.find(name), deliver(sender, content)
    with contextlib.suppress(InvalidBody, InvalidJson, NotFound):
        provider.reference(delivery)
    try:
        found = provider.parse(delivery, sender.external_id)
    except (InvalidBody, InvalidJson):
        assert name == "n8n", "only an answer of a workflow is refused for its content"
        return
    assert found
    assert provider.acknowledgement(delivery, duplicate=False).status in (200, 204)
    for item in found:
        if isinstance(item, Ignored):
            continue
        for key in (item.delivery_key, item.ordering_key):
            assert key is None or (1 <= len(key) <= 300 and key.isascii() and key.isprintable())
        if isinstance(item, Unknown):
            assert item.reason.isprintable()
            assert "<" not in item.reason
        texts = [value for value in vars_of(item) if isinstance(value, str)]
        assert not any("\x00" in text or "\ud800" in text for text in texts)


def vars_of(item: Any) -> Iterator[Any]:
    """All values in an item."""
    for name in item.__dataclass_fields__:
        value = getattr(item, name)
        for each in value if isinstance(value, tuple) else (value,):
            if hasattr(each, "__dataclass_fields__"):
                yield from vars_of(each)
            else:
                yield each


@pytest.mark.parametrize("name", [name for name in ALL if name != "svix"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"NaN", b'{"a":1}{', b"1" * 5_000])
def test_a_body_that_is_no_json_is_refused(name: str, content: bytes) -> None:
    with pytest.raises((InvalidJson, InvalidBody)):
        read(SENDERS[name], content)


def test_an_attachment_is_only_a_reference() -> None:
    assert set(Attachment.__dataclass_fields__) == {"kind", "external_id", "url", "media_type", "size", "name"}
