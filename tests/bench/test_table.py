"""What the table of `make bench` says of a bar, a yardstick and a peer."""

import os

from bench import peers
from bench.table import Bar, Table


def cells(table, name):
    """A row by its columns."""
    _, value, unit, bar, ratio, _, met = table.cells(table.rows[name])
    return value, unit, bar, ratio, met


def test_a_bar_is_met_at_the_median_of_the_runs():
    table = Table({"start": Bar("<=", 100), "rate": Bar(">=", 100)})
    table.add("start", "ms", [90, 99, 400])
    table.add("rate", "/s", [90, 99, 400])
    assert cells(table, "start") == ("99.0", "ms", "<= 100", "", "yes")
    assert cells(table, "rate") == ("99.0", "/s", ">= 100", "", "NO")
    assert table.summary() == "2 rows with a bar, 1 missed\n  missed: rate"


def test_a_bar_in_a_yardstick_holds_run_by_run():
    table = Table({"write": Bar("<=", 0, 2)})
    # Beside the median of its yardsticks it would look slow; beside each of its own it is not.
    table.add("write", "ms", [1.5, 1.5, 30], "bare", [1, 1, 16])
    assert cells(table, "write") == ("1.50", "ms", "<= 2.00", "1.50 x bare", "yes")
    table.add("write", "ms", [2.5, 2.5, 30], "bare", [1, 1, 16])
    assert cells(table, "write")[-1] == "NO"


def test_a_yardstick_that_was_not_measured_leaves_the_bar_open():
    table = Table({"ready": Bar("<=", 300, 3)}, {"ready": "own start"})
    table.add("ready", "ms", 900)
    assert cells(table, "ready") == ("900", "ms", "", "", "")
    table.add("own start", "ms", 100)
    assert cells(table, "ready") == ("900", "ms", "<= 600", "9.00 x own start", "NO")


def test_lines_of_the_program_become_rows():
    table = Table()
    table.add_line("list\tMB/s\t400 500 600")
    table.add_line("write\tms\t2 4\tbare\t1 2")
    assert cells(table, "list")[:2] == ("500", "MB/s")
    assert cells(table, "write")[3] == "2.00 x bare"
    assert table.tsv().splitlines()[0] == "name\tvalue\tunit\tbar\tratio\tspread\tmet"


def test_a_peer_is_created_timed_and_deleted_and_an_absent_one_is_named(tmp_path, monkeypatch):
    program = tmp_path / "kind"
    program.write_text(f'#!/bin/sh\necho "$1 $2" >> {tmp_path}/calls\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + "/bin")
    monkeypatch.setattr(peers, "containers", lambda prefix: 512)
    monkeypatch.setattr(peers, "SETTLE", 0)
    table, said = Table(), []
    peers.measure(table, said.append)
    assert list(table.rows) == ["kind: created to node Ready", "kind: memory of an empty cluster (PSS)"]
    assert (tmp_path / "calls").read_text() == "create cluster\ndelete cluster\n"
    assert "k3s is not installed: not measured" in said
