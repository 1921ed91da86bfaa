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


def told(batch_size: int, device_batch_size: int | None, nodes: int, devices: int) -> str:
    """The same in words, for the plan."""
    batches = batches_per_step(batch_size, device_batch_size, nodes * devices)
    each = batch_size // (nodes * devices * batches)
    where = f"{nodes} x {devices} devices" if nodes > 1 else f"{devices} device{'s' if devices > 1 else ''}"
    return f"global batch {batch_size:,} = {where} x {each:,} images" + (
        f" x {batches} accumulated" if batches > 1 else ""
    )
