"""Pipes between processes."""
