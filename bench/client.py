"""The API as a light client sees it, and names in the cluster's DNS."""

import base64
import http.client
import json
import secrets
import socket
import ssl
import struct
import time

import yaml

IDLE = 15
DNS = ("10.96.0.10", 53)


class Client:
    """One connection of the administrator that stays open; watches have their own."""

    def __init__(self, kubeconfig, pems, program):
        """Unpack the kubeconfig's certificates and key into the directory `pems`. `program` is what the
        engine runs."""
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        for name, data in [("ca", cluster["certificate-authority-data"]),
                           ("cert", user["client-certificate-data"]),
                           ("key", user["client-key-data"])]:
            (pems / f"{name}.pem").write_bytes(base64.b64decode(data))
        self.pems, self.program = pems, program
        self.address = cluster["server"].removeprefix("https://")
        self._context = ssl.create_default_context(cafile=pems / "ca.pem")
        self._context.load_cert_chain(pems / "cert.pem", pems / "key.pem")
        self._connection, self._used = None, 0

    def _connect(self):
        connection = http.client.HTTPSConnection(self.address, timeout=120, context=self._context)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def call(self, method, path, body=None, content="application/json"):
        """The answer, parsed."""
        # The server closes a connection on which nothing was asked for a while.
        if time.monotonic() - self._used > IDLE:
            self._connection = self._connect()
        self._used = time.monotonic()
        self._connection.request(method, path, body and json.dumps(body), {"Content-Type": content})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text)

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body):
        return self.call("POST", path, body)

    def delete(self, path):
        """Delete an object or a collection, without a grace."""
        return self.call("DELETE", path, {"gracePeriodSeconds": 0})

    def revision(self):
        """The newest revision of the store."""
        return int(self.get("/api/v1/namespaces?limit=1")["metadata"]["resourceVersion"])

    def watch(self, path, selector=""):
        """Open a watch from now on; give an iterator over (type, object)."""
        connection = self._connect()
        query = f"?watch=true&resourceVersion={self.revision()}" + (selector and "&" + selector)
        connection.request("GET", path + query)
        answer = connection.getresponse()
        assert answer.status == 200, answer.status

        def events():
            try:
                for line in iter(answer.readline, b""):
                    event = json.loads(line)
                    yield event["type"], event["object"]
            finally:
                connection.close()

        return events()


def resolves(name):
    """Whether the cluster's DNS has an address for the name."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack(">HHHHHH", secrets.randbelow(65536), 0x100, 1, 0, 0, 0) + labels
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.settimeout(1)
        asked.sendto(query + struct.pack(">BHH", 0, 1, 1), DNS)
        try:
            answer = asked.recv(1500)
        except TimeoutError:
            return False
    return answer[3] & 0xf == 0 and struct.unpack(">H", answer[6:8])[0] > 0
