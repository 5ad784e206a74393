"""The laws of the catalogue."""

__all__: list[str] = []
