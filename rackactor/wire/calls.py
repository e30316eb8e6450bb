"""What system calls may say, at both ends of the wire."""

from __future__ import annotations

#: What may be said of the machine that a process is to be. The provider knows what of it it can do.
PLACEMENT = ("availability_zone", "flavor", "image", "keypair", "network", "security_groups")
