"""Heuristics that decide where requests are computed, and the search for the best choices of a frame."""
