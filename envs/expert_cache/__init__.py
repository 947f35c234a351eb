"""Expert caching: what stays in fast memory, what is fetched early, at what precision."""
