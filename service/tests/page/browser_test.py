#!/usr/bin/env python3
"""Tests the page of the service in a headless browser, with a real service. Writes docs/page.png.

Needs Debian's chromium and chromium-driver, and installs them if it is root. It installs selenium in target/page.
To use a running service with a new demo database: `service/tests/page/browser_test.py http://… KEY`.
"""
import csv
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
VENV = ROOT / "target" / "page"

try:
    from selenium import webdriver
except ModuleNotFoundError:
    if "ENROLL_PAGE_VENV" in os.environ:
        raise
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    subprocess.run([VENV / "bin" / "pip", "install", "--quiet", "selenium==4.51.0"], check=True)
    os.execve(VENV / "bin" / "python", [str(VENV / "bin" / "python"), __file__, *sys.argv[1:]], {**os.environ, "ENROLL_PAGE_VENV": "1"})

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

PEOPLE = 260


def main():
    for tool in ("chromium", "chromedriver"):
        if not shutil.which(tool):
            packages = ["chromium", "chromium-driver", "pngquant", "optipng"]
            subprocess.run(["apt-get", "update"], check=True)
            subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", *packages], check=True)
            break
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if len(sys.argv) == 3:
            return browse(sys.argv[1], sys.argv[2], folder)
        with service(folder) as (url, key):
            browse(url, key, folder)


