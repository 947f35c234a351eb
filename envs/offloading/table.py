"""What happened in an episode of offloading, as a table with one row per request, in the order of requests.

Times are in seconds from the beginning of the episode. A stage that a request did not go through has NaN: all from
`begin_send` to `down`, `airtime` and `power` of a request that was computed by its user's own device.

- `request`: its place in the instance, and `user`: who asked for it.
- `target`: where it was decided to go, 0 for the user's own device (in the continuous face also where its share is 0).
- `option`: which of the target's options; 0 in the continuous face.
- `arrival`: when it arrived, and `decided`: when it was decided.
- `ready`: when its local work was done, and it could be sent; of a request in two parts, when it was decided.
- `begin_send`, `sent`: when its first bit was sent, and its last; the same moment where it had none.
- `reached`: when it reached the server, and `served`: when the serial unit had done its work.
- `left`: when the shared unit had done its work.
- `down`: when its result began to come down.
- `end`: when it ended: with its result, or its local work, or in two parts with the later of them.
- `delay`: seconds from its arrival to its end.
- `energy`: J, of all that it used.
- `missed`: whether it ended after its deadline.
- `error`: the share of answers that its option spoils.
- `airtime`: seconds in which it was sent.
- `power`: W, with which it was sent.
- `fraction`: the share of it that went to its target: 0 for target 0; 1 for others, but in the continuous face.
- `speed_factor`: the speed of its local work / the processor's own; 1 but in the continuous face.
"""

from __future__ import annotations

COLUMNS = (
    "request", "user", "target", "option", "arrival", "decided", "ready", "begin_send", "sent", "reached", "served",
    "left", "down", "end", "delay", "energy", "missed", "error", "airtime", "power", "fraction", "speed_factor",
)  # fmt: skip
"""The columns, in order."""

WHOLE = ("request", "user", "target", "option")
"""Those that are whole numbers; `missed` is true or false, and all others are floating-point numbers."""

REMOTE = ("begin_send", "sent", "reached", "served", "left", "down", "airtime", "power")
"""Those that are NaN for target 0."""
