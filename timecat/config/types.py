"""The config's number types, which jsonargparse checks; to a type checker plain numbers.

All are finite and have bounds that no study reaches, beyond which NumPy, torch, Lightning or a terminal would fail. A
type is called as a person reads it.
"""

import math
from typing import TYPE_CHECKING

MAX_SEED = 2**32 - 1  # NumPy's
MAX_COUNT = 2**40  # steps, images
MAX_MEMBERS = 1000  # of a cat; repetitions of a study, slots, augmented views
MAX_BATCH = 2**24
SIDES = (4, 4096)  # pixels
MAX_WIDTH = 4096  # channels of a first stage
MAX_CLASSES = 2**20
MAX_RATE = 1000.0  # of learning, of weight decay: with more nothing has ever been trained
MAX_DEVICES = 2**16

if TYPE_CHECKING:
    PositiveInt = NonNegativeInt = Seed = Members = Views = Batch = Side = Width = Classes = Devices = int
    Place = int
    PositiveFloat = NonNegativeFloat = ClosedUnitInterval = OpenUnitInterval = BelowOne = Rate = PositiveRate = float
else:
    from jsonargparse.typing import ClosedUnitInterval as ClosedUnitInterval
    from jsonargparse.typing import OpenUnitInterval as OpenUnitInterval
    from jsonargparse.typing import restricted_number_type

    def _whole(low: int, high: int, words: str = "", *others: tuple[str, int]) -> type:
        words = words or f"a whole number from {low} to {high:,}"
        return restricted_number_type(words, int, [(">=", low), ("<=", high), *others])

    def _real(low: tuple[str, float], high: tuple[str, float], words: str) -> type:
        return restricted_number_type(words, float, [low, high])

    PositiveInt = _whole(1, MAX_COUNT, "a whole number of 1 or more")
    NonNegativeInt = _whole(0, MAX_COUNT, "a whole number of 0 or more")
    Seed = _whole(0, MAX_SEED)
    Members = _whole(1, MAX_MEMBERS)
    Place = Views = _whole(0, MAX_MEMBERS)
    Batch = _whole(1, MAX_BATCH)
    Side = _whole(*SIDES)
    Width = _whole(1, MAX_WIDTH)
    Classes = _whole(0, MAX_CLASSES, f"a whole number from 2 to {MAX_CLASSES:,}", ("!=", 1))  # 0: not given
    Devices = _whole(1, MAX_DEVICES)
    PositiveFloat = _real((">", 0), ("<", math.inf), "a number above 0")
    NonNegativeFloat = _real((">=", 0), ("<", math.inf), "a number of 0 or more")
    BelowOne = _real((">=", 0), ("<", 1), "a number from 0 to below 1")
    Rate = _real((">=", 0), ("<=", MAX_RATE), f"a number from 0 to {MAX_RATE:,.0f}")
    PositiveRate = _real((">", 0), ("<=", MAX_RATE), f"a number above 0, to {MAX_RATE:,.0f}")
