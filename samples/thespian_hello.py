"""A Thespian program on RackActor: unchanged, but for the line that makes its ActorSystem.

    python samples/thespian_hello.py

Every actor is a process of a group: an OS process here, a virtual machine on a cloud.
"""

import os

from thespian.actors import ActorExitRequest, ActorSystem, ActorTypeDispatcher

import rackactor


class Greeting:
    """What is passed along, and completed on the way."""

    def __init__(self, name):
        self.name = name
        self.text = ""


class Hello(ActorTypeDispatcher):
    """Begin a greeting, and have a child of its own finish it."""

    def receiveMsg_Greeting(self, greeting, sender):
        greeting.text = "Hello"
        # Nothing waits here: the child is another process, and the message reaches it when it is up.
        world = self.createActor(World)
        self.send(world, (greeting, sender))
        self.send(world, ActorExitRequest())

    def receiveMsg_ChildActorExited(self, message, sender):
        print(f"process {os.getpid()}: the child has ended")


class World(ActorTypeDispatcher):
    """Finish a greeting, and give it to whoever asked for it in the first place."""

    def receiveMsg_tuple(self, message, sender):
        greeting, asker = message
        greeting.text += f" World, and {greeting.name}"
        print(f"process {os.getpid()}: the greeting is complete")
        self.send(asker, greeting)


def main():
    system = ActorSystem(rackactor.SystemBase())  # Thespian's own: ActorSystem("multiprocTCPBase")
    try:
        hello = system.createActor(Hello)
        greeting = system.ask(hello, Greeting("RackActor"), timeout=120)
        print(f"process {os.getpid()}: {greeting.text}!")
    finally:
        system.shutdown()


if __name__ == "__main__":
    main()
