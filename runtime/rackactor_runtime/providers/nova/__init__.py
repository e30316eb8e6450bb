"""Processes as virtual machines of an OpenStack: the only package that imports openstacksdk."""
