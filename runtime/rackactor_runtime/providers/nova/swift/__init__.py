"""Files in Swift."""

from rackactor_runtime.providers.nova.swift.filesystem import SwiftFileSystem

__all__ = ["SwiftFileSystem"]
