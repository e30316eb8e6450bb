"""What processes share: pipes, memory, files. Each part takes a kernel; nothing here depends on a session."""
