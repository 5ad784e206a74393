"""Reports: what a sweep left behind, as one page that opens anywhere, and as files for other tools.

Tables, curves and dictionaries in, text and files out. Nothing here knows how a sweep trains.
"""

from regopt.report.findings import Findings

__all__ = ["Findings"]
