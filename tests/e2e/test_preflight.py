"""Where containers cannot run, `up` says so at once, and what to do."""

import os
import subprocess

from cluster import CORACLE


def refused(*prefix, data_dir):
    name = f"unfit-{os.getpid()}"
    command = [*prefix, CORACLE, "--name", name, "--data-dir", str(data_dir), "up",
               "--no-kubeconfig"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=60)
    assert done.returncode == 1, done
    return done.stderr


def test_a_data_directory_on_an_overlay_is_refused(tmp_path):
    for name in ("lower", "upper", "work", "root"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, tmp_path / "root"], check=True)
    try:
        said = refused(data_dir=tmp_path / "root" / "data")
    finally:
        subprocess.run(["umount", tmp_path / "root"], check=True)
    assert "is on an overlay" in said and "--data-dir" in said


def test_a_user_namespace_and_missing_rights_are_named(tmp_path):
    said = refused("unshare", "--user", "--map-root-user", data_dir=tmp_path / "a")
    assert "user namespace" in said
    said = refused("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin",
                   data_dir=tmp_path / "b")
    assert "lacks CAP_SYS_ADMIN" in said


def test_control_groups_that_are_read_only_are_named(tmp_path):
    script = ("for m in $(awk '$3 ~ /^cgroup/ {print $2}' /proc/self/mounts); do"
              " mount -o remount,bind,ro $m; done; exec \"$@\"")
    said = refused("unshare", "--mount", "sh", "-c", script, "sh", data_dir=tmp_path / "c")
    assert "control groups cannot be made" in said and "/sys/fs/cgroup" in said
