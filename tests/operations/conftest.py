"""What the tests of the commands share."""

import pytest

from tests.operations.foreign import Foreign


@pytest.fixture
def foreign():
    foreign = Foreign()
    yield foreign
    foreign.server.shutdown()
    foreign.server.server_close()
    foreign.thread.join()
