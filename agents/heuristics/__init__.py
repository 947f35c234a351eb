"""Policies that are written down, not learned."""
