"""What happened in an episode of expert caching, as a table of intervals.

One row is one interval of one lane. Rows stand in the order in which things were decided, not in that of their
times; so loads that were decided at the same time can be told apart. Columns, all of fixed size:

- `lane`: one of `LANES`, and `what`: one of `WHATS[lane]`.
- `event`: the event in which it was decided or computed, from 0; of chunks, that in which the row was written.
- `item`: which expert; -1 where it is about none.
- `begin`, `end`: seconds.
- `bytes`: of the load, or of the place; 0 where nothing is carried or held. (A prefetch's chunk carries its share.)
- `buffer`: the staging buffer that the item passes through; -1 where it has a place in its pool, or none.

The lanes:

- ``device``: ``dense`` is the event's attention, router and shared experts. The others are computations of entries:
  ``hit``, ``late`` or ``load``, with ``-low`` where the item is held at low precision; a ``load`` with a buffer is a
  bypass.
- ``cpu``: ``cpu``, an entry that the CPU computes. ``skip``: ``skip``, one that is not computed; it lasts 0 s.
- ``link``: ``demand`` and ``demand-low`` are loads of misses, ``chunk`` one chunk of a prefetch, ``late`` the rest of
  one that was late (there is no row where nothing was left). The first two are written where they are decided, so
  their items take up bytes of the pool (without a buffer) from this row on.
- ``queue``: ``prefetch``, from its decision to `ready`; its item takes up bytes from this row on. `bytes` are all.
- ``evict``: a victim that is lost for a ``demand`` or a ``prefetch``, from its choice to the time at which its place
  is free.
- ``policy``: ``event``, the fixed cost of an event; ``decision``, that of a decision. They may be missing where
  they last 0 s. Those of a decision stand before the rows of what follows from it.
- ``event``: ``prefill`` or ``decode``, from the end of the event before to its own end; the last row of an event.

An event has its ``dense`` row first (even if it lasts 0 s), and the ``policy`` row of its fixed cost. Then come hits,
late loads and late entries, a load before its computation; misses one by one, each with its victims, its load, and
its computation; prefetches, each with its victims before it. Chunks stand anywhere before the first row to which it
matters that they have begun; so those that begin before the last event's end may follow it.
"""

from __future__ import annotations

COLUMNS = ("lane", "event", "item", "begin", "end", "what", "bytes", "buffer")
"""The columns, in order."""

WHATS = {
    "device": ("dense", "hit", "hit-low", "late", "load", "load-low"),
    "cpu": ("cpu",),
    "skip": ("skip",),
    "link": ("demand", "demand-low", "chunk", "late"),
    "queue": ("prefetch",),
    "evict": ("demand", "prefetch"),
    "policy": ("event", "decision"),
    "event": ("prefill", "decode"),
}
"""What an interval may be, by lane."""

LANES = tuple(WHATS)
"""The lanes."""
