"""Making an actor in its process: loading its class, checking the group's capabilities, calling its constructor."""

from __future__ import annotations

from typing import Any

from thespian.actors import Actor, InvalidActorSpecification
from thespian.system.utilis import actualActorClass, checkActorCapabilities, withPossibleInitArgs

from rackactor.errors import ActorNotMade
from rackactor.syscalls.fork_options import other_requirements
from rackactor.syscalls.session import Session
from rackactor.wire.target import Creation
from rackactor_runtime.agent import sources
from rackactor_runtime.agent.program_code import missing


def make(session: Session, target: Any, creation: Creation, capabilities: dict[str, Any]) -> Actor:
    """Make an actor as Thespian's createActor does.

    Raises:
        ActorNotMade: its class cannot be loaded, or the group lacks capabilities that it requires.
        Exception: whatever its constructor raises.
    """
    try:
        cls = _load(session, target, creation.source_hash)
    except InvalidActorSpecification as error:
        raise ActorNotMade(str(error), "specification") from None
    except (ImportError, AttributeError) as error:
        raise ActorNotMade(f"{type(error).__name__}: {error}{missing(session, error)}", "import") from error
    requirements = other_requirements(creation.requirements)
    if not checkActorCapabilities(cls, capabilities, requirements):
        raise ActorNotMade(f"the group has not the capabilities that {cls.__qualname__} requires", "capabilities")
    made: Actor = withPossibleInitArgs(
        capabilities=capabilities, requirements=creation.requirements, globalName=creation.global_name
    ).create(cls)
    return made


def _load(session: Session, target: Any, source_hash: str | None) -> Any:
    if source_hash is None or not isinstance(target, str):
        cls = actualActorClass(target)
    else:
        cls = actualActorClass(target, lambda module, name: sources.load_class(session, source_hash, module, name))
    if not (isinstance(cls, type) and issubclass(cls, Actor)):
        raise InvalidActorSpecification(target, "not the class of an actor")
    return cls
