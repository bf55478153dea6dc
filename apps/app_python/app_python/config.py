"""Configuration, from the environment alone."""

import dataclasses
import pathlib
import socket

from app_python import VERSION


class ConfigError(ValueError):
    """A variable that does not fit; the text names it."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that can be set. See the README for the variables."""

    host: str
    port: int
    visits_file: pathlib.Path
    pod_name: str
    peers_domain: str
    replicas: int
    # A file that holds the number of replicas and may change later: scaling needs no restart.
    replicas_file: pathlib.Path | None
    peers_port: int
    version: str
    grace_seconds: int

    @classmethod
    def from_environment(cls, environment):
        """Read the variables; raise ConfigError for one that does not fit."""
        host, port = _listen(environment.get("LISTEN", "0.0.0.0:8080"))
        return cls(
            host=host,
            port=port,
            visits_file=pathlib.Path(environment.get("VISITS_FILE", "visits.txt")),
            pod_name=environment.get("POD_NAME") or socket.gethostname(),
            peers_domain=environment.get("PEERS_DOMAIN", ""),
            replicas=_number(environment, "REPLICAS", 1),
            replicas_file=_path(environment.get("REPLICAS_FILE")),
            peers_port=_number(environment, "PEERS_PORT", port),
            version=environment.get("VERSION", VERSION),
            grace_seconds=_number(environment, "GRACE_SECONDS", 10),
        )

    def set_and_ordinal(self):
        """("app-python", 2) for the replica app-python-2; None when the name has no ordinal."""
        name, hyphen, ordinal = self.pod_name.rpartition("-")
        return (name, int(ordinal)) if hyphen and _digits(ordinal) else None


def _listen(text):
    host, _, port = text.rpartition(":")
    if not host or not _digits(port) or int(port) > 65535:
        raise ConfigError(f"LISTEN={text!r} does not fit: it is HOST:PORT")
    return host.strip("[]"), int(port)


def _path(text):
    return pathlib.Path(text) if text else None


def _number(environment, name, default):
    text = environment.get(name, str(default))
    if not _digits(text):
        raise ConfigError(f"{name}={text!r} does not fit: it is a number")
    return int(text)


def _digits(text):
    return 0 < len(text) <= 9 and text.isascii() and text.isdigit()
