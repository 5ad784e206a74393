"""The fleet of a sweep: which workers may train it together, and how a mixed fleet is recorded."""

from regopt._core.io import JsonObject

MIXED = "mixed: bits depend on the kind of device on which a setting trains"


def check_alike(first: JsonObject, other: JsonObject, *, mixed: bool) -> None:
    """Refuse a worker whose environment is not that of the first one, or not enough so.

    Args:
        first: the environment of the first worker.
        other: that of one that joins.
        mixed: whether another kind of device is allowed; versions, options and the platform must be the same.

    Raises:
        ValueError: the environments differ in something that is not allowed.
    """
    names = [name for name in first if first[name] != other.get(name)]
    kind_alone = names == ["device"] and first["device"]["platform"] == other["device"]["platform"]
    if names and not (mixed and kind_alone):
        found = "; ".join(f"{name} is {first[name]} on one worker and {other.get(name)} on another" for name in names)
        hint = "; mixed=True allows it, and the bits then depend on which worker trains a setting" if kind_alone else ""
        raise ValueError(f"the fleet is mixed: {found}{hint}")


def recorded_device(device: JsonObject, shards: int, *, mixed: bool) -> JsonObject:
    """The devices of a sweep in its fingerprint; of a mixed fleet any kind may come first, so that it has none."""
    return {**device, **({"kind": MIXED} if mixed else {}), "count": shards}
