"""Which workers may train one sweep together, and how different kinds of devices are recorded."""

from regopt._core.io import JsonObject
from regopt.sweep.executors._messages import Prepared

MIXED = "mixed: bits depend on the kind of device on which a setting trains"


def check_alike(first: Prepared, other: Prepared, *, mixed: bool) -> None:
    """Refuse a worker whose environment or programs differ from those of the first one.

    Programs differ where a package with functions of the task is not the same on all machines, or has changed since.

    Args:
        first: the report of the first worker.
        other: the report of a worker that joins.
        mixed: whether the kinds of their devices may differ; versions, options of JAX and the platform must be equal.

    Raises:
        ValueError: the reports differ in something that must be equal.
    """
    own, its = first.environment, other.environment
    names = [name for name in own if own[name] != its.get(name)]
    kind_alone = names == ["device"] and own["device"]["platform"] == its["device"]["platform"]
    if names and not (mixed and kind_alone):
        found = "; ".join(f"{name} is {own[name]} on one worker and {its.get(name)} on another" for name in names)
        hint = (
            "mixed=True allows it, and the bits then depend on which worker trains a setting"
            if kind_alone
            else "give all workers the same versions, options of JAX and devices"
        )
        raise ValueError(f"the fleet is mixed: {found}; {hint}")
    if not names and [group.digests for group in first.groups] != [group.digests for group in other.groups]:
        raise ValueError(
            "the fleet is mixed: the functions of the task compile to different programs on two workers; give all "
            "workers the same code, and leave it as it is while the sweep trains"
        )


def recorded_device(device: JsonObject, shards: int, *, mixed: bool) -> JsonObject:
    """The devices of a sweep in its fingerprint; with ``mixed`` their kind is left out, since any may come first."""
    return {**device, **({"kind": MIXED} if mixed else {}), "count": shards}
