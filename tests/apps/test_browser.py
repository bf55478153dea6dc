"""The page in a real browser, for both applications, two replicas of each."""

import json
import os
import socket
import subprocess
import sys
import urllib.request

import pytest

from conftest import APPLICATIONS, ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from browser import Driver  # noqa: E402

RUST = ROOT / "target/x86_64-unknown-linux-gnu/release/app_rust"
COMMANDS = {"app-rust": [RUST], "app-python": [sys.executable, "-P", "-m", "app_python"]}


@pytest.fixture(scope="session")
def driver():
    with Driver() as driver:
        yield driver


@pytest.fixture(params=APPLICATIONS)
def page(request, tmp_path):
    """(application, URL) of replica 0 of two; replica 1 does not run: it is missing."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    name = request.param
    process = subprocess.Popen(COMMANDS[name], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env={
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "apps/app_python"), "LISTEN": address,
        "POD_NAME": f"{name}-0", "REPLICAS": "2", "PEERS_DOMAIN": "nowhere.invalid",
        "VERSION": "1.2.3"})
    assert json.loads(process.stdout.readline())["message"] == "listening"
    yield name, f"http://{address}/"
    process.terminate()
    process.communicate()


def counted(url):
    with urllib.request.urlopen(f"{url}visits") as answer:
        return json.load(answer)["visits"]


def test_each_visitor_is_counted_once_and_sees_the_replicas(driver, page):
    name, url = page
    for visit in (1, 2, 3):
        with driver.browser() as browser:
            browser.open(url)
            assert browser.texts("h1") == [f"{name}-0"]
            assert browser.texts("#visits") == [str(visit)]
            assert browser.texts("li .name") == [f"{name}-0", f"{name}-1"]
            assert browser.texts("li .count") == [str(visit), "missing"]
            assert browser.texts("footer") == [f"{name} 1.2.3"]
        assert counted(url) == visit, "one visit a page: no icon, no second request"


def test_the_page_works_without_javascript(driver, page):
    _, url = page
    with driver.browser(javascript=False) as browser:
        browser.open(url)
        assert browser.texts("#visits") == ["1"]


def test_it_looks_right_on_a_phone(driver, page, tmp_path):
    name, url = page
    with driver.browser(phone=True) as browser:
        browser.open(url)
        browser.screenshot(ROOT / f".cache/{name}-phone.png")
        width = browser.evaluate("return innerWidth")
        assert width == 390
        assert browser.evaluate("return document.documentElement.scrollWidth") <= width
        outside = browser.evaluate(
            "return [...document.querySelectorAll('body *')].filter(e => {"
            "const box = e.getBoundingClientRect();"
            "return box.left < 0 || box.right > innerWidth}).map(e => e.tagName)")
        assert outside == []
        size = browser.evaluate("return parseFloat(getComputedStyle(document.body).fontSize)")
        assert size >= 16


def test_the_longest_names_do_not_break_it(driver, tmp_path):
    name = "a" * 60 + "-0"
    process = subprocess.Popen([RUST], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env={
        "LISTEN": "127.0.0.1:0", "POD_NAME": name, "VERSION": "<b>"})
    try:
        url = f"http://{json.loads(process.stdout.readline())['listen']}/"
        with driver.browser(phone=True) as browser:
            browser.open(url)
            assert browser.evaluate("return document.documentElement.scrollWidth") <= 390
            assert browser.texts("#version") == ["<b>"]
    finally:
        process.terminate()
        process.communicate()
