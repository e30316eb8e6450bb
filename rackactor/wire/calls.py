"""What system calls may contain, for both ends of the wire."""

from __future__ import annotations

#: The options for the machine of a process. Each provider uses those that it knows.
PLACEMENT = ("availability_zone", "flavor", "image", "keypair", "network", "security_groups")
