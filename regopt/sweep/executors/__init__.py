"""Where and by which hosts the settings of a sweep are trained."""

__all__ = []
