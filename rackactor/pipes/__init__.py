"""Pipes: messages and bytes from any number of writers to any number of readers, each message to one of them."""
