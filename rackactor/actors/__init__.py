"""Actors, and Thespian's actor system on top of them."""
