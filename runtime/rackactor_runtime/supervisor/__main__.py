"""`python -m rackactor_runtime.supervisor`."""

import sys
import warnings

# Filters of warnings (PYTHONWARNINGS=error) are meant for the program: its processes have them, this one does not.
_filters = list(warnings.filters)
warnings.resetwarnings()
warnings.simplefilter("ignore")

from rackactor.launch import process_context  # noqa: E402
from rackactor_runtime.supervisor.program import main  # noqa: E402

process_context.filters = _filters

if __name__ == "__main__":
    sys.exit(main())
