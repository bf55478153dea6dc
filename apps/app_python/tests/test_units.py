"""Page, peers, metrics and requirements, without a process."""

import asyncio
import pathlib
import re

import pytest

from app_python import page
from app_python.config import Config
from app_python.metrics import Metrics
from app_python.peers import Peers

FOLDER = pathlib.Path(__file__).resolve().parents[1]


def peers(**environment):
    return Peers(Config.from_environment(environment))


def test_the_page_shows_every_replica_and_names_those_missing():
    replicas = {"app-python-0": 74, "app-python-1": None, "app-python-2": 37}
    text = page.render("app-python-0", 74, replicas, "<1>")
    assert '<p class="visits" id="visits">74</p>' in text
    assert '<span id="total">111</span>' in text
    assert ">missing</span>" in text and "&lt;1&gt;" in text
    assert "width:100%" in text and "width:50%" in text
    assert "<script" not in text and not re.search(r"\{[a-z]+\}", text)


def test_a_missing_peer_is_shown_as_missing():
    async def ask():
        two = peers(POD_NAME="app-python-1", REPLICAS="2", PEERS_DOMAIN="nowhere.invalid")
        return await two.for_page(5), await two.now(6)

    assert asyncio.run(ask()) == ({"app-python-0": None, "app-python-1": 5},
                                  {"app-python-0": None, "app-python-1": 6})


@pytest.mark.parametrize("environment, names", [
    ({"POD_NAME": "laptop"}, ["laptop"]),
    ({"POD_NAME": "laptop", "PEERS_DOMAIN": "x.invalid"}, ["laptop"]),
    ({"POD_NAME": "a-2", "PEERS_DOMAIN": "x.invalid"}, ["a-0", "a-2"]),
])
def test_which_replicas_there_are(environment, names):
    assert list(asyncio.run(peers(**environment).now(1))) == names


def test_a_service_with_more_addresses_has_more_replicas():
    """After `kubectl scale`, which changes no file: `localhost` has one address of each family."""
    one = peers(POD_NAME="a-0", REPLICAS="0", PEERS_DOMAIN="localhost")
    assert asyncio.run(one._addresses()) == 1
    assert one._names(3) == ["a-0", "a-1", "a-2"]


def test_many_visitors_ask_a_peer_once(tmp_path):
    (tmp_path / "replicas").write_text("2\n")

    async def visit():
        asked = []

        async def answer(reader, writer):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b'HTTP/1.0 200 OK\r\n\r\n{"visits": 30}')
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        config = Config.from_environment({
            "POD_NAME": "a-0", "REPLICAS_FILE": str(tmp_path / "replicas"),
            "PEERS_DOMAIN": "peers", "PEERS_PORT": str(port)})
        two = Peers(config, lambda _: "127.0.0.1")
        pages = await asyncio.gather(*(two.for_page(1) for _ in range(500)))
        server.close()
        return pages, len(asked)

    pages, asked = asyncio.run(visit())
    assert all(seen == {"a-0": 1, "a-1": 30} for seen in pages)
    assert asked < 20


def test_a_bucket_counts_all_that_is_faster():
    metrics = Metrics()
    metrics.request(0.0004, 200)
    metrics.request(0.004, 503)
    text = metrics.render(7)
    for line in ('request_seconds_bucket{le="0.0005"} 1', 'request_seconds_bucket{le="0.005"} 2',
                 "request_seconds_count 2", "request_errors_total 1", "visits 7"):
        assert f"\n{line}\n" in text


def test_the_image_has_the_versions_that_are_tested():
    def pins(name):
        return re.findall(r"^(\S+)==([^\s]+)", (FOLDER / name).read_text(), re.MULTILINE)

    assert pins("requirements.txt") == pins("requirements-image.txt")
