"""Another API server: it has boats, in memory, and believes nobody but the front proxy.

Certificate and key are in /tls, the proxy's authority in /proxy/ca.crt. What is in /tmp/mode makes it
another: slow, broken, garbage, redirect, head."""

import http.server
import json
import pathlib
import queue
import ssl
import threading
import time
import urllib.parse

GROUP, VERSION = "boats.example.com", "v1"
ROOT = f"/apis/{GROUP}/{VERSION}"
MODE = pathlib.Path("/tmp/mode")
LOCK = threading.Lock()
BOATS = {}
WATCHERS = []
REVISION = [1]

GVK = {"group": GROUP, "version": VERSION, "kind": "Boat"}
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
RESOURCE = {"resource": "boats", "responseKind": GVK, "scope": "Namespaced", "singularResource": "boat",
            "verbs": VERBS, "shortNames": ["bt"]}
DISCOVERY = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
             "items": [{"metadata": {"name": GROUP}, "versions": [
                 {"version": VERSION, "freshness": "Current", "resources": [RESOURCE]}]}]}
LEGACY = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}", "resources": [
    {"name": "boats", "singularName": "boat", "namespaced": True, "kind": "Boat", "verbs": VERBS,
     "shortNames": ["bt"]}]}
SCHEMA = {"type": "object", "description": "Boat is what swims.", "x-kubernetes-group-version-kind": [GVK],
          "properties": {
              "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
              "spec": {"type": "object", "description": "Spec is how it is built.", "properties": {
                  "sails": {"type": "integer", "description": "Sails is how many it has."}}}}}


def operation(action, body=False):
    value = {"operationId": f"{action}Boat", "responses": {"200": {"description": "OK"}},
             "x-kubernetes-action": action, "x-kubernetes-group-version-kind": GVK,
             "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]}
    if body:
        value["requestBody"] = {"content": {"*/*": {"schema": {"$ref": "#/components/schemas/Boat"}}}}
    return value


V3 = {"openapi": "3.0.0", "info": {"title": "boats", "version": "1"},
      "paths": {f"{ROOT}/namespaces/{{namespace}}/boats": {"post": operation("post", True)},
                f"{ROOT}/namespaces/{{namespace}}/boats/{{name}}": {"get": operation("get"),
                                                                   "patch": operation("patch", True)}},
      "components": {"schemas": {"Boat": SCHEMA}}}
V2 = {"swagger": "2.0", "info": {"title": "boats", "version": "1"},
      "paths": {f"{ROOT}/namespaces/{{namespace}}/boats/{{name}}": {"get": {
          "operationId": "readBoat", "produces": ["application/json"],
          "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/Boat"}}}}}},
      "definitions": {"Boat": SCHEMA}}


def merge(old, new):
    """RFC 7386."""
    if not isinstance(new, dict):
        return new
    old = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            old.pop(key, None)
        else:
            old[key] = merge(old.get(key), value)
    return old


def changed(kind, boat):
    for watcher in WATCHERS:
        watcher.put({"type": kind, "object": boat})


def stored(namespace, name, boat, kind):
    REVISION[0] += 1
    boat["apiVersion"], boat["kind"] = f"{GROUP}/{VERSION}", "Boat"
    boat["metadata"].update(namespace=namespace, name=name, resourceVersion=str(REVISION[0]))
    boat["metadata"].setdefault("uid", f"uid-{REVISION[0]}")
    boat["metadata"].setdefault("creationTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    BOATS[namespace, name] = boat
    changed(kind, boat)
    return boat


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do(self):
        mode = MODE.read_text() if MODE.exists() else ""
        if mode == "slow":
            time.sleep(1000)
        if mode == "broken":
            return self.text(503, "broken")
        if mode == "redirect":
            return self.text(302, "", Location="https://evil.example.com/")
        if mode == "head":
            return self.text(200, "", **{f"X-{n}": "x" * 4000 for n in range(100)})
        url = urllib.parse.urlsplit(self.path)
        query = {key: values[0] for key, values in urllib.parse.parse_qs(url.query).items()}
        if url.path == "/apis":
            if mode == "garbage":
                return self.json(200, {"kind": "APIGroupDiscoveryList", "items": [{"metadata": 7}]})
            return self.json(200, DISCOVERY) if mode != "legacy" else self.json(200, {"kind": "APIGroupList"})
        if url.path == ROOT:
            return self.json(200, LEGACY) if mode != "garbage" else self.json(200, [1])
        if url.path == "/openapi/v3":
            return self.json(200, {"paths": {ROOT[1:]: {"serverRelativeURL": f"/openapi/v3{ROOT}?hash=1"}}})
        if url.path == f"/openapi/v3{ROOT}":
            return self.json(200, V3)
        if url.path == "/openapi/v2":
            return self.json(200, V2)
        if url.path == f"{ROOT}/whoami":
            seen = {key.lower(): self.headers.get_all(key) for key in self.headers.keys()}
            return self.json(200, {"path": self.path, "headers": seen})
        if url.path.startswith(ROOT + "/"):
            return self.boats(url.path[len(ROOT) + 1:].split("/"), query)
        return self.text(404, "404 page not found")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

    def boats(self, place, query):
        namespace = name = None
        if place[0] == "namespaces":
            namespace, place = place[1], place[2:]
        if place[0] != "boats":
            return self.status(404, "NotFound", "the server could not find the requested resource")
        if len(place) > 1:
            name = place[1]
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        with LOCK:
            if self.command == "GET" and not name:
                found = [boat for (where, _), boat in sorted(BOATS.items()) if namespace in (None, where)]
                if query.get("watch") not in ("true", "1"):
                    return self.json(200, {"kind": "BoatList", "apiVersion": f"{GROUP}/{VERSION}",
                                           "metadata": {"resourceVersion": str(REVISION[0])}, "items": found})
                events = queue.Queue()
                WATCHERS.append(events)
            elif self.command == "POST":
                name = body["metadata"]["name"]
                if (namespace, name) in BOATS:
                    return self.status(409, "AlreadyExists", f"boats {name} already exists")
                return self.json(201, stored(namespace, name, body, "ADDED"))
            elif self.command == "DELETE" and not name:
                gone = [key for key in BOATS if key[0] == namespace]
                for key in gone:
                    changed("DELETED", BOATS.pop(key))
                return self.json(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
            else:
                boat = BOATS.get((namespace, name))
                if boat is None:
                    return self.status(404, "NotFound", f'boats "{name}" not found')
                if self.command == "GET":
                    return self.json(200, boat)
                if self.command == "DELETE":
                    changed("DELETED", BOATS.pop((namespace, name)))
                    return self.json(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
                new = body if self.command == "PUT" else merge(boat, body)
                return self.json(200, stored(namespace, name, new, "MODIFIED"))
        return self.watch(events, namespace)

    def watch(self, events, namespace):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            event = events.get()
            if namespace in (None, event["object"]["metadata"]["namespace"]):
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()

    def status(self, code, reason, message):
        self.json(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                         "reason": reason, "message": message})

    def json(self, code, value):
        self.text(code, json.dumps(value), **{"Content-Type": "application/json"})

    def text(self, code, text, **headers):
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        body = text.encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
    context.load_verify_locations("/proxy/ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
