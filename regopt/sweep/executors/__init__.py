"""Where chunks of lanes train."""

__all__ = []
