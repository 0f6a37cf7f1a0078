"""What ends a command that calls the functions."""

import aiohttp
import pytest

from cli import api, running


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        # The reader of the output has gone, as in `… | head -1`: the functions are not to blame.
        (BrokenPipeError(32, "Broken pipe"), BrokenPipeError),
        (aiohttp.ClientOSError(32, "Broken pipe"), running.Failure),
        (TimeoutError(), running.Failure),
    ],
)
def test_a_closed_output_is_not_an_unreachable_address(error: OSError, raised: type[Exception]) -> None:
    with pytest.raises(raised), api.failures():
        raise error
