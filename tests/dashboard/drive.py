"""Drives the dashboard of a real server in headless Chromium, and judges what it shows.

Run by scripts/dashboard-test.sh. Every wait is for something on the page, with a deadline.
"""

import argparse
import base64
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_S = 60
DESKTOP, PHONE = (1280, 1000), (360, 740)


class Server:
    """`oxdaas serve` on a directory and a free port of its own."""

    started = []

    def __init__(self, binary, directory, *options):
        self.binary = binary
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.said = open(directory / "said", "ab")
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--cores", "2", "--data-dir", directory / "data"]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=self.said, text=True)
        Server.started.append(self.process)
        line = self.process.stdout.readline()
        found = re.search(r"listening on ([0-9.:]+)", line)
        assert found, f"not ready: {line!r} {(directory / 'said').read_text()}"
        self.url = f"http://{found.group(1)}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0
        self.said.close()

    def ask(self, method, path, body=None, token=None):
        """Status and body of a request that does not go through the page."""
        request = urllib.request.Request(self.url + path, method=method, data=body and body.encode())
        if body:
            request.add_header("Content-Type", "application/json")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


class Page:
    """The page in a browser."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, url):
        self.url = url
        self.driver.get(url + "/dashboard")

    def find(self, name):
        return self.driver.find_element(By.ID, name)

    def text(self, name):
        return self.find(name).text

    def number(self, name):
        found = re.match(r"[\d,]+(\.\d+)?", self.text(name))
        return float(found.group().replace(",", "")) if found else None

    def value(self, name):
        return self.find(name).get_property("value")

    def type(self, name, text):
        field = self.find(name)
        field.clear()
        field.send_keys(text)

    def click(self, name):
        button = self.find(name)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def submit(self, form):
        button = self.driver.find_element(By.CSS_SELECTOR, f"#{form} button[type=submit]")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def wait(self, what, is_so):
        def tried(_):
            return is_so()
        try:
            return WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.1).until(tried)
        except Exception as error:
            said = {name: self.text(name) for name in ("state", "notice", "requests", "said", "version", "result")}
            raise AssertionError(f"waited in vain for: {what}; the page says {said}") from error

    def wait_text(self, name, *parts):
        self.wait(f"{name} says {parts}", lambda: all(part in self.text(name) for part in parts))

    def look_up(self, name):
        self.type("id", name)
        self.submit("look-up")

    def write(self, text):
        """Puts `text` into the editor, as pasting it does."""
        self.driver.execute_script(
            "document.getElementById('text').value = arguments[0]", text)

    def size(self, size):
        width, height = size
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE})

    def scheme(self, scheme):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def faults(self):
        """What the console said since it was asked last, but for refusals of the server."""
        entries = self.driver.get_log("browser")
        return [entry for entry in entries if entry["source"] != "network"]

    def requested(self):
        """The URLs of all requests since this was asked last."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def check(name):
    """Marks a check; they run in the order in which they are written."""
    def mark(function):
        CHECKS.append((name, function))
        return function
    return mark


CHECKS = []


@check("it loads without an error in the console, and shows the server")
def loads(page, server, _):
    page.open(server.url)
    page.wait_text("state", "ready")
    page.wait("a row a core", lambda: len(page.driver.find_elements(By.CSS_SELECTOR, "#cores tr")) == 2)
    assert "fsync always" in page.text("facts"), page.text("facts")
    assert page.driver.get_log("browser") == []


