"""Measures the subjects that need a host of their own; one line of JSON a row on standard output."""

import os
import sys
import traceback

from bench import applications, cluster, network, store, workloads
from bench.bars import BARS, YARDSTICKS
from bench.engine import directory, measured
from bench.table import Table, dump

SUBJECTS = {"store": store.measure, "api": store.api, "network": network.measure,
            "cluster": cluster.measure, "workloads": workloads.measure,
            "apps": applications.measure}


def main():
    table = Table(BARS, YARDSTICKS, lambda row: print(dump(row), flush=True))
    with directory() as home:
        measured(table, "yardsticks", home)
    for name in sys.argv[1:]:
        # What others do on this machine meanwhile is in every figure.
        table.add(f"load average before {name}", "", os.getloadavg()[0])
        try:
            SUBJECTS[name](table)
        except Exception:  # the other subjects are worth their rows all the same
            print(f"bench: {name} ended early\n{traceback.format_exc()}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
