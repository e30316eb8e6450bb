"""Where the supervisor keeps what must be kept."""