@check("its numbers move under load, core by core, and calm down")
def moves(page, server, keep):
    for number in range(200):
        server.ask("PUT", f"/docs/{number}", '{"color":"blue","size":7}')
    page.wait("rest", lambda: page.number("requests") < 5)
    paths = " ".join(f'"/docs/{number}",' for number in range(200))
    script = server.directory / "load.lua"
    # Two reads and a write in turn, over ids of both cores.
    script.write_text(
        f"local paths = {{{paths}}}\nlocal turn = 0\n"
        "request = function()\n turn = turn + 1\n local path = paths[turn % #paths + 1]\n"
        " if turn % 3 > 0 then return wrk.format('GET', path) end\n"
        " return wrk.format('PUT', path, {['Content-Type'] = 'application/json'}, '{\"n\":' .. turn .. '}')\nend\n")
    load = subprocess.Popen(["wrk", "-t1", "-c32", "-d20s", "-s", script, server.url], stdout=subprocess.PIPE, text=True)
    try:
        page.wait("many requests", lambda: (page.number("requests") or 0) > 500)
        for core in (0, 1):
            def moved(column, core=core):
                return (page.number(f"core-{core}-{column}") or 0) > 0
            for column in ("requests", "forwarded", "served", "busy", "connections", "documents", "p99"):
                page.wait(f"core {core}: {column}", lambda: moved(column))
        for name in ("read", "write", "sync"):
            page.wait(f"p99 of {name}", lambda: (page.number(name) or 0) > 0)
        page.wait_text("written", "records/s")
        page.wait("history", lambda: len(set(re.findall(
            r",([\d.]+)", page.driver.find_element(By.CSS_SELECTOR, "#requests-line polyline").get_attribute("points")))) > 3)
        keep("load-light")
        page.scheme("dark")
        keep("load-dark")
        page.size(PHONE)
        keep("load-phone-dark")
        page.scheme("light")
        keep("load-phone-light")
        page.size(DESKTOP)
    finally:
        load.terminate()
        load.wait()
    for name in ("requests", "core-0-requests", "core-1-requests"):
        page.wait(f"calm: {name}", lambda name=name: page.number(name) < 5)


@check("a document is created, edited, found changed by others, and deleted once that is confirmed")
def edits(page, server, keep):
    name = "user:7/\u00e4"
    path = "/docs/" + urllib.parse.quote(name, safe="")
    page.look_up(name)
    page.wait_text("version", "There is no document")
    exact = '{"n":12345678901234567890.10,"a":[1,{}],"s":"a,b: {\\"x\\"}"}'
    page.write(exact)
    page.click("save")
    page.wait_text("said", "Created")
    assert server.ask("GET", path) == (200, exact)
    page.look_up(name)
    page.wait("the text", lambda: '"n": 12345678901234567890.10,' in page.value("text"))
    page.write(page.value("text").replace("[", "[0, "))
    page.click("save")
    page.wait_text("said", "Saved")
    assert server.ask("GET", path) == (200, exact.replace("[", "[0,"))

    page.write("{\"broken\": ")
    page.click("save")
    page.wait_text("said", "400 bad_json")

    assert server.ask("PUT", path, '"theirs"')[0] == 200
    page.write('"mine"')
    page.click("save")
    page.wait_text("conflict", "Nothing was saved")
    keep("conflict-light")
    assert server.ask("GET", path) == (200, '"theirs"')
    page.click("take-theirs")
    page.wait("theirs", lambda: page.value("text") == '"theirs"')
    assert server.ask("PUT", path, '"theirs again"')[0] == 200
    page.write('"mine"')
    page.click("save")
    page.wait_text("conflict", "Nothing was saved")
    page.click("keep-mine")
    page.wait_text("said", "Saved")
    assert server.ask("GET", path) == (200, '"mine"')

    page.type("ttl", "1000")
    page.click("save")
    page.wait_text("version", "expires in 1000 s")
    page.look_up(name)
    page.wait("the rest of its time", lambda: 0 < float(page.value("ttl") or 0) <= 1000)
    page.write('"with the rest of its time"')
    page.click("save")
    page.wait_text("said", "Saved")

    page.click("delete")
    page.wait("the question", lambda: page.find("confirm").is_displayed())
    keep("delete-light")
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.wait_text("said", "Kept")
    assert server.ask("GET", path)[0] == 200
    page.click("delete")
    page.wait("the question", lambda: page.find("confirm").is_displayed())
    page.driver.find_element(By.CSS_SELECTOR, "#confirm button[value=yes]").click()
    page.wait_text("said", "Deleted")
    assert server.ask("GET", path)[0] == 404


@check("ONLY and FILTER_BOOL run, and their mistakes are told")
def commands(page, server, _):
    server.ask("PUT", "/docs/9", '{"color":"blue","colors":[{"n":1,"is_blue":true},{"n":2,"is_blue":false}]}')
    page.look_up("9")
    page.wait_text("version", "Version")
    page.type("keys", "color, size")
    page.submit("only")
    page.wait("the values", lambda: re.sub(r"\s", "", page.text("result")) == '{"values":["blue",null]}')
    page.type("key", "colors")
    page.type("by", "is_blue")
    page.submit("filter")
    page.wait("the blue one", lambda: re.sub(r"\s", "", page.text("result")) == '[{"n":1,"is_blue":true}]')
    page.type("keys", " ,")
    page.submit("only")
    page.wait_text("result", "400")


