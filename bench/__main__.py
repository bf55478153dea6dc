"""One table of all figures: `python -m bench [SUBJECT,...]`, run by `make bench`."""

import subprocess
import sys

from bench.bars import BARS, YARDSTICKS
from bench.engine import ROOT
from bench.inside import SUBJECTS
from bench.table import Table, load

RESULTS = ROOT / "bench/results.tsv"


def main():
    wanted = [name for name in ",".join(sys.argv[1:]).split(",") if name] or list(SUBJECTS)
    unknown = set(wanted) - set(SUBJECTS)
    if unknown:
        sys.exit(f"bench: there is no {', '.join(unknown)}; subjects are {', '.join(SUBJECTS)}")
    table = Table(BARS, YARDSTICKS)
    command = [ROOT / "scripts/private-host", sys.executable, "-m", "bench.inside", *wanted]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as inside:
        for line in inside.stdout:
            row = load(line)
            table.put(row)
            print("  ".join(table.cells(row)).rstrip(), file=sys.stderr, flush=True)
    print(table.text())
    print(table.summary())
    RESULTS.write_text(table.tsv())


if __name__ == "__main__":
    main()
