"""What every use of an OpenStack cloud needs to know: its client, its logins, its errors, its time. Uses no session."""
