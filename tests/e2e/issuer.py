"""An issuer of tokens (OpenID Connect) on loopback, with keys and a certificate made by openssl."""

import base64
import http.server
import json
import ssl
import subprocess
import threading
import time


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, **options):
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, **options).stdout


class Issuer:
    """Serves its configuration and its newest key, and signs tokens with it, until it is closed."""

    def __init__(self, directory):
        self.directory, self.asked = directory, []
        self.certificate, key = directory / "issuer.crt", directory / "issuer.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                "-out", self.certificate, "-days", "2", "-subj", "/CN=issuer",
                "-addext", "subjectAltName=IP:127.0.0.1")
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked.append(self.path)
                body = json.dumps(issuer.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        self.rotate("one")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path):
        """Below /liar it speaks for another, below /flood it does not end, below /idle it does not begin."""
        match path.removesuffix("/.well-known/openid-configuration"):
            case "" | "/liar":
                return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
            case "/flood":
                return {"issuer": f"{self.url}/flood", "padding": "x" * (4 << 20)}
            case "/idle":
                time.sleep(60)
        return self.keys

    def rotate(self, name):
        """A new key; tokens of the old one hold no longer."""
        self.name, self.key = name, self.directory / f"{name}.pem"
        openssl("genrsa", "-out", self.key, "2048")
        modulus = openssl("rsa", "-in", self.key, "-modulus", "-noout").decode().strip()
        number = bytes.fromhex(modulus.split("=")[1])
        self.keys = {"keys": [{"kty": "RSA", "use": "sig", "kid": name, "n": encoded(number), "e": "AQAB"}]}

    def token(self, algorithm="RS256", **claims):
        claims = {"iss": self.url, "aud": "coracle-e2e", "exp": int(time.time()) + 3600, **claims}
        parts = [{"alg": algorithm, "kid": self.name}, claims]
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        if algorithm != "RS256":
            return f"{signed}."
        return f"{signed}.{encoded(openssl('dgst', '-sha256', '-sign', self.key, input=signed.encode()))}"
