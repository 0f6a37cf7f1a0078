import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from lib.auth import signing
from tests.unit.conftest import JWT_SECRET, Configure

CLAIMS = st.dictionaries(st.text(max_size=20), st.text(max_size=50) | st.integers() | st.none(), max_size=5)


def private_key(**members: str) -> tuple[ec.EllipticCurvePrivateKey, str]:
    """A new key for ES256, and its JWK with further members."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, json.dumps(jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True) | members)


@given(claims=CLAIMS)
def test_another_library_verifies_signatures_of_the_secret(claims: dict[str, Any]) -> None:
    claims = {f"c {name}": value for name, value in claims.items()}  # no registered names, which must have their types
    token = signing.sign(claims)
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert jwt.decode(token, JWT_SECRET, algorithms=["HS256"]) == claims


@pytest.mark.parametrize("members", [{"kid": "ours"}, {}])
def test_another_library_verifies_signatures_of_the_key(configure: Configure, members: dict[str, str]) -> None:
    key, jwk = private_key(**members)
    configure(SWITCHBOARD_SIGNING_KEY=jwk)
    for number in range(600):  # so many that some halves of a signature begin with a zero byte
        token = signing.sign({"number": number})
        assert jwt.decode(token, key.public_key(), algorithms=["ES256"]) == {"number": number}
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "typ": "JWT", **members}


def test_a_private_half_that_belongs_to_another_public_one_signs_nothing(configure: Configure) -> None:
    one, other = (json.loads(private_key()[1]) for _ in range(2))
    configure(SWITCHBOARD_SIGNING_KEY=json.dumps(one | {"d": other["d"]}))
    with pytest.raises(ValueError, match="key"):
        signing.sign({})
