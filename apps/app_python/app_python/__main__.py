"""Serve, or `check HOST PORT REPLICAS`: wait until so many replicas answer there."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
import types

from app_python import log

# How long connections are still taken after SIGTERM: whoever was sent here a moment ago, before the
# replica was taken out of its Service, still comes. In seconds.
LINGER = 0.05
# How long `check` waits until all replicas answer, in seconds.
CHECK_PATIENCE = 30
USAGE = "usage: python3 -m app_python [check HOST PORT REPLICAS]"


def main():
    """Do what the command line says; give the exit code."""
    match sys.argv[1:]:
        case []:
            return serve()
        case ["check", host, port, replicas] if (port + replicas).isdecimal():
            return asyncio.run(check(host, int(port), int(replicas)))
        case _:
            print(USAGE, file=sys.stderr)
            return 2


def serve():
    """Serve until SIGTERM."""
    from app_python.config import Config, ConfigError

    log.take_over()
    try:
        config = Config.from_environment(os.environ)
    except ConfigError as error:
        log.error(str(error))
        return 1
    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        listener = socket.create_server((config.host, config.port), family=family, backlog=1024)
    except OSError as error:
        log.error(f"cannot listen on {config.host}:{config.port}: {error.strerror}")
        return 1
    # What the imports make stays: the collector would walk it again and again, and find nothing.
    gc.disable()
    _leave_out_the_command_line()
    import uvloop

    uvloop.run(_serve(config, listener))
    log.info("stopped")
    return 0


def _leave_out_the_command_line():
    """Import uvicorn without its command line, whose libraries are a sixth of the start-up.

    `uvicorn` takes three names from there; ours is the server of the module that defines it.
    """
    module = types.ModuleType("uvicorn.main")
    module.Server = module.main = module.run = None
    sys.modules.setdefault("uvicorn.main", module)


async def _serve(config, listener):
    from uvicorn.config import Config
    from uvicorn.server import Server

    from app_python import service

    server = Server(Config(
        service.create(config), http="httptools", ws="none", lifespan="off", log_config=None,
        access_log=False, server_header=False, timeout_graceful_shutdown=config.grace_seconds))
    # uvicorn would end the process by the signal; we end it when all is answered, with 0.
    server.capture_signals = contextlib.nullcontext

    loop = asyncio.get_running_loop()

    def stop():
        log.info("stopping")
        loop.call_later(min(LINGER, config.grace_seconds), setattr, server, "should_exit", True)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    gc.freeze()
    gc.enable()
    host, port = listener.getsockname()[:2]
    log.info("listening", listen=f"{host}:{port}", pod=config.pod_name)
    await server.serve(sockets=[listener])


async def check(host, port, wanted):
    """Wait until the service at `host` shows at least so many replicas, none missing."""
    from app_python.peers import PeerError, get

    deadline = time.monotonic() + CHECK_PATIENCE
    while True:
        try:
            seen = await get(host, port, "/visits/all")
            replicas = seen["replicas"]
            answers = [replica["visits"] is not None for replica in replicas]
            if len(answers) >= wanted and all(answers):
                log.info("all replicas answer", seen=seen)
                return 0
        except (PeerError, KeyError, TypeError) as error:
            seen = str(error)
        if time.monotonic() > deadline:
            log.error("not all replicas answer", seen=seen)
            return 1
        await asyncio.sleep(0.25)


if __name__ == "__main__":
    sys.exit(main())
