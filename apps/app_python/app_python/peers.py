"""The other replicas, asked by their stable names.

However many visitors come, the peers are asked at most once at a time: all who wait share the
answers. A page waits for new answers only as long as it does not hurt; then it shows those of a
moment ago. So neither many visitors nor a missing peer make pages slow.

How many there are, a file says, which `helm upgrade` changes; after `kubectl scale`, which does not,
the headless Service has more addresses than that.
"""

import asyncio
import contextlib
import json
import socket
import time

# All in seconds. How long peers may take, all together, before they are shown as missing.
PATIENCE = 0.2
# Answers so young are as good as new ones for a page.
FRESH = 0.05
# How long a page waits for new answers when it has some that are not older than KNOWN.
GLANCE = 0.005
KNOWN = 1.0
# An answer has at most so many bytes.
ANSWER_MAX = 4096
# So many replicas are asked at most.
REPLICAS_MAX = 100


class PeerError(Exception):
    """A replica did not answer as it should; the text says what came instead."""


class Peers:
    """All replicas of the set, and what they said last: {name: visits}, None for a missing one."""

    def __init__(self, config, host_of=None):
        self._config = config
        self._own = config.pod_name
        self._set = config.set_and_ordinal() if config.peers_domain else None
        self._host_of = host_of or (lambda replica: f"{replica}.{config.peers_domain}")
        self._said = {}
        self._asked = None
        self._asking = None

    async def for_page(self, own):
        """All replicas in the order of their ordinals, new or nearly new; this one has `own`."""
        now = time.monotonic()
        known = self._asked is not None and now - self._asked < KNOWN
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            if not self._is_newer(now - FRESH):
                await asyncio.wait_for(self._since(now - FRESH), GLANCE if known else None)
        return {**self._said, self._own: own}

    async def now(self, own):
        """All replicas, each asked after this call."""
        await self._since(time.monotonic())
        return {**self._said, self._own: own}

    def _is_newer(self, since):
        return self._asked is not None and self._asked >= since

    async def _since(self, since):
        while not self._is_newer(since):
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask_all())
            # Whoever stops waiting does not stop the others' question.
            await asyncio.shield(self._asking)

    async def _ask_all(self):
        asked = time.monotonic()
        names = self._names(await self._addresses() if self._set else 0)
        others = [name for name in names if name != self._own]
        left = asked + PATIENCE - time.monotonic()
        answers = await asyncio.gather(
            *(_visits_of(self._host_of(name), self._config.peers_port, left) for name in others))
        said = dict(zip(others, answers, strict=True))
        self._said = {name: said.get(name) for name in names}
        self._asked = asked

    async def _addresses(self):
        """How many addresses the headless Service has; 0 when nobody says in time."""
        loop = asyncio.get_running_loop()
        ask = loop.getaddrinfo(self._config.peers_domain, None, type=socket.SOCK_STREAM)
        try:
            found = await asyncio.wait_for(ask, PATIENCE)
        except (OSError, TimeoutError, asyncio.TimeoutError):
            return 0
        # A pod may have one address of each family.
        families = [family for family, *_ in found]
        return max(map(families.count, families), default=0)

    def _names(self, addresses):
        """The replicas' names in the order of their ordinals; this one is always among them."""
        if self._set is None:
            return [self._own]
        name, ordinal = self._set
        count = min(max(self._count(), addresses, 1), REPLICAS_MAX)
        names = [f"{name}-{i}" for i in range(count)]
        return names if ordinal < count else [*names, self._own]

    def _count(self):
        try:
            return int(self._config.replicas_file.read_text())
        except (AttributeError, OSError, ValueError):
            return self._config.replicas


async def _visits_of(host, port, patience):
    try:
        answer = await asyncio.wait_for(get(host, port, "/visits"), patience)
    except (PeerError, TimeoutError, asyncio.TimeoutError):
        return None
    visits = answer.get("visits") if isinstance(answer, dict) else None
    return visits if isinstance(visits, int) else None


async def get(host, port, path):
    """The JSON that `host` serves at `path`; PeerError says what came instead."""
    try:
        reader, writer = await asyncio.open_connection(host, port, limit=ANSWER_MAX)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            answer = await _read(reader)
        finally:
            writer.close()
    except OSError as error:
        raise PeerError(f"{host}:{port} does not answer: {error}") from error
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        if head.split(b" ", 2)[1] != b"200":
            raise ValueError
        return json.loads(body)
    except (IndexError, ValueError) as error:
        raise PeerError(f"{host}:{port}{path} answers {answer!r}") from error


async def _read(reader):
    answer = b""
    while len(answer) < ANSWER_MAX:
        some = await reader.read(ANSWER_MAX - len(answer))
        if not some:
            break
        answer += some
    return answer
