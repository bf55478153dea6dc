"""Counters for Prometheus: requests, visits and latencies."""

import bisect

# Upper bounds of the latency histogram, in seconds.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0)


class Metrics:
    """What was counted since the start."""

    def __init__(self):
        self.visits = 0
        self._requests = 0
        self._errors = 0
        self._seconds = 0.0
        self._buckets = [0] * (len(BOUNDS) + 1)

    def request(self, seconds, status):
        """One request was answered after `seconds`."""
        self._requests += 1
        self._errors += status >= 500
        self._seconds += seconds
        self._buckets[bisect.bisect_left(BOUNDS, seconds)] += 1

    def render(self, total):
        """The text that Prometheus reads; `total` is the durable count or None."""
        lines = []
        if total is not None:
            lines += _metric("visits", "gauge", "Durable visits of this replica.", total)
        lines += _metric("visits_counted_total", "counter", "Visits since the start.", self.visits)
        lines += _metric("request_errors_total", "counter", "Answers of 500 and above.",
                         self._errors)
        lines += ["# HELP request_seconds Time to answer.", "# TYPE request_seconds histogram"]
        below = 0
        for bound, count in zip((*BOUNDS, "+Inf"), self._buckets, strict=True):
            below += count
            lines.append(f'request_seconds_bucket{{le="{bound}"}} {below}')
        lines += [f"request_seconds_sum {self._seconds}", f"request_seconds_count {self._requests}"]
        return "\n".join(lines) + "\n"


def _metric(name, kind, text, value):
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value}"]
