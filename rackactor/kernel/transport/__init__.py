"""Sockets: how they are opened, polled and guarded, and what wakes whoever polls them."""
