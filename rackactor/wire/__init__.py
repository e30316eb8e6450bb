"""What travels, and how it is written: frames, streams, values. No sockets, no clock, no threads."""
