"""Roles of a process in a search on several machines."""

import dataclasses
import os

_ID, _IP, _PORT = (
    "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT",
)


@dataclasses.dataclass(frozen=True)
class Role:
    """The part of this process in a search; without an address, by itself."""

    name: str = "tuner0"
    address: str | None = None

    @property
    def is_chief(self):
        """Boolean, whether it hands out the trials of others."""
        return self.address is not None and "chief" in self.name

    @property
    def is_worker(self):
        """Boolean, whether a chief hands out its trials."""
        return self.address is not None and not self.is_chief


def current(environment=os.environ):
    """Returns the role that keras-tuner's environment variables say."""
    name = environment.get(_ID, "tuner0")
    if _IP not in environment and _PORT not in environment:
        if "chief" in name:
            raise _missing(environment)
        return Role(name)
    if not all(variable in environment for variable in (_ID, _IP, _PORT)):
        raise _missing(environment)
    return Role(name, f"{environment[_IP]}:{environment[_PORT]}")


def _missing(environment):
    found = {v: environment[v] for v in (_ID, _IP, _PORT) if v in environment}
    return ValueError(
        f"A search on several machines needs {_ID} ('chief', or another name "
        f"for each worker), {_IP} and {_PORT} (those of the chief), in every "
        f"process. Received: {found}"
    )
