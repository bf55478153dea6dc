"""The service as a process: what its clients, its signals and its disk can do to it."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import threading
import time

import pytest


def test_a_page_counts_and_nothing_else_does(start):
    replica = start(POD_NAME="app-python-0", VERSION="9.9.9")
    status, page = replica.ask("/")
    assert status == 200 and 'id="visits">1</p>' in page and "9.9.9" in page
    assert json.loads(replica.ask("/visits")[1]) == {"replica": "app-python-0", "visits": 1}
    assert json.loads(replica.ask("/visits/all")[1]) == {
        "replicas": [{"replica": "app-python-0", "visits": 1}], "total": 1}
    assert replica.ask("/", "HEAD")[0] == 200
    assert replica.ask("/favicon.ico")[0] == 404
    assert [replica.ask(path)[0] for path in ("/healthz", "/readyz")] == [200, 200]
    metrics = replica.ask("/metrics")[1]
    assert "\nvisits 1\n" in metrics and 'request_seconds_bucket{le="+Inf"}' in metrics
    assert (replica.folder / "visits.txt").read_text() == "1\n"


def test_logs_are_lines_of_json(start):
    replica = start()
    code, lines = replica.end()
    assert code == 0
    assert [line["message"] for line in [replica.first, *lines]] == [
        "listening", "stopping", "stopped"]


@pytest.mark.parametrize("name, value", [
    ("LISTEN", "here"), ("REPLICAS", "-1"), ("GRACE_SECONDS", "soon")])
def test_wrong_settings_are_named(start, name, value):
    replica = start(**{name: value})
    assert name in replica.first["message"] and value in replica.first["message"]
    assert replica.process.wait() == 1


def test_sigterm_waits_for_what_is_in_flight_and_for_nothing_else(start):
    replica = start(GRACE_SECONDS="60")
    with contextlib.closing(replica.connect()) as kept, replica.connect_raw() as fresh:
        assert replica.ask("/", connection=kept)[0] == 200
        code, _ = replica.end()
        assert code == 0 and fresh.recv(1) == b""


def test_a_request_that_never_ends_is_left_after_the_grace_period(start):
    replica = start(GRACE_SECONDS="1")
    with replica.connect_raw() as half:
        half.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        replica.ask("/healthz")
        assert replica.end()[0] == 0


@pytest.mark.parametrize("text", ["", "many", "-1", "12 13", "9" * 30])
def test_what_is_no_number_is_never_reset(start, tmp_path, text):
    file = tmp_path / "visits.txt"
    file.write_text(text)
    replica = start()
    for path in ("/readyz", "/", "/visits"):
        status, why = replica.ask(path)
        assert status == 503 and "no number" in why
    assert file.read_text() == text
    assert replica.ask("/healthz")[0] == 200, "a restart would not help"
    file.write_text("41\n\n")
    assert replica.ask("/readyz")[0] == 200, "repaired by hand, it goes on"
    assert 'id="visits">42</p>' in replica.ask("/")[1]
    assert file.read_text() == "42\n"


def test_the_largest_number_stays(start, tmp_path):
    file = tmp_path / "visits.txt"
    file.write_text(f"{2**64 - 1}\n")
    status, why = start().ask("/")
    assert status == 503 and "too large" in why
    assert file.read_text() == f"{2**64 - 1}\n"


def test_what_others_write_is_seen(start, tmp_path):
    file = tmp_path / "visits.txt"
    replica = start()
    replica.ask("/")
    file.write_text("100")
    assert 'id="visits">101</p>' in replica.ask("/")[1]
    file.unlink()
    assert 'id="visits">102</p>' in replica.ask("/")[1], "never back to zero"
    file.write_text("99\n\0")
    assert 'id="visits">100</p>' in replica.ask("/")[1], "a growth cut off by a crash"


def on_disk(start, options, prepare):
    """A replica on a tmpfs of its own, after the shell commands `prepare` ran there."""
    script = (f"mkdir disk && mount -t tmpfs -o {options} disk disk && cd disk && {prepare}; "
              'exec "$@"')
    return start(command=["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "-"])


def seen(replica, name):
    """A path on the disk of `replica`, seen from here."""
    return pathlib.Path(f"/proc/{replica.process.pid}/cwd/{name}")


def test_a_full_disk_is_an_error_until_there_is_room(start):
    replica = on_disk(start, "size=4k", "head -c 4096 /dev/zero > other")
    for path in ("/readyz", "/"):
        status, why = replica.ask(path)
        assert status == 503 and "visits.txt: No space left" in why
    os.unlink(seen(replica, "other"))
    assert replica.ask("/readyz")[0] == 200
    assert 'id="visits">1</p>' in replica.ask("/")[1]
    assert any("No space left" in line["message"] for line in replica.end()[1])


def test_a_read_only_disk_is_an_error_and_the_count_stays(start):
    replica = on_disk(start, "size=64k", "echo 41 > visits.txt && mount -o remount,ro .")
    for path in ("/readyz", "/"):
        status, why = replica.ask(path)
        assert status == 503 and "Read-only" in why
    assert seen(replica, "visits.txt").read_text() == "41\n"


def test_a_kill_loses_no_answered_visit_and_invents_none(start):
    """Killed at moments that differ from round to round, under load."""
    replica = start()
    asked, answered = [], []

    def visit(connection, stop):
        with contextlib.closing(connection), contextlib.suppress(OSError, EOFError, ValueError):
            while not stop.is_set():
                asked.append(1)
                with contextlib.suppress(http.client.HTTPException):
                    if replica.ask("/", connection=connection)[0] == 200:
                        answered.append(1)
                        continue
                return

    for rounds in range(10):
        stop = threading.Event()
        connections = [replica.connect() for _ in range(8)]
        for connection in connections:
            connection.connect()
        visitors = [threading.Thread(target=visit, args=(connection, stop))
                    for connection in connections]
        for visitor in visitors:
            visitor.start()
        time.sleep(0.002 + rounds * 0.0137 % 0.06)
        replica.end(signal.SIGKILL)
        stop.set()
        for visitor in visitors:
            visitor.join()
        replica.start()
        assert len(answered) <= replica.visits() <= len(asked)
    assert answered


def test_the_address_is_taken(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        replica = start(LISTEN=f"127.0.0.1:{taken.getsockname()[1]}")
        assert "cannot listen on 127.0.0.1" in replica.first["message"]
        assert replica.process.wait() == 1
