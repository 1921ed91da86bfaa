"""Number types of the config that jsonargparse does not have."""

from typing import TYPE_CHECKING

from jsonargparse.typing import restricted_number_type

if TYPE_CHECKING:
    BelowOne = float
else:
    BelowOne = restricted_number_type("BelowOne", float, [(">=", 0), ("<", 1)], docstring="a number from 0 to below 1")
