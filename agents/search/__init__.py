"""Search at decision time: what more computing time buys a scheduler."""
