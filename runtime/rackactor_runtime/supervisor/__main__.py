"""`python -m rackactor_runtime.supervisor`."""

import atexit
import gc
import os
import sys
import threading
import warnings

gc.disable()  # until all is imported: there is no garbage

# Filters of warnings (PYTHONWARNINGS=error) are meant for the program: its processes have them, this one does not.
_filters = list(warnings.filters)
warnings.resetwarnings()
warnings.simplefilter("ignore")

from rackactor.launch import process_context  # noqa: E402
from rackactor_runtime.supervisor.program import main  # noqa: E402

process_context.filters = _filters
gc.freeze()  # what has been imported stays: neither here nor in what is forked is it looked through for garbage
gc.enable()


def _leave(code: int) -> None:
    """End this program, without the 20 ms that Python needs to take itself apart."""
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        sys.exit(code)  # a provider's thread is in the midst of something: Python waits for it
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads it any more
    os._exit(code)


if __name__ == "__main__":
    _leave(main())
