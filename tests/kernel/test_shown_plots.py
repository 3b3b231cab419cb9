"""A plot in a notebook is shown once, whatever the cell does with it."""

from __future__ import annotations

import pytest
from kernels import Kernel

pytestmark = pytest.mark.keeps_connections


@pytest.mark.parametrize("code", ["profile.plot()", "figure = profile.plot()", "profile.plot(); None", "figure"])
def test_the_picture_of_a_profile_is_shown_once(kernel: Kernel, code: str) -> None:
    """As the cell's result, and as a figure that is open at the cell's end, but not as both."""
    kernel.run('profile = await db.profile("select 1 as a, 2 as b")\nfigure = profile.plot()')

    shown = kernel.run(code).shown

    assert len(shown) == 1
    assert shown[0].startswith("<Figure size ")
