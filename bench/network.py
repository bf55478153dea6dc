"""What a pod's link and changes to Services and policies cost: the network crate's own benchmark, as rows."""

import os
import shlex
import subprocess

from bench.engine import ROOT


def measure(table):
    command = [*shlex.split(os.environ.get("CARGO", "cargo")), "bench", "--quiet", "--locked",
               "-p", "coracle-network", "--bench", "network"]
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True)
    for line in done.stdout.splitlines()[1:]:
        what, median, p95 = line.split("\t")
        table.add(f"network: {what}", "us", float(median))
        table.add(f"network: {what}, p95", "us", float(p95))
