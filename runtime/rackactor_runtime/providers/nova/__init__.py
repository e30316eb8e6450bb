"""Virtual machines of an OpenStack cloud: the only package that imports openstacksdk."""

import os

try:
    os.getcwd()
except FileNotFoundError:
    os.chdir("/")  # openstacksdk asks where it is when it is imported, and fails in a directory that was removed
