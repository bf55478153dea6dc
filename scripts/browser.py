"""Debian's Chromium without a window, driven through chromedriver (W3C WebDriver, plain HTTP)."""

import base64
import contextlib
import http.client
import json
import pathlib
import re
import subprocess

CHROMEDRIVER = "/usr/bin/chromedriver"
# Nothing but the page that is asked for: no updates, no sync, no first-run traffic.
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PHONE = {"deviceMetrics": {"width": 390, "height": 844, "pixelRatio": 2}}
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Driver:
    """A running chromedriver; give it browsers with `browser()`."""

    def __enter__(self):
        self._process = subprocess.Popen([CHROMEDRIVER, "--port=0"], text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for line in self._process.stdout:
            if found := re.search(r"successfully on port (\d+)", line):
                self._port = int(found[1])
                return self
        raise RuntimeError("chromedriver did not start")

    def __exit__(self, *_):
        self._process.terminate()
        self._process.communicate()

    def ask(self, method, path, body=None):
        """One WebDriver command; its value."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port)) as connection:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            value = json.loads(answer.read())["value"]
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {value['error']}: {value['message']}")
        return value

    @contextlib.contextmanager
    def browser(self, phone=False, javascript=True):
        """A browser with a fresh profile."""
        options = {"args": ARGUMENTS}
        if phone:
            options["mobileEmulation"] = PHONE
        if not javascript:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        session = self.ask("POST", "/session", {
            "capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        browser = Browser(self, f"/session/{session['sessionId']}")
        try:
            yield browser
        finally:
            self.ask("DELETE", browser.path)


class Browser:
    """One window of a browser."""

    def __init__(self, driver, path):
        self._driver = driver
        self.path = path

    def _ask(self, method, path, body=None):
        return self._driver.ask(method, self.path + path, body)

    def open(self, url):
        self._ask("POST", "/url", {"url": url})

    def texts(self, selector):
        """What a person reads in each element that fits a CSS selector."""
        found = self._ask("POST", "/elements", {"using": "css selector", "value": selector})
        return [self._ask("GET", f"/element/{element[ELEMENT]}/text") for element in found]

    def evaluate(self, script):
        """The value of a script (`return …`)."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def screenshot(self, file):
        """Keep a picture (PNG) of the window."""
        pathlib.Path(file).write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))
