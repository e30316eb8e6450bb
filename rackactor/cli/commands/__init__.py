"""The commands of `rack`, one class each; `setup.py` names them (`RACK_COMMANDS`)."""
