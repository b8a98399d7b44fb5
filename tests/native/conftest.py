"""The kernels' tests need the library: without it they are left out, and say why."""

import pytest

from rnnport.errors import UnavailableError
from rnnport.native.library import library_path


@pytest.fixture(autouse=True, scope="session")
def library():
    """The path of the library."""
    try:
        return library_path()
    except UnavailableError as missing:
        pytest.skip(str(missing))
