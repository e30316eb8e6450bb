"""The system calls, a module for each room: what each says, for both ends of the wire. `docs/wire.md` lists them."""
