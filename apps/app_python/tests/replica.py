"""One replica as a process, and requests to it."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[1]
SERVE = [sys.executable, "-P", "-m", "app_python"]


class Replica:
    """A running service in `folder`, on a port that is free."""

    def __init__(self, folder, environment=(), command=()):
        self.folder = folder
        self._environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE),
                             "LISTEN": "127.0.0.1:0", **dict(environment)}
        self._command = [*command, *SERVE]
        self.start()

    def start(self):
        """Start it (again) and read its first line."""
        self.process = subprocess.Popen(self._command, cwd=self.folder, env=self._environment,
                                        stdout=subprocess.PIPE, text=True)
        self.first = json.loads(self.process.stdout.readline())
        self.address = self.first.get("listen")

    def connect(self):
        """A connection that is kept."""
        host, port = self.address.rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=30)

    def connect_raw(self):
        """A socket on which nothing was said yet."""
        host, port = self.address.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=30)

    def ask(self, path, method="GET", connection=None):
        """(status, text) of one request."""
        with contextlib.closing(self.connect()) if connection is None else \
                contextlib.nullcontext(connection) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def visits(self):
        return json.loads(self.ask("/visits")[1])["visits"]

    def end(self, number=signal.SIGTERM):
        """Send a signal; (exit code, what it still wrote as parsed lines)."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()]
