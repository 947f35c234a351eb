"""Reports: what came of a suite as one page that works from disk, and as Markdown with the same numbers."""

from .about import About
from .write import write_report

__all__ = ["About", "write_report"]
