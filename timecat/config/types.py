"""The config's number types: jsonargparse's, which it checks, and one more; to a type checker plain numbers."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    PositiveInt = NonNegativeInt = int
    PositiveFloat = NonNegativeFloat = ClosedUnitInterval = OpenUnitInterval = BelowOne = float
else:
    from jsonargparse.typing import (
        ClosedUnitInterval,
        NonNegativeFloat,
        NonNegativeInt,
        OpenUnitInterval,
        PositiveFloat,
        PositiveInt,
        restricted_number_type,
    )

    BelowOne = restricted_number_type("BelowOne", float, [(">=", 0), ("<", 1)], docstring="a number from 0 to below 1")

__all__ = [
    "BelowOne",
    "ClosedUnitInterval",
    "NonNegativeFloat",
    "NonNegativeInt",
    "OpenUnitInterval",
    "PositiveFloat",
    "PositiveInt",
]
