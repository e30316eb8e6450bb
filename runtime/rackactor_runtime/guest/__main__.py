"""`python -m rackactor_runtime.guest`: birth data as JSON on standard input."""

from rackactor_runtime.guest.program import main

if __name__ == "__main__":
    raise SystemExit(main())
