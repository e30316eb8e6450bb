"""How a supervisor is reached, and who may reach it."""

from __future__ import annotations

from pathlib import Path

from rackactor.kernel.transport.sockets import Keys
from rackactor.records import dataclass
from rackactor_runtime.supervisor.home import Home


@dataclass
class Config:
    """See the module."""

    home: Home
    transport: str
    #: Its address over tcp.
    address: str
    operator_token: bytes
    operator_keys: Keys | None
    #: Its port; 0: any.
    port: int = 0

    @property
    def directory(self) -> Path:
        """The group's directory."""
        return self.home.directory
