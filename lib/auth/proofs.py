"""Proofs: how the body of a request names its sender and proves who that is."""

from typing import Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from lib import errors
from lib.fields import emails
from lib.fields.emails import EmailHmac, EmailText
from lib.fields.models import Arrival


class ProvableArrival(Arrival):
    """An arrival that may name its sender by email, and prove it by an HMAC of the email or an identity token."""

    email: EmailText | None = None
    """Stored as typed, compared trimmed, NFC, in lower case, with an IDNA domain. Registering requires it without
    ``identity_token`` and without the token of a proven contact; a chat takes it, and its proofs, only without a
    token."""
    email_hmac: EmailHmac | None = None
    """Proof: HMAC-SHA256 of the email (as sent, without surrounding spaces, or its compared form) under the space's
    secret, in hex."""
    identity_token: str | None = Field(default=None, max_length=4_096, repr=False)
    """Proof: a JWT of the customer's server (docs/identity.md). It replaces ``email``, which, if given, must be the
    token's; not together with ``email_hmac``. Refused beside a bearer token (422), because the two may name two
    persons."""

    @model_validator(mode="after")
    def _has_one_proof(self) -> Self:
        if self.email_hmac is not None and self.email is None:
            raise ValueError("email_hmac needs email")
        if self.email_hmac is not None and self.identity_token is not None:
            raise ValueError("identity_token and email_hmac exclude each other")
        return self

    def sender(self, space_id: UUID | None) -> dict[str, Any]:
        """Arguments of the SQL functions that find the sender, who is proven if the database accepts the signature.

        Raises Refused (identity_token_invalid, identity_token_expired), and InvalidBody for an email that is not the
        token's.
        """
        email = emails.parse(self.email) if self.email is not None else None
        proof = None
        if self.identity_token is not None:
            from lib.auth import identity_tokens  # noqa: PLC0415 (for few requests)

            token = identity_tokens.read(self.identity_token, space_id)
            if email is not None and (token.email is None or token.email.key != email.key):
                raise errors.InvalidBody([errors.FieldError("email", "must be the email in the identity token")])
            email = token.email
            proof = {"signed": token.signed, "signature": token.signature, "subject": token.subject}
        return {
            "email": email.typed if email else None,
            "email_key": email.key if email else None,
            "email_hmac": self.email_hmac,
            "identity_token": proof,
        }
