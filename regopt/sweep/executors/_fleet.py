"""Which workers may train one sweep together, and how different kinds of devices are recorded."""

from regopt._core.io import JsonObject

MIXED = "mixed: bits depend on the kind of device on which a setting trains"


def check_alike(first: JsonObject, other: JsonObject, *, mixed: bool) -> None:
    """Refuse a worker whose environment differs from that of the first one.

    Args:
        first: the environment of the first worker.
        other: the environment of a worker that joins.
        mixed: whether the kinds of their devices may differ; versions, options of JAX and the platform must be equal.

    Raises:
        ValueError: the environments differ in something that must be equal.
    """
    names = [name for name in first if first[name] != other.get(name)]
    kind_alone = names == ["device"] and first["device"]["platform"] == other["device"]["platform"]
    if names and not (mixed and kind_alone):
        found = "; ".join(f"{name} is {first[name]} on one worker and {other.get(name)} on another" for name in names)
        hint = (
            "mixed=True allows it, and the bits then depend on which worker trains a setting"
            if kind_alone
            else "give all workers the same versions, options of JAX and devices"
        )
        raise ValueError(f"the fleet is mixed: {found}; {hint}")


def recorded_device(device: JsonObject, shards: int, *, mixed: bool) -> JsonObject:
    """The devices of a sweep in its fingerprint; with ``mixed`` their kind is left out, since any may come first."""
    return {**device, **({"kind": MIXED} if mixed else {}), "count": shards}
