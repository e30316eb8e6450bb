"""How a supervisor on a machine elsewhere gets its order, which holds what nobody else may read.

User-data and metadata can be read by whoever can see the server, so they carry only a one-time CURVE key of the
machine's, and the public key of the only one that it listens to. The launcher connects with that, sends one
message (the order, a msgpack map), and hears msgpack maps on the same connection until it, or the machine, goes:

    {"accepted": true}                      the order is here; the machine listens no more
    {"answer": {...}}                       the supervisor's one line: how to reach the group, or an `error`
    {"ended": code}                         the supervisor has ended
    {"refused": "why"}                      another message than the first one, or one that is no order

Once it has been answered, the connection may be left at any time: the supervisor goes on.
"""

from __future__ import annotations
