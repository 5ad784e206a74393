"""Wrong arguments of the public checks are refused before any law runs."""

import pytest

from regopt import testing
from regopt.penalties import l1


def test_numbers_of_no_argument_are_refused_by_name():
    line = r"numbers has 'strenght', which is no argument of penalties\.l1; did you mean 'strength'"
    with pytest.raises(ValueError, match=line):
        testing.check_penalty(l1, {"strenght": (0.3, 1.7)})
    with pytest.raises(ValueError, match=r"numbers must be a mapping from arguments to values, .* got 0\.5"):
        testing.check_penalty(l1, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="refused has 'radius'"):
        testing.check_penalty(l1, {"strength": (0.3, 1.7)}, refused={"radius": (-1.0,)})
