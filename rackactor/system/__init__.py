"""The operating system's facilities: this package knows nothing of groups or of the wire."""