@check("ids are listed, also those that JavaScript has no number for")
def lists(page, server, _):
    largest = "9223372036854775807"
    server.ask("PUT", f"/docs/{largest}", '"the largest"')
    server.ask("PUT", "/docs/%3Cb%3Ebold", '"no markup"')
    page.submit("list")
    page.wait("a page", lambda: len(page.driver.find_elements(By.CSS_SELECTOR, "#ids button")) == 50)
    while page.find("more").is_displayed():
        before = len(page.driver.find_elements(By.CSS_SELECTOR, "#ids button"))
        page.click("more")
        page.wait("more", lambda: len(page.driver.find_elements(By.CSS_SELECTOR, "#ids button")) > before)
    ids = [button.text for button in page.driver.find_elements(By.CSS_SELECTOR, "#ids button")]
    stored = json.loads(server.ask("GET", "/docs?limit=1000")[1], parse_int=str)["ids"]
    assert ids == stored and largest in ids and "<b>bold" in ids, ids
    buttons = page.driver.find_elements(By.CSS_SELECTOR, "#ids button")
    page.driver.execute_script("arguments[0].click()", buttons[ids.index(largest)])
    page.wait("the document", lambda: page.value("text") == '"the largest"')
    page.type("prefix", "<b")
    page.submit("list")
    page.wait("one", lambda: len(page.driver.find_elements(By.CSS_SELECTOR, "#ids button")) == 1)


@check("nothing is wider than a phone")
def narrow(page, server, keep):
    server.ask("PUT", "/docs/" + "w" * 255, json.dumps({"w" * 300: ["v" * 500] * 3}))
    for width in (320, 360, 600, 800, 1000):
        page.size(PHONE if width == 360 else (width, 740))
        page.look_up("w" * 255)
        page.wait_text("version", "Version")
        page.type("keys", "w" * 300)
        page.submit("only")
        page.wait_text("result", "vvv")
        wide = page.driver.execute_script(
            "return [document.documentElement.scrollWidth, innerWidth, [...document.querySelectorAll('body *')].filter("
            "e => e.getBoundingClientRect().right > innerWidth + 0.5 && !e.closest('pre, textarea, .hidden, thead'))"
            ".map(e => e.tagName + '#' + e.id).slice(0, 9)]")
        assert wide[0] <= width and not wide[2], f"at {width}: {wide}"
    page.size(PHONE)
    keep("documents-phone-light")
    page.size(DESKTOP)
    keep("documents-light")
    page.scheme("dark")
    keep("documents-dark")
    page.scheme("light")


FOCUSABLE = "a[href], button, input, textarea, [tabindex='0']"


@check("every control is reached by Tab, is seen to be, and has a name")
def keyboard(page, server, keep):
    # Anew, so that Tab begins at its beginning.
    page.open(server.url)
    page.wait_text("state", "ready")
    shown = [element for element in page.driver.find_elements(By.CSS_SELECTOR, FOCUSABLE)
             if element.is_displayed() or element.get_attribute("class") == "skip"]
    reached = []
    for _ in range(len(shown) + 5):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.driver.switch_to.active_element
        if focused.tag_name == "body" or focused in reached:
            break
        outline = focused.value_of_css_property("outline-style"), focused.value_of_css_property("outline-width")
        assert outline == ("solid", "2px"), f"{focused.get_attribute('outerHTML')}: {outline}"
        assert focused.accessible_name, f"no name: {focused.get_attribute('outerHTML')}"
        reached.append(focused)
    missed = [element.get_attribute("outerHTML") for element in shown if element not in reached]
    assert not missed, missed
    # What a form asks for runs with Enter.
    page.type("id", "9")
    page.find("id").send_keys(Keys.ENTER)
    page.wait("the document", lambda: "blue" in page.value("text"))
    keep("focus-light")


CONTRAST = """
const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
const light = (name) => {
  canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const [one, two] = [...arguments].map(light);
return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
"""


