"""Money that a float holds exactly is refused too: the next one would not be."""

from __future__ import annotations

import pytest

from agentdb.engine.quantities import billionths
from agentdb.errors import BadInput


@pytest.mark.parametrize("amount", [0.5, 1.0, 0.0])
def test_a_float_is_no_money_even_where_it_is_exact(amount: float) -> None:
    with pytest.raises(BadInput, match="not float"):
        billionths(amount)
