"""What is served at which path."""

import time

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from app_python import log, page
from app_python.metrics import Metrics
from app_python.peers import Peers
from app_python.visits import Visits, VisitsError

# The page is new at every visit, loads nothing and runs nothing.
PAGE_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
}


class Service:
    """One replica: its count, its peers, its metrics."""

    def __init__(self, config):
        self.config = config
        self.visits = Visits(config.visits_file)
        self.peers = Peers(config)
        self.metrics = Metrics()

    async def visit(self, request):
        """Count a visit and show the page. HEAD is no visit."""
        if request.method == "HEAD":
            return Response(headers=PAGE_HEADERS)
        visits = await self.visits.count()
        self.metrics.visits += 1
        replicas = await self.peers.for_page(visits)
        text = page.render(self.config.pod_name, visits, replicas, self.config.version)
        return HTMLResponse(text, headers=PAGE_HEADERS)

    async def own(self, _request):
        """This replica's visits."""
        visits = await self.visits.read()
        return JSONResponse({"replica": self.config.pod_name, "visits": visits})

    async def all(self, _request):
        """The visits of all replicas, asked now."""
        replicas = await self.peers.now(await self._read())
        total = sum(visits for visits in replicas.values() if visits is not None)
        listed = [{"replica": name, "visits": visits} for name, visits in replicas.items()]
        return JSONResponse({"replicas": listed, "total": total})

    async def healthy(self, _request):
        """The process serves."""
        return PlainTextResponse("ok\n")

    async def ready(self, _request):
        """The count can be read and written."""
        await self.visits.read()
        return PlainTextResponse("ok\n")

    async def show_metrics(self, _request):
        """For Prometheus."""
        text = self.metrics.render(await self._read())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def _read(self):
        try:
            return await self.visits.read()
        except VisitsError:
            return None


def _refuse(_request, error):
    log.error(str(error))
    return PlainTextResponse(f"{error}\n", 503)


def create(config):
    """The ASGI application of one replica."""
    service = Service(config)
    routes = [
        Route("/", service.visit),
        Route("/visits", service.own),
        Route("/visits/all", service.all),
        Route("/healthz", service.healthy),
        Route("/readyz", service.ready),
        Route("/metrics", service.show_metrics),
    ]
    app = Starlette(routes=routes, exception_handlers={VisitsError: _refuse})
    return _measured(app, service.metrics)


def _measured(app, metrics):
    async def measure(scope, receive, send):
        start = time.perf_counter()
        status = 500

        async def see(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, see)
        finally:
            metrics.request(time.perf_counter() - start, status)

    return measure
