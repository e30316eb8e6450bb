"""Processes that are virtual machines of an OpenStack cloud."""
