"""What senders of webhooks send: the recorded payloads, and their proof of who they are."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook

PAYLOADS = Path(__file__).parent / "payloads"

Proof = tuple[dict[str, str], dict[str, str]]
"""Headers and parameters of the query."""


@dataclass(frozen=True)
class Sender:
    """A sender: its channel's verify secret, another one of the same form, and how it proves to know a secret.

    `sign` takes the secret, the channel's id, the body and the time. `proof` is where the proof is: a header's name, or
    a parameter's after `?`.
    """

    name: str
    secret: str
    other_secret: str
    sign: Callable[[str, str, bytes, float], Proof]
    proof: str
    external_id: str | None = None
    is_timed: bool = False

    def signed(self, channel_id: str, body: bytes, *, secret: str | None = None, at: float | None = None) -> Proof:
        """The proof for a body."""
        return self.sign(secret or self.secret, channel_id, body, time.time() if at is None else at)


def payload(sender: str, case: str) -> bytes:
    """A recorded body."""
    return (PAYLOADS / sender / f"{case}.json").read_bytes()


def cases(sender: str) -> list[str]:
    """The names of a sender's recorded bodies."""
    return sorted(path.stem for path in (PAYLOADS / sender).glob("*.json"))


def document(sender: str, case: str) -> Any:
    """A recorded body as JSON."""
    return json.loads(payload(sender, case))


def _n8n(secret: str, _: str, __: bytes, ___: float) -> Proof:
    return {"authorization": f"Bearer {secret}"}, {}


def _telegram(secret: str, _: str, __: bytes, ___: float) -> Proof:
    return {"x-telegram-bot-api-secret-token": secret}, {}


def _whatsapp(secret: str, _: str, body: bytes, __: float) -> Proof:
    return {"x-hub-signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}, {}


_KEYS = {key.public_key().public_bytes_raw().hex(): key for key in (Ed25519PrivateKey.generate() for _ in range(2))}
_PUBLIC, _OTHER_PUBLIC = _KEYS


def _discord(secret: str, _: str, body: bytes, at: float) -> Proof:
    timestamp = str(int(at))
    signature = _KEYS[secret].sign(timestamp.encode() + body).hex()
    return {"x-signature-timestamp": timestamp, "x-signature-ed25519": signature}, {}


def _omi(secret: str, _: str, __: bytes, ___: float) -> Proof:
    return {}, {"secret": secret, "uid": "omi-user-1"}


def _avinode(secret: str, channel_id: str, _: bytes, __: float) -> Proof:
    return {"authorization": f"Basic {base64.b64encode(f'{channel_id}:{secret}'.encode()).decode()}"}, {}


def _standard(prefix: str) -> Callable[[str, str, bytes, float], Proof]:
    def sign(secret: str, _: str, body: bytes, at: float) -> Proof:
        moment = datetime.fromtimestamp(at, UTC)
        signature = Webhook(secret).sign("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", moment, body.decode("utf-8", "replace"))
        return {
            f"{prefix}-id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
            f"{prefix}-timestamp": str(int(at)),
            f"{prefix}-signature": f"v1,bm8= v1a,bm8= {signature}",
        }, {}

    return sign


_GENERATED = ("0123456789abcdef" * 4, "123456789abcdef0" * 4)
_WHSEC = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "0f" * 32)

SENDERS: Mapping[str, Sender] = {
    sender.name: sender
    for sender in (
        Sender("n8n", "the-callback-secret", "another-secret", _n8n, "authorization"),
        Sender("telegram", *_GENERATED, _telegram, "x-telegram-bot-api-secret-token"),
        Sender("whatsapp", *_GENERATED, _whatsapp, "x-hub-signature-256", "106540352242922"),
        Sender("discord", _PUBLIC, _OTHER_PUBLIC, _discord, "x-signature-ed25519", "1201234567890123456", True),
        Sender("omi", *_GENERATED, _omi, "?secret"),
        Sender("avinode", *_GENERATED, _avinode, "authorization"),
        Sender("standard", *_WHSEC, _standard("webhook"), "webhook-signature", None, True),
        Sender("svix", *_WHSEC, _standard("svix"), "svix-signature", None, True),
    )
}
"""By name; svix is the provider `standard` with Svix's headers."""


def provider_of(sender: str) -> str:
    """The name of a sender's provider."""
    return "standard" if sender == "svix" else sender
