"""What the kernel says of processes."""

import os
import pathlib
import subprocess
import sys
import time


def running(program, part):
    """The processes that run this part of a program file: its first argument."""
    found = []
    for process in pathlib.Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                arguments = (process / "cmdline").read_bytes().split(b"\0")
                if os.path.samefile(process / "exe", program) and arguments[1:2] == [part.encode()]:
                    found.append(int(process.name))
            except OSError:
                pass  # it has ended, or is the kernel's
    return found


def _mib(path, field):
    for line in pathlib.Path(path).read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"{path} has no {field}")


def resident(pid):
    """MiB, pages that are shared counted whole."""
    return _mib(f"/proc/{pid}/status", "VmRSS")


def proportional(pid):
    """MiB, pages that are shared by n processes counted as an n-th."""
    return _mib(f"/proc/{pid}/smaps_rollup", "Pss")


def cpu_seconds(pid):
    """What its threads have used."""
    used = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        used += int((task / "schedstat").read_text().split()[0])
    return used / 1e9


def cpu_at_rest(table, name, pid, home):
    """Of one core, three times ten seconds, beside a bare process that wakes as often."""
    ours, bare = [], []
    command = [sys.executable, "-m", "bench.waker", home]
    with subprocess.Popen(command, cwd=pathlib.Path(__file__).parents[1]) as waker:
        try:
            time.sleep(1)
            for _ in range(3):
                before = cpu_seconds(pid), cpu_seconds(waker.pid)
                time.sleep(10)
                ours.append((cpu_seconds(pid) - before[0]) * 10)
                bare.append((cpu_seconds(waker.pid) - before[1]) * 10)
        finally:
            waker.kill()
    table.add(name, "% of a core", ours, "bare process that wakes as often: CPU", bare)
