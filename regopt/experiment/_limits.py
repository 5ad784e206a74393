"""The largest integer of a config whose annotation has no upper bound; a larger one is taken for a typing error."""

from typing import Annotated, get_args, get_origin

MOST = 10**9
SEED = "seed"  # the runner checks its range


def bounded(name: str, hint: object) -> object:
    """The annotation of a field with an upper bound for integers that have none.

    >>> bounded("steps", int)
    typing.Annotated[int, Le(le=1000000000)]
    >>> bounded("rate", float), bounded("seed", int)
    (<class 'float'>, <class 'int'>)
    """
    from annotated_types import Le, Lt

    origin, parts = get_origin(hint), get_args(hint)
    if name == SEED:
        return hint
    if hint is int:
        return Annotated[int, Le(MOST)]
    if origin is Annotated:
        given = [bound for note in parts[1:] for bound in getattr(note, "metadata", [note])]
        if any(isinstance(bound, Le | Lt) for bound in given):
            return hint
        return Annotated[bounded(name, parts[0]), *parts[1:]]  # pyright: ignore[reportInvalidTypeForm]
    if origin is tuple:
        return tuple[tuple(part if part is ... else bounded(name, part) for part in parts)]  # type: ignore[misc]
    return hint
