"""A session into a cloud in memory whose services fail, whose lists omit servers, and whose clocks differ; by a seed.

What is decided for a call depends on the seed, on what is asked and how often that was, and not on which thread asks
first: so a seed repeats.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import urlencode

from cloudmodel import CloudModel
from openstack import exceptions as sdk

from rackactor_runtime.providers.nova.access.clocks import CloudClock
from rackactor_runtime.providers.nova.session import Session

_PATHS = {"compute": "compute/v2.1", "network": "network/v2.0", "identity": "v3", "image": "image"}


class Moment:
    """The time of a simulated world, which passes when somebody sleeps."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.later: list[Any] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass, and have done what is to be done at the next sleep."""
        self.now += seconds
        todo, self.later = self.later, []
        for each in todo:
            each()


@dataclass(frozen=True)
class Weather:
    """How a cloud misbehaves: chances of one call."""

    seed: int = 0
    #: That it fails with 503, done or not.
    fails: float = 0.0
    #: That a list lacks a server, each for itself, and that a look at one server says that there is none.
    omits: float = 0.0
    #: Seconds by which each service's clock is ahead of the world's.
    skews: Mapping[str, float] = field(default_factory=dict)

    def dice(self, *about: Any) -> random.Random:
        return random.Random(f"{self.seed} {about}")


class ModelSession(Session):
    """As the real one, but that its calls go to a model.

    Args:
        cloud: the model.
        moment: the world's time.
        weather: what goes wrong.
        project, region: where it is logged in.
        skew: seconds by which the clock of whoever asks is ahead of the world's.
    """

    project = ""  # not a property here
    region = ""
    user = "u"

    def __init__(
        self, cloud: CloudModel, moment: Moment, weather: Weather, project: str, region: str, skew: float = 0.0
    ) -> None:
        self.cloud, self.moment, self.weather = cloud, moment, weather
        self.project, self.region = project, region
        self.clock = CloudClock(lambda: moment.now + skew)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._note("identity")

    def has(self, service: str) -> bool:
        return service in _PATHS

    def _note(self, service: str) -> None:
        self.clock.note(formatdate(self.moment.now + self.weather.skews.get(service, 0.0), usegmt=True))

    def call(self, service: str, method: str, path: str, **more: Any) -> Any:
        query = {name: value for name, value in more.get("params", {}).items() if name not in ("limit", "fields")}
        region = "" if service == "identity" or self.region == "R" else f"/{self.region}"
        url = f"{region}/{_PATHS[service]}{path}" + (f"?{urlencode(query)}" if query else "")
        with self._lock:
            self._note(service)
            self._counts[f"{method} {url}"] += 1
            dice = self.weather.dice(method, url, self._counts[f"{method} {url}"])
            fails, done = dice.random() < self.weather.fails, dice.random() < 0.5
            if service == "compute":
                self.cloud.unlisted = self._omitted(method, url)
            status, body = (503, None) if fails and not done else self._answer(method, url, more.get("json"), dice)
        if fails:
            status, body = 503, {"fault": {"message": "later"}}
        if status >= 400:
            kind = sdk.NotFoundException if status == 404 else sdk.HttpException
            raise kind("x", details=str(body), http_status=status)
        return body

    def _omitted(self, method: str, url: str) -> set[str]:
        count = self._counts[f"{method} {url}"]
        return {
            each for each in self.cloud.servers if self.weather.dice(url, count, each).random() < self.weather.omits
        }

    def _answer(self, method: str, url: str, body: Any, dice: random.Random) -> tuple[int, Any]:
        status, answer = self.cloud.answer(method, url, body, self.project)
        if method == "GET" and "/servers/" in url and "detail" not in url and dice.random() < self.weather.omits:
            return 404, {"fault": {"message": "not found on this node"}}
        return status, answer

    def close(self) -> None:
        pass
