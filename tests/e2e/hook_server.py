"""A webhook over HTTPS that answers by its path, in a pod: certificate and key are in /tls."""

import base64
import http.server
import json
import ssl
import time


def patch(*operations):
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def add(key, value):
    return patch({"op": "add", "path": f"/data/{key}", "value": value})


def denied(message):
    return {"allowed": False, "status": {"code": 403, "reason": "Forbidden", "message": message}}


def mutate(request):
    """Each that is asked twice counts how often."""
    return add("seen", str(int(request["object"]["data"].get("seen", 0)) + 1))


def side(_):
    return patch({"op": "add", "path": "/spec/containers/-",
                  "value": {"name": "side", "image": "busybox:1.36", "command": ["sleep", "1000000"]}})


def deny(request):
    found = request["object"] or request["oldObject"]
    return denied("it is forbidden") if "forbidden" in found.get("data", {}) else {"allowed": True}


def slow(_):
    time.sleep(5)
    return {"allowed": True}


def converted(boat, version):
    """Version 1 has in one field what version 2 has in two."""
    spec = boat["spec"]
    if version == "example.com/v2":
        host, port = spec["hostPort"].split(":")
        spec = {"host": host, "port": port}
    else:
        spec = {"hostPort": f"{spec['host']}:{spec['port']}"}
    return {**boat, "apiVersion": version, "spec": spec}


ANSWERS = {
    "/mutate": mutate,
    "/other": lambda request: add("other", "1"),
    "/side": side,
    "/deny": deny,
    "/warn": lambda request: {"allowed": True, "warnings": ["mind the gap"]},
    "/slow": slow,
    "/no-shell": lambda request: denied(f"{request['operation']} of {request['name']}"),
    "/other-uid": lambda request: {"allowed": True, "uid": "other"},
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.split("?")[0]
        if path == "/redirect":
            return self.answer(302, b"", Location="/warn")
        if path == "/garbage":
            return self.answer(200, b"<html>")
        if path == "/huge":
            return self.answer(200, b"[" + b" " * (16 << 20) + b"]")
        if path == "/error":
            return self.answer(500, b"oops", **{"Content-Type": "text/plain"})
        if path == "/convert":
            version = review["request"]["desiredAPIVersion"]
            boats = [converted(boat, version) for boat in review["request"]["objects"]]
            response = {"uid": review["request"]["uid"], "result": {"status": "Success"},
                        "convertedObjects": boats}
        else:
            response = {"uid": review["request"]["uid"], **ANSWERS[path](review["request"])}
        answer = {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}
        return self.answer(200, json.dumps(answer).encode())

    def answer(self, code, body, **headers):
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
