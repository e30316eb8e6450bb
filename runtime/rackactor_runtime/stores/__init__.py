"""The supervisor's stores."""
