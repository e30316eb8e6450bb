"""Pipes and shared memory under load, with processes killed and paths cut: `make chaos`.

What is judged is what the processes themselves wrote down while they ran (`journal`), in a way that survives their
being killed. The judges (`deliveries`, `histories`, `queues`, `watches`) are pure: records in, violations out; each has
unit tests that show that it finds what it is there to find.
"""
