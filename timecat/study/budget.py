"""Cats are compared at equal images: what is beyond the paper's own inequality is refused."""

from timecat.errors import UserError
from timecat.study.plan import Cat

TOLERANCE = 1.125  # the paper's own: its baseline gets 450k steps where the cats get 400k


def check_budgets(cats: dict[str, Cat], budget: int | None, batch_size: int) -> None:
    """Compare the images of all cats with one another, and with the budget where there is one.

    Cats whose images nobody knows, and direct training on a share of them, are left out.

    Raises:
        UserError: one has more than TOLERANCE times another's images.
    """
    compared = [cat for cat in cats.values() if not cat.of_share and cat.images]
    if not compared:
        return
    least = min(compared, key=lambda cat: cat.images)
    most = max(compared, key=lambda cat: cat.images)
    pairs = [(most.images, _arithmetic(most, batch_size), least.images, _arithmetic(least, batch_size))]
    if budget is not None:
        stated = f"study.images {budget:,}"
        pairs += [(cat.images, _arithmetic(cat, batch_size), budget, stated) for cat in (least, most)]
    for images, arithmetic, other_images, other_arithmetic in pairs:
        if not is_equal(images / other_images):
            raise UserError(
                f"unequal budgets: {arithmetic} is {images / other_images:.3f} times {other_arithmetic}, beyond "
                f"{TOLERANCE}; make them equal or say why in study.unequal_because"
            )


def is_equal(share: float) -> bool:
    """Whether images in this ratio count as equal."""
    return 1 / TOLERANCE <= share <= TOLERANCE


def _arithmetic(cat: Cat, batch: int) -> str:
    return f"{cat.name}'s {cat.budget} steps x {batch:,} = {cat.images:,} images"
