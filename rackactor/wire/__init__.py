"""What is sent, and how it is encoded: frames, streams, values. No sockets, no clock, no threads."""
