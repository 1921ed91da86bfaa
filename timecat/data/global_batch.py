"""How the global batch is shared: by devices, and by batches whose gradients are accumulated to a step."""

from timecat.errors import UserError


def batches_per_step(batch_size: int, device_batch_size: int | None, devices: int) -> int:
    """Batches that make a step on each device, none of more than device_batch_size images.

    Raises:
        UserError: the global batch cannot be shared equally by so many devices.
    """
    if batch_size % devices:
        raise UserError(
            f"data.batch_size {batch_size:,} cannot be shared equally by {devices} devices; choose a multiple"
        )
    share = batch_size // devices
    most = device_batch_size or share
    return next(n for n in range(1, share + 1) if share % n == 0 and share // n <= most)


def images_at_once(batch_size: int, device_batch_size: int | None, devices: int) -> int:
    """Images that each device trains on at once.

    Raises:
        UserError: as `batches_per_step`.
    """
    return batch_size // (devices * batches_per_step(batch_size, device_batch_size, devices))


def check_ghosts(images: int, ghost_batch_size: int | None) -> None:
    """Refuse ghost batches into which the images that a device trains on at once do not fall.

    Raises:
        UserError: naming both numbers.
    """
    if ghost_batch_size and images % ghost_batch_size:
        raise UserError(
            f"model.ghost_batch_size {ghost_batch_size:,} does not divide the {images:,} images that each device takes "
            "at once; choose one that does, another data.device_batch_size or fewer devices"
        )


def in_words(
    batch_size: int, device_batch_size: int | None, nodes: int, devices: int, ghost_batch_size: int | None = None
) -> str:
    """The same in words, for the plan."""
    batches = batches_per_step(batch_size, device_batch_size, nodes * devices)
    each = images_at_once(batch_size, device_batch_size, nodes * devices)
    check_ghosts(each, ghost_batch_size)
    where = f"{nodes} x {devices} devices" if nodes > 1 else f"{devices} device{'s' if devices > 1 else ''}"
    words = f"global batch {batch_size:,} = {where} x {each:,} images" + (
        f" x {batches} accumulated" if batches > 1 else ""
    )
    return words + (f", normalised by {ghost_batch_size:,}" if ghost_batch_size else "")