@check("text stands out from its ground in light and dark (WCAG 1.4.3, 1.4.11)")
def contrasts(page, _server, _keep):
    grounds = {}
    for scheme in ("light", "dark"):
        page.scheme(scheme)
        for text in ("--text", "--quiet", "--accent", "--bad", "--good"):
            for ground in ("--panel", "--ground"):
                ratio = page.driver.execute_script(CONTRAST, text, ground)
                assert ratio >= 4.5, f"{scheme}: {text} on {ground}: {ratio:.2f}"
        for text, ground, least in (("--accent-text", "--accent", 4.5), ("--text", "--bad-wash", 4.5),
                                    ("--panel", "--bad", 4.5), ("--edge", "--panel", 3.0)):
            ratio = page.driver.execute_script(CONTRAST, text, ground)
            assert ratio >= least, f"{scheme}: {text} on {ground}: {ratio:.2f}"
        grounds[scheme] = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert grounds["light"] != grounds["dark"], grounds
    page.scheme("light")


@check("it asks nobody but its server, and the console stays without errors")
def alone(page, server, _):
    urls = page.requested()
    assert sum(url.endswith("/stats") for url in urls) > 5, urls
    outside = [url for url in urls if not url.startswith(server.url + "/") and url != "data:,"]
    assert not outside, outside
    assert page.faults() == []


@check("tokens are asked for, sent, kept in the tab alone, and forgotten")
def with_tokens(page, open_server, keep):
    directory = open_server.directory / "with-tokens"
    directory.mkdir()
    tokens = directory / "tokens"
    tokens.write_text("reader-token-0123456789 ro\nwriter-token-0123456789 rw\n")
    tokens.chmod(0o600)
    server = Server(open_server.binary, directory, "--token-file", tokens)
    writer = "writer-token-0123456789"
    page.open(server.url)
    page.wait_text("state", "token needed")
    page.wait_text("notice", "wants a token")
    keep("token-light")
    for wrong, said in (("two words", "no spaces"), ("wrong-token-0123456789", "A token is sent")):
        page.type("token", wrong)
        page.submit("token-form")
        page.wait_text("token-note", said)
        page.wait_text("state", "token needed")
    page.look_up("1")
    page.wait_text("said", "wants a token")

    page.type("token", "reader-token-0123456789")
    page.submit("token-form")
    page.wait_text("state", "ready")
    page.look_up("1")
    page.wait_text("version", "There is no document")
    page.write("1")
    page.click("save")
    page.wait_text("said", "does not allow")

    page.type("token", writer)
    page.submit("token-form")
    page.wait_text("token-note", "is sent")
    page.click("save")
    page.wait_text("said", "Created")
    assert server.ask("GET", "/docs/1", token=writer) == (200, "1")
    page.driver.refresh()
    page.wait_text("state", "ready")
    kept = page.driver.execute_script("return [JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]")
    assert writer in kept[0] and kept[1:] == ["{}", ""], kept
    assert writer not in page.driver.page_source and page.value("token") == ""
    assert not any(writer in url for url in page.requested())
    page.click("forget")
    page.wait_text("state", "token needed")
    assert page.driver.execute_script("return JSON.stringify(sessionStorage)") == "{}"
    assert page.faults() == []
    server.stop()


@check("it says when its server is gone")
def without_answer(page, server, keep):
    page.open(server.url)
    page.wait_text("state", "ready")
    server.stop()
    page.wait_text("state", "no figures")
    page.wait_text("notice", "does not answer")
    keep("gone-light")


def browser(profile):
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path, help="directory to keep pictures in")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="oxdaas-dashboard-") as scratch:
        directory = pathlib.Path(scratch)
        driver = browser(directory / "profile")
        page = Page(driver)

        def keep(name):
            if arguments.screenshots:
                arguments.screenshots.mkdir(parents=True, exist_ok=True)
                picture = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
                (arguments.screenshots / f"{name}.png").write_bytes(base64.b64decode(picture["data"]))

        failed = []
        try:
            # What the browser itself shows first is none of ours.
            driver.get("about:blank")
            page.requested()
            page.size(DESKTOP)
            server = Server(arguments.binary.resolve(), directory / "server")
            for name, function in CHECKS:
                began = time.monotonic()
                try:
                    function(page, server, keep)
                    print(f"ok   {name} ({time.monotonic() - began:.1f} s)", flush=True)
                except Exception:
                    failed.append(name)
                    print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
                    keep(f"failed-{len(failed)}")
                    # The next one begins with a page that this one did not touch.
                    page.size(DESKTOP)
                    page.scheme("light")
                    page.open(server.url)
        finally:
            driver.quit()
            for process in Server.started:
                process.kill()
    if failed:
        sys.exit(f"{len(failed)} of {len(CHECKS)} checks failed")


if __name__ == "__main__":
    main()
