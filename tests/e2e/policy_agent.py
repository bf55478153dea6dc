"""Runs in a pod's network: serves, and tries many connections at once.

Serves TCP and UDP on ports 80 and 81. A line of JSON on the standard input is a list of targets
(`[protocol, address, port]`); the answer is a line with the list of those that answered, as true or
false. The line `"heard"` is answered with the addresses that have been heard so far.
"""

import json
import select
import socket
import sys
import threading
import time

PATIENCE = 0.5
heard = set()


def serve_tcp(port):
    with socket.create_server(("", port), backlog=256) as listener:
        while True:
            one, client = listener.accept()
            heard.add(client[0])
            one.close()


def serve_udp(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", port))
        while True:
            data, client = server.recvfrom(64)
            heard.add(client[0])
            server.sendto(data, client)


def begin(protocol, address, port):
    """A socket that is connecting, and what to wait for."""
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    one = socket.socket(socket.AF_INET, kind)
    one.setblocking(False)
    one.connect_ex((address, port))
    if protocol == "UDP":
        one.send(b"x")
    return one, select.POLLOUT if protocol == "TCP" else select.POLLIN


def attempt(targets):
    """Which of the targets answer."""
    poll, waiting, found = select.poll(), {}, [False] * len(targets)
    for number, (protocol, address, port) in enumerate(targets):
        one, event = begin(protocol, address, port)
        waiting[one.fileno()] = number, one
        poll.register(one, event)
    deadline = time.monotonic() + PATIENCE
    while waiting and (left := deadline - time.monotonic()) > 0:
        for file, _ in poll.poll(left * 1000):
            number, one = waiting.pop(file)
            poll.unregister(file)
            found[number] = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            one.close()
    for _, one in waiting.values():
        one.close()
    return found


def main():
    for port in 80, 81:
        for serve in serve_tcp, serve_udp:
            threading.Thread(target=serve, args=[port], daemon=True).start()
    print("up", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = sorted(heard) if asked == "heard" else attempt(asked)
        print(json.dumps(answer), flush=True)


main()
