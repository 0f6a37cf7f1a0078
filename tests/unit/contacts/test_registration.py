from uuid import uuid4

import pytest

from lib import errors
from lib.auth import callers
from lib.auth.client_info import ClientInfo
from lib.contacts import registration
from lib.contacts.registration import RegistrationRequest
from tests.unit.sql_functions import SqlFunctions


async def test_a_registration_whose_answer_was_lost_is_not_sent_twice(sql: SqlFunctions) -> None:
    sql.lost = 1
    arrival, client = RegistrationRequest(email="a@example.com"), ClientInfo(None, None, None)
    with pytest.raises(errors.BackendUnavailable):
        await registration.register(callers.Anonymous(), uuid4(), "embed", arrival, client)
    assert sql.names() == ["register_contact"]
