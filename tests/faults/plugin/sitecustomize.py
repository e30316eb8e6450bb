"""Python imports this at its start when this directory is on its path: faults, where a test has asked for them."""

import os

if os.environ.get("RACK_TEST_FAULTS"):
    import injector

    injector.install(os.environ["RACK_TEST_FAULTS"])