class service:
    """`enroll serve --demo` on a fresh database."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        subprocess.run(["cargo", "build", "--locked", "--quiet", "-p", "enroll-service"], cwd=ROOT, check=True)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        out = self.folder / "out"
        enroll = target / "debug" / "enroll"
        subprocess.run([enroll, "demo", "--write", self.folder / "demo"], stdout=subprocess.DEVNULL, check=True)
        command = [enroll, "serve", "--demo", "--listen", "127.0.0.1:0"]
        environment = {**os.environ, "ENROLL_DATABASE": str(self.folder / "enroll.db")}
        self.process = subprocess.Popen(command, env=environment, stdout=out.open("w"), stderr=subprocess.STDOUT)
        for _ in range(300):
            url = re.search(r"listening on (http://\S+)", out.read_text())
            key = re.search(r"enk_[\w-]+", out.read_text())
            if url and key:
                return url[1], key[0]
            assert self.process.poll() is None, out.read_text()
            time.sleep(0.1)
        raise AssertionError(f"the service did not start: {out.read_text()}")

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(30) == 0, "the service did not end with status 0"


def write_people(folder):
    """Writes a list with known, unknown and repeated people, and rows with faults."""
    names = ["Ann Lee", "José García", "Søren Nielsen", "Amara Okafor", 'Nia "N." Smith', "Chloé Dubois"]
    rows = [["phone", "name", "email", "city", "external_id"]]
    for n in range(PEOPLE):
        phone = f"+1 202 555 {4000 + n}"
        if n % 10 == 3:
            phone = ["12", "n/a", "+1 202", "see notes"][n // 10 % 4]
        if n % 20 == 6:
            phone = f"(202) 555-{4000 + n - 1}"
        email = "not an address" if n % 26 == 5 else f"person{n}@example.com"
        if n == 50:
            names[n % 6] = "<img src=x onerror=document.title='run'>"
        rows.append([phone, f"{names[n % 6]}, {n}", email, "Springfield", f"x-{n}"])
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    path = folder / "people.csv"
    path.write_text(text.getvalue(), encoding="utf-8-sig")
    return path


class Page:
    def __init__(self, url, folder):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        self.url = url
        self.size(1280, 800)
        self.media(prefers_color_scheme="light", prefers_reduced_motion="reduce")
        self.driver.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
        self.driver.get(url)

    def __getitem__(self, id):
        return self.driver.find_element(By.ID, id)

    def js(self, script, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

    def evaluate(self, expression, *arguments):
        """Evaluates an expression. `page` is the module of the script."""
        return self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            f"import('/app.js').then((page) => done({expression})).catch((e) => done(String(e.message)));", *arguments)

    def until(self, test, what):
        try:
            return WebDriverWait(self.driver, 30, 0.05).until(lambda _: test())
        except Exception as error:
            errors = [each.text for each in self.driver.find_elements(By.CSS_SELECTOR, ".error:not([hidden])")]
            raise AssertionError(f"{what}: {self['status'].text!r} {errors}") from error

    def press(self, *keys):
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def focused(self):
        return self.driver.switch_to.active_element.get_attribute("id")

    def tab_to(self, id, back=False):
        for _ in range(60):
            if self.focused() == id:
                return
            keys = webdriver.ActionChains(self.driver)
            if back:
                keys.key_down(Keys.SHIFT)
            keys.send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
        raise AssertionError(f"`{id}` cannot be reached with Tab")

    def choose_file(self, path):
        """Chooses a file. A headless browser has no file dialog."""
        self["file"].send_keys(str(path))

    def size(self, width, height):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})

    def media(self, **features):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]})

    def counts(self):
        tiles = self.js("""[...document.querySelectorAll('.tile')]
          .map((tile) => [tile.querySelector('input').value, tile.querySelector('strong').textContent])""")
        return {name: int(number.replace(",", "")) for name, number in tiles}

    def rows(self):
        return self.js("[...document.querySelectorAll('#rows tr')].map((r) => [...r.cells].map((c) => c.innerText.trim()))")

    def posts(self):
        return self.js("performance.getEntriesByType('resource').filter((e) => /contacts$/.test(e.name)).length")


STEPS = []


def step(function):
    STEPS.append(function)
    return function


@step
def each_code_of_the_rules_has_a_text(page, run):
    rules = (ROOT / "docs" / "rules.md").read_text()
    for title, table in (("Reasons of ignored recipients", "reasons"), ("Notes of recipients", "notes")):
        section = rules.split(f"## {title}")[1].split("\n## ")[0]
        codes = re.findall(r"^\| `(\w+)` \|", section, re.M)
        terms = f"document.getElementById('{table}').content.querySelectorAll('dt')"
        words = page.js(f"[...{terms}].map((term) => term.dataset.code)")
        assert words == codes and len(codes) > 5, (words, codes)


@step
def the_policy_allows_only_files_of_the_service(page, run):
    policy = urllib.request.urlopen(page.url).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy, policy
    assert page.js("performance.getEntriesByType('resource').every((e) => e.name.startsWith(location.origin))")


@step
def csv_is_read_like_on_the_command_line(page, run):
    text = 'phone,name\r\n1,"a\r\nb"\r\n\r\n2,"c ""d"" e"\n3,f"g\n\n,\n4,h'
    read = page.evaluate("page.readCsv(arguments[0])", text)
    assert (read["rows"], read["cells"][1][1]) == ([2, 4, 5, 8], 'c "d" e'), read
    assert page.evaluate("page.scanCsv(arguments[0]).unclosed", "phone,name\n1,a\n2,\"b\n3,c\n") == 3
    for text, problem in [("", "is empty"), ("phone\n", "no people"), ("phone;name\n1;2", "not separated by commas"),
                       ("phone,colour\n1,2", "“colour”"), ("phone,phone\n1,2", "twice"), ("phone,name\n1", "1 cell in row 2"),
                       ("city,address.city\n1,2", "same field"), ("phone,birth_date.day\n1,x", "not a whole number")]:
        error = page.evaluate("page.readCsv(arguments[0])", text)
        assert isinstance(error, str) and problem in error, (text, error)
    entry = page.evaluate("page.entry(arguments[0], arguments[1], {n: 'number', b: 'boolean', l: 'json'})",
                         ["phone", "address.city", "birth_date.day", "properties.n", "properties.b", "properties.l", "fix.row"],
                         ["", "Rome", "07", "1e16", "TRUE", "[1.0]", "9"])
    assert entry == '{"phone":"","address":{"city":"Rome"},"birth_date":{"day":7},"properties":{"n":1e16,"b":true,"l":[1.0]}}', entry


@step
def a_written_csv_has_no_formulas_and_is_read_unchanged(page, run):
    cells = ["=1+1", "+12025550187", "-1", "@x", "\tx", "\rx", "'=1", "''@x", "'t Hart", "a=b", ' "q",', ""]
    lines = [["phone", "name"], *[[cell, "Ann"] for cell in cells]]
    text = page.evaluate("page.writeCsv(arguments[0])", lines)
    written = [row[0] for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in written), written
    assert page.evaluate("page.readCsv(arguments[0])", text)["cells"] == lines[1:], text


@step
def json_entries_are_sent_unchanged(page, run):
    read = page.evaluate("page.readJson(arguments[0])", '{"a\\"]": [1], "to": [{"phone": "}\\\\", "properties": {"n": 3.0}}, 1e16 ], "from": "x"}')
    assert read["entries"] == ['{"phone": "}\\\\", "properties": {"n": 3.0}}', " 1e16 "], read
    assert [each.strip() for each in read["rest"]] == ['"a\\"]": [1]', '"from": "x"'], read
    for text, problem in [("{", "is not JSON"), ("3", "neither"), ("[]", "no people")]:
        assert problem in page.evaluate("page.readJson(arguments[0])", text)


@step
def a_wrong_key_is_reported_at_its_field(page, run):
    assert page.focused() == "key"
    page.press("enk_wrong", Keys.ENTER)
    page.until(lambda: "unknown or was revoked" in page["key-error"].text, "a wrong key")
    assert page["key"].get_attribute("aria-invalid") == "true" and page.focused() == "key"


@step
def a_key_loads_the_sequences_and_is_stored_in_the_tab(page, run):
    page.press(Keys.CONTROL + "a", run.key, Keys.ENTER)
    page.until(lambda: page["list-form"].is_displayed() and page.focused() == "sequence", "the sequences")
    assert "Spring outreach" in page["sequence"].text and "Step 3" in page["step"].text
    assert page.js("sessionStorage.getItem('key')") == run.key and page.js("localStorage.length + document.cookie.length") == 0


@step
def a_file_can_be_dropped_anywhere_and_an_invalid_one_is_reported(page, run):
    drop = """(() => { const data = new DataTransfer(); data.items.add(new File([new Uint8Array(arguments[0])], 'dropped.csv'));
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })); })()"""
    page.js(drop.replace("arguments[0]", "[112, 104, 111, 110, 101, 10, 255]"))
    page.until(lambda: "is not UTF-8" in page["list-error"].text, "a file that is not UTF-8")
    assert page.focused() == "drop"
    page.js(drop.replace("arguments[0]", "[112, 104, 111, 110, 101, 10, 49, 10]"))
    page.until(lambda: "1 person" in page["file-facts"].text and not page["list-error"].is_displayed(), "the file")
    assert page.driver.current_url.rstrip("/") == page.url.rstrip("/")


@step
def property_columns_show_the_form_for_custom_data(page, run):
    path = run.folder / "custom.csv"
    path.write_text("phone,properties.score\n+12025554001,7\n+12025554002,high\n")
    page.choose_file(path)
    page.until(lambda: page["custom"].is_displayed(), "the custom data")
    page.tab_to("object")
    page.press("00000000-0000-0000-0000-000000000bad")
    page.tab_to("preview")
    page.press(Keys.ENTER)
    page.until(lambda: "custom object" in page["object-error"].text.lower(), "an unknown object")
    assert page.focused() == "object"
    page.press(Keys.CONTROL + "a", "00000000-0000-0000-0000-00000000000b")
    page.tab_to("kind-0")
    page.press("num")
    page.tab_to("preview")
    page.press(Keys.ENTER)
    page.until(lambda: page["result"].is_displayed(), "the preview")
    reasons = [row[3] for row in page.rows()]
    assert reasons[0] == "" and "“score” is of the wrong type" in reasons[1], reasons


@step
def faults_of_the_request_show_their_rows(page, run):
    bad = run.folder / "bad.csv"
    bad.write_text("phone,name\n+12025554000,Ann\n+12025554001," + "x" * 256 + "\n\n+12025554002," + "y" * 256 + "\n")
    page.choose_file(bad)
    page.until(lambda: "3 people" in page["file-facts"].text, "the file")
    page.tab_to("preview")
    page.press(Keys.ENTER)
    page.until(lambda: "255" in page["list-error"].text, "the faults")
    assert "Rows 3, 5: `name`" in page["list-error"].text, page["list-error"].text
    assert page.focused() == "drop" and not page["result"].is_displayed()


@step
def the_demo_shows_every_outcome_and_the_screenshot_is_taken(page, run):
    if run.demo:
        page.choose_file(run.demo)
        page.until(lambda: "4,000 people" in page["file-facts"].text, "the file")
        page.tab_to("preview")
        page.press(Keys.ENTER)
        page.until(lambda: page["result"].is_displayed(), "the preview")
        counts = page.counts()
        assert counts["all"] == 4000 and all(counts[name] >= 50 for name in
            ("added", "re_added", "reprocessed", "ignored", "duplicate", "noted")), counts
        fixable = int(re.fullmatch(r"Download ([\d,]+) to fix", page["download"].text)[1].replace(",", ""))
        assert 0 < fixable < counts["ignored"], (fixable, counts)
        page.js("document.querySelector('input[value=ignored]').click()")
        screenshot = run.folder / "page.png"
        page.driver.save_screenshot(str(screenshot))
        store_screenshot(screenshot)
        page["search"].send_keys("opted out")
        assert all("opted out" in row[3] for row in page.rows()) and page.rows()
        page["search"].send_keys(Keys.CONTROL + "a", Keys.DELETE)


@step
def a_preview_writes_nothing_and_shows_the_counts(page, run):
    page.choose_file(write_people(run.folder))
    page.until(lambda: f"{PEOPLE} people" in page["file-facts"].text, "the file")
    page.tab_to("preview")
    page.press(Keys.ENTER)
    page.until(lambda: page["result"].is_displayed(), "the preview")
    assert page["result-title"].text.startswith("Preview: ") and page.focused() == "result-title"
    counts = run.counts = page.counts()
    assert counts["all"] == PEOPLE and counts["ignored"] == PEOPLE // 10, counts
    assert counts["all"] == sum(counts.get(name, 0) for name in ("added", "re_added", "reprocessed", "ignored", "duplicate"))
    assert counts["duplicate"] == 13 and counts["noted"] == 10, counts
    assert page.posts() == 0
    assert any("<img src=x" in row[1] for row in page.rows()) and page.driver.title == "Enroll a list"


@step
def outcomes_are_filtered_with_the_arrow_keys_and_by_text(page, run):
    assert len(page.rows()) == 100
    page.tab_to("more")
    page.press(Keys.SPACE)
    assert len(page.rows()) == 200
    page.press(Keys.SPACE)
    assert len(page.rows()) == PEOPLE and not page["more"].is_displayed()
    assert page.js("document.activeElement === document.querySelectorAll('#rows tr')[200]")
    page["result-title"].click()
    page.js("document.querySelector('input[name=shown]:checked').focus()")
    for _ in range(5):
        if page.js("document.activeElement.value") == "ignored":
            break
        page.press(Keys.ARROW_RIGHT)
    rows = page.rows()
    assert len(rows) == run.counts["ignored"] and {row[2] for row in rows} == {"Ignored"}, rows[:3]
    assert all("phone number is not valid" in row[3] for row in rows), rows[:3]
    page.tab_to("search")
    page.press("garcía 133")
    assert [row[0] for row in page.rows()] == ["135"], page.rows()
    assert page["shown"].text == "1 of 1 recipient shown"
    page.press(Keys.CONTROL + "a", "matches nothing")
    assert page["shown"].text == "No recipient matches."
    page.press(Keys.CONTROL + "a", Keys.DELETE)


@step
def dark_mode_and_a_narrow_screen_work(page, run):
    background = lambda: page.js("getComputedStyle(document.body).backgroundColor")
    light = background()
    assert page.js("getComputedStyle(document.querySelector('button')).transitionDuration") == "0s"
    assert low_contrast_texts(page) == []
    page.media(prefers_color_scheme="dark", prefers_reduced_motion="reduce")
    assert background() != light and low_contrast_texts(page) == []
    page.size(360, 740)
    assert page.js("document.documentElement.scrollWidth") == 360
    page.size(1280, 800)
    page.media(prefers_color_scheme="light", prefers_reduced_motion="reduce")


def low_contrast_texts(page):
    """Returns the texts whose contrast is below WCAG level AA."""
    return page.js("""(() => {
      const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = (c) => c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
      const background = (e) => {
        const colour = e ? rgb(getComputedStyle(e).backgroundColor) : [255, 255, 255];
        return colour[3] === 0 ? background(e.parentElement) : colour;
      };
      const ratio = (e) => {
        const both = [rgb(getComputedStyle(e).color), background(e)].map(light);
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
      };
      const hasText = (e) => e.checkVisibility() && [...e.childNodes].some((t) => t.nodeType === 3 && t.data.trim());
      return [...document.querySelectorAll('body *')].filter((e) => hasText(e) && ratio(e) < 4.5)
        .map((e) => `${ratio(e)} ${e.outerHTML.slice(0, 80)}`);
    })()""")


@step
def each_control_has_a_name_and_a_visible_focus(page, run):
    nameless = page.js("""[...document.querySelectorAll('input:not([hidden]), select, button')]
      .filter((e) => e.checkVisibility() && !(e.labels?.length || e.textContent.trim())).map((e) => e.id)""")
    assert nameless == [], nameless
    page.js("document.getElementById('search').focus()")
    page.tab_to("preview", back=True)
    assert page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@step
def a_double_click_enrolls_once(page, run):
    webdriver.ActionChains(page.driver).double_click(page["enroll"]).perform()
    page.until(lambda: page["result-title"].text.startswith("Enrolled: "), "the enrollment")
    run.enrolled = time.monotonic()
    assert page.posts() == 1 and page.counts() == run.counts, (page.counts(), run.counts)
    assert "Upload " in page["result-more"].text and not page["again"].is_displayed()


@step
def ignored_rows_are_downloaded_and_can_be_sent_again(page, run):
    page["download"].click()
    path = run.folder / "people-to-fix.csv"
    page.until(path.exists, "the download")
    original = list(csv.DictReader(io.StringIO((run.folder / "people.csv").read_text("utf-8-sig"))))
    fixes = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))
    assert len(fixes) == run.counts["ignored"]
    assert page["download"].text == f"Download {len(fixes)} to fix"
    assert any(fix["phone"] == "'+1 202" for fix in fixes) and not any(fix["phone"].startswith("+") for fix in fixes), fixes
    for fix in fixes:
        row = original[int(fix["fix.row"]) - 2]
        assert {name: fix[name].removeprefix("'") for name in row} == row, fix
        assert "phone number" in fix["fix.reason"] and "Correct the phone number" in fix["fix.hint"], fix
    page.choose_file(path)
    page.until(lambda: f"{len(fixes)} people" in page["file-facts"].text, "the download as a list")
    assert not page["result"].is_displayed() and not page["custom"].is_displayed()


@step
def the_same_list_returns_the_first_enrollment(page, run):
    page.until(lambda: time.monotonic() - run.enrolled > 3, "a receipt that is some seconds old")
    page.driver.refresh()
    page.until(lambda: page["list-form"].is_displayed(), "the key of the tab")
    page.choose_file(run.folder / "people.csv")
    page.until(lambda: "people" in page["file-facts"].text, "the file")
    page["preview"].click()
    page.until(lambda: page["result"].is_displayed(), "the preview")
    assert page.counts()["reprocessed"] == run.counts["added"], page.counts()
    page["enroll"].click()
    page.until(lambda: page["result-title"].text.startswith("Enrolled: "), "the first receipt")
    assert page.counts() == run.counts and "accepted before" in page["result-more"].text
    page["again"].click()
    page.until(lambda: page.counts().get("reprocessed") == run.counts["added"], "the list again")
    assert not page["again"].is_displayed()


@step
def more_than_4000_people_are_sent_as_several_requests(page, run):
    many = run.folder / "many.json"
    many.write_text("[" + ",".join(f'{{"phone": "+12025{550000 + n}"}}' for n in range(4001)) + "]")
    page.js("performance.clearResourceTimings()")
    page.choose_file(many)
    page.until(lambda: "4,001 people" in page["file-facts"].text, "the file")
    page["preview"].click()
    page.until(lambda: page["result"].is_displayed(), "the preview")
    assert page.counts()["all"] == 4001 and "2 requests" in page["result-more"].text
    page["enroll"].click()
    page.until(lambda: page["result-title"].text.startswith("Enrolled: "), "the enrollment")
    assert page.counts()["all"] == 4001 and page.posts() == 2


@step
def a_busy_service_is_tried_again_and_an_outage_is_reported(page, run):
    answers = lambda *list: page.driver.execute_script("""
      const answers = arguments[0]; const real = window.realFetch ??= window.fetch;
      window.fetch = (path, options) => {
        if (!answers.length) return real(path, options);
        const [status, body, headers] = answers.shift();
        return status ? Promise.resolve(new Response(JSON.stringify(body), { status, headers })) : Promise.reject(new TypeError('gone'));
      };""", list)
    accepted = [202, {"data": {"enrollment_id": "x", "accepted_at": "2999-01-01T00:00:00Z", "recipients": 1}}, {"Location": "/"}]
    ended = lambda state, error: [200, {"data": {"state": state, "attempts": 8, "error": error, "outcomes": [], "total": 0}}, {}]
    errors = lambda status, what: {"errors": [{"description": what, "code": "x", "path": ""}], "status": status}
    page.choose_file(run.folder / "people.csv")
    page.until(lambda: f"{PEOPLE} people" in page["file-facts"].text, "the file")
    answers([503, errors(503, "busy"), {"Retry-After": "1"}])
    page["preview"].click()
    page.until(lambda: "Trying again in 1 second" in page["status"].text, "the message that the service is busy")
    page.until(lambda: page["result"].is_displayed(), "the preview")
    answers([0])
    page["enroll"].click()
    page.until(lambda: "cannot be reached" in page["failure"].text and page.focused() == "failure", "the message that the service cannot be reached")
    answers(accepted, ended("failed", errors(500, "it was given up")))
    page["enroll"].click()
    page.until(lambda: "None of them were enrolled. It was given up." in page["failure"].text, "the message that the enrollment failed")
    assert not page["again"].is_displayed() and page["result-title"].text.startswith("Enrolled: 0 of")
    page["preview"].click()
    page.until(lambda: page["enroll"].is_displayed(), "the preview")
    answers(accepted, ended("rejected", errors(422, "the sequence is archived")))
    page["enroll"].click()
    page.until(lambda: "was rejected" in page["failure"].text, "the message that the enrollment was rejected")
    page["again"].click()
    page.until(lambda: page.counts().get("reprocessed") == run.counts["added"], "the rejected people again")
    assert not page["failure"].is_displayed()


@step
def a_key_that_was_revoked_is_removed(page, run):
    page.js("window.fetch = () => Promise.resolve(new Response('{}', { status: 401 }))")
    page["preview"].click()
    page.until(lambda: "unknown or was revoked" in page["key-error"].text, "a revoked key")
    assert page.focused() == "key" and page.js("sessionStorage.length") == 0


@step
def the_documentation_shows_every_operation(page, run):
    document = json.load(urllib.request.urlopen(f"{page.url}/openapi.json"))
    operations = sum(len(methods) for methods in document["paths"].values())
    page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source":
        "window.violations = []; addEventListener('securitypolicyviolation', (e) => violations.push(e.violatedDirective))"})
    page.driver.get(f"{page.url}/docs#/enrollments/enroll")
    shown = lambda: page.js("document.querySelectorAll('.opblock').length") == operations
    WebDriverWait(page.driver, 30, 0.05).until(lambda _: shown(), "the operations")
    example = "document.querySelector('.opblock.is-open')?.innerText ?? ''"
    WebDriverWait(page.driver, 30, 0.05).until(lambda _: "Ann Lee" in page.js(example), "the example of a request")
    loaded = page.js("performance.getEntriesByType('resource').map((e) => e.name)")
    assert all(name.startswith((page.url, "data:")) for name in loaded), loaded
    assert page.js("violations") == [], page.js("violations")


def browse(url, key, folder):
    page = Page(url, folder)
    demo = pathlib.Path(os.environ.get("ENROLL_PAGE_DEMO", folder / "demo" / "request.json"))
    run = type("Run", (), {"key": key, "folder": folder, "demo": demo if demo.exists() else None})
    try:
        for each in STEPS:
            each(page, run)
            print(f"ok    {each.__name__.replace('_', ' ')}", flush=True)
        unexpected = [line["message"] for line in page.driver.get_log("browser")
                      if line["level"] == "SEVERE" and not re.search(r"status of (401|422)", line["message"])]
        assert unexpected == [], unexpected
    except BaseException:
        page.driver.save_screenshot(str(ROOT / "target" / "page-failed.png"))
        raise
    finally:
        page.driver.quit()


def store_screenshot(picture):
    """Copies the screenshot to docs. Reduces its colours if the tools are installed."""
    for tool in (["pngquant", "--force", "--output", picture, "64", picture], ["optipng", "-quiet", picture]):
        if shutil.which(tool[0]):
            subprocess.run(tool, check=True)
    shutil.copyfile(picture, ROOT / "docs" / "page.png")


main()
