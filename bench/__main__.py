"""One table of all figures: `python -m bench [SUBJECT,...]`, run by `make bench`."""

import datetime
import os
import subprocess
import sys

from bench import peers
from bench.bars import BARS, YARDSTICKS
from bench.engine import ROOT
from bench.inside import SUBJECTS
from bench.table import Table, load

RESULTS = ROOT / "bench/results.tsv"
RECORDED = ROOT / "docs/bench.md"
HEADING = "## A recorded run"
ALL = [*SUBJECTS, "peers"]


def main():
    wanted = [name for name in ",".join(sys.argv[1:]).split(",") if name] or ALL
    unknown = set(wanted) - set(ALL)
    if unknown:
        sys.exit(f"bench: there is no {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    if os.geteuid() != 0:
        sys.exit("bench: it runs real containers: run it as root")
    table = Table(BARS, YARDSTICKS)
    table.listener = lambda row: say("  ".join(filter(None, table.cells(row))))
    inside(table, [name for name in wanted if name != "peers"])
    if "peers" in wanted:
        # As they are: Docker is not inside our private host.
        peers.measure(table, say)
    print(f"\n{table.text()}\n\n{table.summary()}")
    RESULTS.write_text(table.tsv())
    if os.environ.get("RECORD"):
        record(table)


def record(table):
    """Keep this run as the recorded one."""
    before = RECORDED.read_text().split(HEADING)[0]
    with open("/proc/cpuinfo") as info:
        (model, *_) = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    machine = f"{os.cpu_count()} cores of {model}, Linux {os.uname().release.split('-')[0]}"
    RECORDED.write_text(f"{before}{HEADING}\n\n{datetime.date.today()}, {machine}.\n\n"
                        f"```text\n{table.text()}\n\n{table.summary()}\n```\n")


def say(text):
    """Progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def inside(table, subjects):
    """Ours, on a host of its own, which ends with the command."""
    command = [ROOT / "scripts/private-host", sys.executable, "-m", "bench.inside", *subjects]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as running:
        for line in running.stdout:
            table.put(load(line))
    if running.returncode:
        sys.exit(f"bench: ended early ({running.returncode})")


if __name__ == "__main__":
    main()
