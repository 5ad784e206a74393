"""What the catalogue says of one public factory."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A public factory."""

    factory: Callable[..., Any]
    kind: str  # a key of EXERCISES
    numbers: dict[str, tuple[float, ...]]  # by argument, valid values; the first is the usual one
    ends: dict[str, tuple[float, ...]] = {}  # noqa: RUF012 - by argument, the closed ends of its range and other hard values
    build: Callable[..., Any] | None = None  # numbers -> object, where the factory needs more than numbers
    updates: str = "parameters"  # whose dtypes its updates have; a link of a chain: "wide" or "incoming"

    @property
    def name(self) -> str:
        """The factory's name within the package."""
        return f"{self.factory.__module__.removeprefix('regopt.')}.{self.factory.__name__}"

    def make(self, **numbers: Any) -> Any:
        """The object for these numbers, the usual values for the others."""
        usual = {name: values[0] for name, values in self.numbers.items()}
        return (self.build or self.factory)(**(usual | numbers))
