"""A stand-in for WhatsApp's Cloud API (developers.facebook.com/docs/whatsapp/cloud-api), and what it delivers."""

import itertools
from typing import Any

from tests.standins.messenger import MessengerApi, Received

TOKEN = "EAAJB-the-system-users-token"
NUMBER = "106540352242922"
_ids = itertools.count(1)


class WhatsApp(MessengerApi):
    """The API of one phone number."""

    def answer(self, call: Received) -> tuple[int, Any]:
        """As the real API."""
        document = call.document
        if call.headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"error": {"message": "Invalid OAuth access token.", "type": "OAuthException", "code": 190}}
        if call.path.endswith("/subscribed_apps"):
            return 200, {"success": True}
        if call.method == "GET":
            return 200, {"display_phone_number": "+1 555-000-1111", "verified_name": "Switchboard Air", "id": NUMBER}
        if call.path != f"/{NUMBER}/messages" or document.get("messaging_product") != "whatsapp":
            return 400, {"error": {"message": "Unsupported post request", "code": 100}}
        to = str(document.get("to") or document.get("recipient"))
        text = str(document["text"]["body"])
        assert 0 < len(text) <= 4096
        self.texts.append((to, text))
        return 200, {
            "messaging_product": "whatsapp",
            "contacts": [{"input": to, "wa_id": to}],
            "messages": [{"id": f"wamid.OUT{len(self.texts)}"}],
        }


def message(
    text: str, *, number: str | None = "4915112345678", user_id: str | None = None, **more: Any
) -> dict[str, Any]:
    """A delivery with a person's message."""
    content = {
        "id": f"wamid.IN{next(_ids)}",
        "timestamp": "1790000000",
        "type": "text",
        "text": {"body": text},
        **({"from": number} if number else {}),
        **({"from_user_id": user_id} if user_id else {}),
        **more,
    }
    card = {"profile": {"name": "Ana"}, "wa_id": number, "user_id": user_id}
    return delivery(contacts=[{name: value for name, value in card.items() if value}], messages=[content])


def echo(text: str, to: str) -> dict[str, Any]:
    """A delivery with what the business wrote in its own app."""
    content = {"from": "15550001111", "to": to, "id": f"wamid.E{next(_ids)}", "timestamp": "1790000000",
               "type": "text", "text": {"body": text}}  # fmt: skip
    return delivery("smb_message_echoes", message_echoes=[content])


def status(external_id: str, state: str, reference: str | None = None, **more: Any) -> dict[str, Any]:
    """A delivery with what became of a message."""
    told = {"id": external_id, "status": state, "timestamp": "1790000001", "recipient_id": "4915112345678", **more}
    return delivery(statuses=[told | ({"biz_opaque_callback_data": reference} if reference else {})])


def delivery(field: str = "messages", **value: Any) -> dict[str, Any]:
    """A delivery of the phone number."""
    metadata = {"display_phone_number": "15550001111", "phone_number_id": NUMBER}
    change = {"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
    return {"object": "whatsapp_business_account", "entry": [{"id": "WABA", "changes": [change]}]}
