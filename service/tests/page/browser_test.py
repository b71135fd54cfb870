#!/usr/bin/env python3
"""Tests the page of the service in a headless browser, with a real service. Writes the screenshots in docs/page.

Needs Debian's chromium and chromium-driver, and installs them if it is root. It installs selenium and axe in target/page.
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
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
VENV = ROOT / "target" / "page"

try:
    import axe_core_python
    from selenium import webdriver
except ModuleNotFoundError:
    if "ENROLL_PAGE_VENV" in os.environ:
        raise
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    subprocess.run([VENV / "bin" / "pip", "install", "--quiet", "selenium==4.51.0", "axe-core-python==0.1.0"], check=True)
    os.execve(VENV / "bin" / "python", [str(VENV / "bin" / "python"), __file__, *sys.argv[1:]], {**os.environ, "ENROLL_PAGE_VENV": "1"})

from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

PICTURES = ROOT / "docs" / "page"
AXE = pathlib.Path(axe_core_python.__file__).parent / "axe.min.js"


def main():
    for tool in ("chromium", "chromedriver"):
        if not shutil.which(tool):
            packages = ["chromium", "chromium-driver", "pngquant", "optipng"]
            subprocess.run(["apt-get", "update"], check=True)
            subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", *packages], check=True)
            break
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run(["cargo", "build", "--locked", "--quiet", "-p", "enroll-service"], cwd=ROOT, check=True)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        enroll = target / "debug" / "enroll"
        subprocess.run([enroll, "demo", "--write", folder / "demo"], stdout=subprocess.DEVNULL, check=True)
        if len(sys.argv) == 3:
            return browse(sys.argv[1], sys.argv[2], folder)
        with service(folder, enroll) as (url, key):
            browse(url, key, folder)


class service:
    """`enroll serve --demo` on a fresh database."""

    def __init__(self, folder, enroll):
        self.folder, self.enroll = folder, enroll

    def __enter__(self):
        out = self.folder / "out"
        command = [self.enroll, "serve", "--demo", "--listen", "127.0.0.1:0"]
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


def write_lists(folder):
    """Writes the demo request as a CSV, and a list that is too large for one request."""
    request = json.loads((folder / "demo" / "request.json").read_text())
    with (folder / "demo.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["Phone", "Email", "Name", "City", "Country", "properties.score", "Shoe size"])
        for person in request["to"]:
            address = person.get("address") or {}
            score = (person.get("properties") or {}).get("score", "")
            lines.writerow([person.get("phone") or "", person.get("email") or "", person.get("name") or "",
                            address.get("city", ""), address.get("country", ""), score, 40])
    many = "".join(f"+1202{5550000 + n},Person {n}\n" for n in range(4200))
    (folder / "many.csv").write_text("phone,name\n" + many)
    sample = (ROOT / "service" / "src" / "http" / "page" / "sample.csv").read_text()
    rows = sample.splitlines()
    (folder / "people.csv").write_text("\n".join([*rows, "<img src=x onerror=document.title='run'>,x,+1 415 555 0150,,,no"]) + "\n")


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
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source":
            "window.violations = []; addEventListener('securitypolicyviolation', (e) => violations.push(e.violatedDirective))"})
        self.driver.get(url)

    def __getitem__(self, id):
        return self.driver.find_element(By.ID, id)

    def js(self, script, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def has(self, selector, text=""):
        """Returns true if a visible element of the selector contains a text."""
        return self.js("""[...document.querySelectorAll(arguments[0])]
          .some((e) => e.checkVisibility() && e.innerText.includes(arguments[1]))""", selector, text)

    def evaluate(self, module, expression, *arguments):
        """Evaluates an expression. `it` is a module of the page."""
        return self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            f"import('/{module}').then((it) => done({expression})).catch((e) => done(String(e.message)));", *arguments)

    def until(self, test, what):
        try:
            return WebDriverWait(self.driver, 60, 0.05, (NoSuchElementException, StaleElementReferenceException)).until(lambda _: test())
        except Exception as error:
            raise AssertionError(f"{what}: {self.js('location.hash')} {self.js('document.body.innerText')!r}") from error

    def press(self, *keys):
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def focused(self):
        return self.driver.switch_to.active_element.get_attribute("id")

    def tab_to(self, selector, back=False):
        for _ in range(80):
            if self.js("document.activeElement.matches(arguments[0])", selector):
                return
            keys = webdriver.ActionChains(self.driver)
            if back:
                keys.key_down(Keys.SHIFT)
            keys.send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
        raise AssertionError(f"`{selector}` cannot be reached with Tab")

    def click(self, selector, text=""):
        """Clicks the first visible element of the selector that contains a text."""
        self.until(lambda: self.has(selector, text), f"{selector} {text}")
        self.js("""[...document.querySelectorAll(arguments[0])]
          .find((e) => e.checkVisibility() && e.innerText.includes(arguments[1])).click()""", selector, text)

    def choose_file(self, path):
        """Chooses a file. A headless browser has no file dialog."""
        self["file"].send_keys(str(path))

    def choose(self, selector, value):
        """Chooses an option of a menu, as a person does."""
        self.js("""(() => { const menu = document.querySelector(arguments[0]); menu.value = arguments[1];
          menu.dispatchEvent(new Event('change', { bubbles: true })); })()""", selector, value)

    def go(self, place):
        self.js("(location.hash = arguments[0])", place)

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
        return self.js("[...document.querySelectorAll('.entry')].map((r) => [...r.children].map((c) => c.innerText.trim()))")

    def posts(self):
        """Returns how often a list was sent to be enrolled."""
        return self.js("performance.getEntriesByType('resource').filter((e) => /lists[?]sequence_id=[0-9a-f-]+$/.test(e.name)).length")

    def check(self, name, at=None):
        """Checks the view with axe, on a wide and a narrow screen, in the light and the dark. Takes a screenshot of it."""
        self.driver.execute_script("window.scrollTo(0, 0)")
        self.driver.execute_script(AXE.read_text())
        for width, scheme in ((1280, "light"), (390, "light"), (390, "dark"), (1280, "dark")):
            self.size(width, 800)
            self.media(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
            found = self.driver.execute_async_script("""const done = arguments[0];
              axe.run().then(({ violations }) => done(violations.map((v) => [v.id, v.nodes.slice(0, 3).map((n) => n.html + n.failureSummary)])));""")
            assert found == [], (name, width, scheme, found)
            wide = self.js("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert wide[0] <= wide[1], (name, width, wide)
            # A word is broken if the text of an element with one word takes two lines.
            broken = self.js("""[...document.querySelectorAll('button, .button, th, label, .badge, .tile span, .steps li, #pages a')]
              .filter((e) => e.checkVisibility() && e.innerText.trim() && !/[\\s-]/.test(e.innerText.trim()))
              .filter((e) => { const range = document.createRange(); range.selectNodeContents(e);
                const tops = [...range.getClientRects()].filter((r) => r.width > 1).map((r) => Math.round(r.top));
                return Math.max(...tops) - Math.min(...tops) > 12; }).map((e) => e.innerText)""")
            assert broken == [], (name, width, broken)
        self.size(1280, 800)
        self.media(prefers_color_scheme="light", prefers_reduced_motion="reduce")
        if at:
            self.js("document.querySelector(arguments[0]).scrollIntoView({ block: 'center' })", at)
        self.picture(name)

    def picture(self, name):
        """Stores a screenshot. Reduces its colours if the tools are installed."""
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / f"{name}.png"
            self.driver.save_screenshot(str(file))
            for tool in (["pngquant", "--force", "--output", file, "64", file], ["optipng", "-quiet", file]):
                if shutil.which(tool[0]):
                    subprocess.run(tool, check=True)
            PICTURES.mkdir(exist_ok=True)
            shutil.copyfile(file, PICTURES / f"{name}.png")


STEPS = []


def step(function):
    STEPS.append(function)
    return function


@step
def each_code_of_the_rules_has_a_text(page, run):
    rules = (ROOT / "docs" / "rules.md").read_text()
    for title, table in (("Reasons of ignored recipients", "REASONS"), ("Notes of recipients", "NOTES")):
        section = rules.split(f"## {title}")[1].split("\n## ")[0]
        codes = re.findall(r"^\| `(\w+)` \|", section, re.M)
        assert page.evaluate("texts.js", f"Object.keys(it.{table})") == codes and len(codes) > 5, codes
        assert page.evaluate("texts.js", f"Object.keys(it.{table}).filter((code) => !it.SHORT[code])") == []
    entry = (ROOT / "import" / "src" / "entry.rs").read_text()
    for name, table in (("SetAsideReason", "SET_ASIDE"), ("Note", "READING_NOTES")):
        body = entry.split(f"pub enum {name} {{")[1].split("\n}")[0]
        codes = [re.sub(r"(?<!^)([A-Z])", r"_\1", each).lower() for each in re.findall(r"^    (\w+)(?:,| \{)$", body, re.M)]
        assert page.evaluate("texts.js", f"Object.keys(it.{table})") == codes and len(codes) > 3, codes


@step
def the_policy_allows_only_files_of_the_service(page, run):
    policy = urllib.request.urlopen(page.url).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy, policy


@step
def a_wrong_key_is_reported_at_its_field(page, run):
    page.until(lambda: page.focused() == "key", "the sign-in")
    page.check("sign-in")
    page.press("enk_wrong", Keys.ENTER)
    page.until(lambda: "unknown" in page["key-error"].text, "a wrong key")
    assert page["key"].get_attribute("aria-invalid") == "true" and page.focused() == "key"


@step
def a_key_signs_in_and_is_kept_in_the_tab(page, run):
    page.press(Keys.CONTROL + "a", run.key, Keys.ENTER)
    page.until(lambda: page.has("#drop", "Choose a list"), "the first step")
    assert page.js("sessionStorage.getItem('key')") == run.key and page.js("localStorage.length + document.cookie.length") == 0
    page.driver.refresh()
    page.until(lambda: page.has("#drop"), "the first step after a reload")
    page.click("#sign-out")
    page.until(lambda: page.focused() == "key", "the sign-in")
    assert page.js("sessionStorage.length") == 0


@step
def a_link_signs_in_and_does_not_stay_in_the_address(page, run):
    page.driver.get(f"{page.url}/#key={run.key}")
    page.driver.refresh()
    page.until(lambda: page.has("#drop"), "the first step")
    assert page.js("location.hash") == "#/new" and run.key not in page.driver.current_url
    page.check("file")


@step
def a_file_can_be_dropped_anywhere_and_an_invalid_one_is_reported(page, run):
    drop = """(() => { const data = new DataTransfer(); data.items.add(new File([arguments[0]], arguments[1]));
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })); })()"""
    page.js(drop, "<html><body>no list</body></html>", "page.html")
    page.until(lambda: page.has("#file-problem .notice.bad", "The file is HTML"), "a file that is no list")
    assert page.focused() == "drop"
    page.js(drop, "Colour,Size\nred,3\n", "things.csv")
    page.until(lambda: page.has("h1", "columns"), "the columns")
    page.click(".actions .primary")
    page.until(lambda: page.has(".notice.bad", "phone, the email or the external id"), "the column that is missing")
    assert page.driver.current_url.startswith(page.url)


@step
def each_column_has_a_field_that_can_be_changed(page, run):
    page.go("#/new")
    page.until(lambda: page.has("#drop"), "the first step")
    page.choose_file(run.folder / "people.csv")
    page.until(lambda: page.has("table.columns", "First name"), "the columns")
    values = page.js("Object.fromEntries([...document.querySelectorAll('table.columns tbody tr')].map((r) => [r.cells[0].innerText, r.querySelector('select').value]))")
    assert values == {"First name": "first_name", "Last name": "last_name", "Phone": "phone", "Email": "email", "City": "city", "Unsubscribed": ""}, values
    assert page.has(".samples", "ann.lee@example.com") and page.has(".notice.warn", "Unsubscribed")
    page.click(".actions .primary")
    page.until(lambda: page.has(".notice.bad", "Choose what “Unsubscribed” means"), "the column about consent")
    assert page.focused() == "column-6"
    page.check("consent", "#column-6")
    page.choose("#column-6", "opted_out")
    page.choose("#column-5", "")
    page.tab_to(".actions .primary")
    page.press(Keys.ENTER)
    page.until(lambda: page.has("h1", "Where do they go?"), "the options")
    page.driver.back()
    page.until(lambda: page.has("table.columns"), "the columns again")
    assert page.js("[document.getElementById('column-5').value, document.getElementById('column-6').value]") == ["", "opted_out"]
    page.driver.forward()


@step
def options_are_chosen_and_checked(page, run):
    page.until(lambda: page.has("#sequence"), "the options")
    assert page.js("document.getElementById('sequence').selectedOptions[0].text") == "Spring outreach"
    assert page.js("[...document.getElementById('step_id').options].map((o) => o.text)")[2] == "Step 3, by phone (call or text message)"
    assert page.js("document.getElementById('step_id').selectedIndex") == 0
    assert "+12025550100" in page.js("document.getElementById('from').textContent")
    page.check("options")
    page.click(".choice", "Later")
    page.tab_to("form .primary")
    page.press(Keys.ENTER)
    page.until(lambda: "date" in page["schedule_at-error"].text, "a schedule without a date")
    page.click(".choice", "At once")
    page.choose("#default_region", "US")
    page.tab_to("form .primary")
    page.press(Keys.ENTER)
    page.until(lambda: page.has(".entry"), "the preview")


@step
def a_preview_writes_nothing_and_shows_each_row(page, run):
    counts = page.counts()
    assert (counts["all"], counts["added"], counts["ignored"], counts["duplicate"], counts["set_aside"]) == (8, 5, 1, 1, 1), counts
    assert page.has("h1", "5 of 8 people would be enrolled") and page.posts() == 0
    rows = {row[0].split()[-1]: row for row in page.rows()}
    assert rows["3"][2] == "+14155550187", rows
    assert "The same person as row 2" in rows["6"][4] and "Opted out" not in rows["6"][4], rows
    assert "not valid" in rows["7"][4] and "Correct the phone number" in rows["7"][4], rows
    assert "opted out" in rows["8"][4], rows
    assert "<img src=x" in rows["9"][1] and page.driver.title != "run", rows


@step
def a_row_is_corrected_in_place_left_out_and_restored(page, run):
    page.js("document.querySelector('.entry[data-index=\"5\"] .toggle').focus()")
    page.press(Keys.ENTER)
    page.until(lambda: page.focused() == "cell-3", "the cell with the fault")
    page.check("edit", ".entry.open")
    page.js("document.getElementById('cell-3').focus()")
    page.press(Keys.CONTROL + "a", "+234 803 123 4567", Keys.ENTER)
    page.until(lambda: page.has("h1", "6 of 8"), "the corrected row")
    assert page.has(".changes", "Row 7 changed.") and "ignored" not in page.counts()
    page.click(".entry[data-index='0'] .toggle")
    page.click(".entry button", "Leave this row out")
    page.until(lambda: page.has("h1", "6 of 7"), "a list without the row")
    assert page.has(".changes", "Row 7 changed. Row 2 left out.") and "duplicate" not in page.counts()
    page.click(".changes button", "Undo the last change")
    page.until(lambda: page.has("h1", "6 of 8"), "the row again")
    page.click(".changes button", "Undo the last change")
    page.until(lambda: page.has("h1", "5 of 8"), "the first preview")


@step
def the_choices_survive_a_reload_and_the_file_is_chosen_again(page, run):
    page.driver.refresh()
    page.until(lambda: page.has(".notice.warn", "Choose people.csv again."), "the notice")
    page.choose_file(run.folder / "people.csv")
    page.until(lambda: page.has("table.columns"), "the columns")
    assert page.js("[document.getElementById('column-5').value, document.getElementById('column-6').value]") == ["", "opted_out"]
    page.go("#/new/options")
    page.until(lambda: page.has("#default_region"), "the options")
    assert page["default_region"].get_attribute("value") == "US"


@step
def a_preview_of_4000_rows_is_fast_and_shows_every_outcome(page, run):
    page.go("#/new")
    page.until(lambda: page.has("#drop"), "the first step")
    page.choose_file(run.folder / "demo.csv")
    page.until(lambda: page.has("table.columns", "Shoe size"), "the columns")
    assert page.js("document.getElementById('column-6').value").endswith("/properties.score")
    assert page.has("caption", "1 column not used")
    page.check("columns")
    page.click(".actions .primary")
    page.until(lambda: page.has("#sequence"), "the options")
    took = page.driver.execute_async_script("""const done = arguments[0]; const start = performance.now();
      const wait = () => (document.querySelector('.entry') ? done(performance.now() - start) : requestAnimationFrame(wait));
      document.querySelector('form .primary').click(); wait();""")
    print(f"      a preview of 4000 rows took {took:.0f} ms from the click to the rows", flush=True)
    counts = run.counts = page.counts()
    assert counts["all"] == 4000 and all(counts[name] >= 50 for name in
        ("added", "re_added", "reprocessed", "ignored", "duplicate", "noted")), counts
    assert counts["all"] == sum(n for name, n in counts.items() if name not in ("all", "noted")), counts


@step
def rows_are_rendered_in_windows(page, run):
    assert page.js("document.querySelectorAll('.entry').length") < 60
    frames = page.driver.execute_async_script("""const done = arguments[0]; const times = []; let last = performance.now();
      const height = document.documentElement.scrollHeight;
      const next = (now) => { times.push(now - last); last = now;
        if (times.length === 60) return done([times.sort((a, b) => a - b)[30], window.scrollY, height]);
        window.scrollBy(0, height / 60); requestAnimationFrame(next); };
      requestAnimationFrame(next);""")
    print(f"      scrolling through 4000 rows: {frames[0]:.0f} ms a frame (median)", flush=True)
    page.js("window.scrollTo(0, document.documentElement.scrollHeight)")
    page.until(lambda: page.rows() and page.rows()[-1][0].split()[-1] == "4,001", "the last row")
    assert page.js("document.querySelectorAll('.entry').length") < 60
    assert page.js("document.querySelector('[role=table]').getAttribute('aria-rowcount')") == "4001"
    tops = page.js("[...document.querySelectorAll('.entry')].map((r) => [r.getBoundingClientRect().top, r.getBoundingClientRect().bottom])")
    assert all(abs(a[1] - b[0]) < 1 for a, b in zip(tops, tops[1:])), tops
    assert page.js("Math.abs(document.querySelector('.body').getBoundingClientRect().bottom - document.querySelector('.entry:last-child').getBoundingClientRect().bottom) < 2")
    page.js("window.scrollTo(0, 0)")
    page.until(lambda: page.rows()[0][0].split()[-1] == "2", "the first row")


@step
def rows_are_filtered_sorted_and_searched_with_the_keyboard(page, run):
    page.js("document.querySelector('.tile input:checked').focus()")
    for _ in range(6):
        if page.js("document.activeElement.value") == "ignored":
            break
        page.press(Keys.ARROW_RIGHT)
    assert page.has(".shown", f"{run.counts['ignored']:,} rows shown") and {row[3] for row in page.rows()} == {"Ignored"}
    page.check("preview")
    page.choose("#reason", "opted_out")
    assert all("opted out" in row[4] for row in page.rows()) and page.rows()
    page.choose("#reason", "")
    page.tab_to("#search")
    page.press("opted out")
    assert all("opted out" in row[4] for row in page.rows()) and page.rows()
    page.press(Keys.CONTROL + "a", "matches nothing")
    page.until(lambda: page.has(".shown", "No row matches."), "no row")
    page.press(Keys.CONTROL + "a", Keys.DELETE)
    page.tab_to("[data-sort=name] button")
    page.press(Keys.ENTER)
    names = [row[1].split("\n")[0] for row in page.rows()]
    assert names == page.js("arguments[0].sort((a, b) => a.localeCompare(b))", names) and len(set(names)) > 1, names
    assert page.find("[data-sort=name]").get_attribute("aria-sort") == "ascending"
    page.press(Keys.ENTER)
    assert page.find("[data-sort=name]").get_attribute("aria-sort") == "descending"


@step
def a_double_click_enrolls_once_and_the_result_survives_a_reload(page, run):
    page.js("performance.clearResourceTimings()")
    webdriver.ActionChains(page.driver).double_click(page["enroll"]).perform()
    page.until(lambda: page.has("h1", "Enrolled: ") and page.has(".entry:not(.loading)"), "the result")
    run.list = page.js("location.hash")
    assert page.posts() == 1 and re.fullmatch(r"#/lists/[0-9a-f-]{36}", run.list), (page.posts(), run.list)
    same = run.counts
    assert page.counts() == same, (page.counts(), same)
    assert page.has(".lead", "have the tag “Upload ")
    page.driver.refresh()
    page.until(lambda: page.has("h1", "Enrolled: ") and page.has(".entry:not(.loading)"), "the result after a reload")
    assert page.counts() == same
    page.check("result")
    page.click(".tile.ignored")
    page.until(lambda: page.rows() and {row[3] for row in page.rows()} == {"Ignored"}, "the ignored rows")
    page.js("window.scrollTo(0, document.documentElement.scrollHeight)")
    page.until(lambda: page.has(".entry:not(.loading)") and not page.has(".entry.loading"), "rows of the last page")


@step
def all_rows_and_the_rows_to_fix_are_downloaded(page, run):
    page.click("#rows")
    result = run.folder / "demo-result.csv"
    page.until(result.exists, "the download of all rows")
    lines = list(csv.DictReader(io.StringIO(result.read_text("utf-8-sig"))))
    assert len(lines) == 4000 and {"Phone", "Email", "outcome", "reasons", "notes"} <= set(lines[0]), lines[0]
    page.click("#to_fix")
    fix = run.folder / "demo-to-fix.csv"
    page.until(fix.exists, "the download of the rows to fix")
    fixes = list(csv.DictReader(io.StringIO(fix.read_text("utf-8-sig"))))
    assert 0 < len(fixes) < run.counts["ignored"] and all(line["problem"] for line in fixes), len(fixes)
    assert not any(cell.startswith(("=", "+", "-", "@")) for line in fixes for cell in line.values()), fixes[0]


@step
def a_list_that_was_accepted_is_recognized(page, run):
    page.go("#/new")
    page.until(lambda: page.has("#drop"), "the first step")
    page.choose_file(run.folder / "demo.csv")
    page.until(lambda: page.has("table.columns"), "the columns")
    page.click(".actions .primary")
    page.click("form .primary")
    page.until(lambda: page.has(".notice.warn", "This list was accepted before"), "the notice")
    assert page.find(".notice.warn a").get_attribute("href").endswith(run.list)
    assert page.counts()["reprocessed"] == run.counts["reprocessed"] and page.has("h1", "Accepted before"), page.counts()
    page.click("#enroll", "once more")
    page.until(lambda: page.has("h1", "Enrolled: "), "the second result")
    assert page.js("location.hash") != run.list
    page.until(lambda: page.counts().get("reprocessed", 0) > run.counts["reprocessed"], "the counts")


@step
def more_than_4000_people_are_previewed_with_progress(page, run):
    page.go("#/new")
    page.until(lambda: page.has("#drop"), "the first step")
    page.choose_file(run.folder / "many.csv")
    page.until(lambda: page.has("table.columns"), "the columns")
    page.click(".actions .primary")
    page.click("form .primary")
    page.until(lambda: re.fullmatch(r"#/new/preview/[0-9a-f-]{36}", page.js("location.hash")), "the id of the preview")
    page.driver.refresh()
    page.until(lambda: page.has("h1", "of 4,200 people would be enrolled"), "the preview after a reload")
    assert page.has(".notice.warn", "choose many.csv again") and page.counts()["all"] == 4200
    page.until(lambda: page.has(".entry:not(.loading)"), "the rows")
    page.js("window.scrollTo(0, document.documentElement.scrollHeight)")
    page.until(lambda: page.rows() and page.rows()[-1][0].split()[-1] == "4,201", "the last row")
    page.js("window.scrollTo(0, 0)")
    page.click(".notice.warn a", "Choose the file")
    page.until(lambda: page.has("#drop"), "the first step")
    page.choose_file(run.folder / "many.csv")
    page.until(lambda: page.has("table.columns"), "the columns")
    page.click(".actions .primary")
    page.click("form .primary")
    page.click("#enroll")
    page.until(lambda: page.has("h1", "Enrolled: ") and page.counts()["all"] == 4200, "the result")
    assert page.has(".lead", "In 2 parts")


@step
def the_history_has_lists_and_enrollments(page, run):
    page.click("#pages a", "History")
    page.until(lambda: page.has("table.rows", "many.csv"), "the history")
    files = page.js("[...document.querySelectorAll('table.rows tbody tr')].map((r) => r.cells[0].innerText)")
    assert files == ["many.csv", "demo.csv", "demo.csv"], files
    assert page.has(".badge", "Completed") and page.has("td", "Spring outreach")
    page.check("history")
    page.choose("#state", "failed")
    page.until(lambda: page.has(".shown", "No list"), "no failed list")
    page.click(".tabs a", "All enrollments")
    page.until(lambda: page.js("document.querySelectorAll('table.rows tbody tr').length") == 4, "the enrollments")
    page.check("enrollments")
    page.click("table.rows a")
    page.until(lambda: page.has("h1", "Enrollment of") and page.has(".entry:not(.loading)"), "an enrollment")
    page.check("enrollment")
    page.driver.back()
    page.until(lambda: page.has("table.rows"), "the history again")


def answered(page, run, name, text):
    """Chooses a file with two columns about consent, and answers both. Returns the number of notices after each answer."""
    (run.folder / name).write_text(text)
    page.go("#/new")
    page.until(lambda: page.has("#drop"), "the first step")
    page.choose_file(run.folder / name)
    page.until(lambda: page.has("table.columns"), "the columns")
    notices = []
    for position, value in ((4, "opted_in"), (5, "opted_out")):
        notices.append(page.js("document.querySelectorAll('.step .notice.warn').length"))
        page.choose(f"#column-{position}", value)
        if position == 4:
            page.click(".actions .primary")
            page.until(lambda: page.has(".notice.bad", "Unsubscribed"), "the column that is left")
            notices.append(page.js("document.querySelectorAll('.step .notice.warn').length"))
    return [*notices, page.js("document.querySelectorAll('.step .notice').length")]


def preview_list(page):
    page.click(".actions .primary")
    page.until(lambda: page.has("#default_region"), "the options")
    page.choose("#default_region", "US")
    page.click("form .primary")
    page.until(lambda: page.has(".entry"), "the preview")


def edits(page):
    return page.js("JSON.parse(sessionStorage.getItem('draft')).edits")


LEADS = """Phone,Name,Notes,Opt-in?,Unsubscribed
(415) 555-0190,Ann Two,"line one
line two",yes,no
+1 415 555 0191,Bo Two,,yes,no
+1 415 555 0192,Cy Two,,yes,yes
see notes,Di Two,,yes,no
,,,yes,no
"""


@step
def a_file_that_is_refused_is_forgotten(page, run):
    for name, text, problem in (("head.csv", "Phone,Name\n", "no rows with people"), ("empty.csv", "", "empty.csv cannot be used")):
        (run.folder / name).write_text(text)
        page.go("#/new")
        page.until(lambda: page.has("#drop"), "the first step")
        page.choose_file(run.folder / name)
        page.until(lambda: page.has("#file-problem .notice.bad", problem), name)
        assert page.js("location.hash") == "#/new" and not page.has(".actions .primary"), name
        page.driver.refresh()
        page.until(lambda: page.has("#drop"), "the first step after a reload")
        assert not page.has(".notice"), name


@step
def a_notice_about_consent_ends_with_its_answer(page, run):
    assert answered(page, run, "leads.csv", LEADS) == [2, 0, 0, 0]


@step
def a_change_of_a_row_keeps_the_other_cells_and_is_undone_once(page, run):
    preview_list(page)
    page.until(lambda: page.has("h1", "2 of 5"), "the preview")
    assert page.has(".entry", "Unsubscribed: The list says that the person opted out.")
    assert page.has(".entry", "The row has no name, no phone number and no email address.")
    assert "opted_out_in_list" in page.js("[...document.querySelectorAll('#reason option')].map((e) => e.value)")
    for number in ("(415) 555-0193", "(415) 555-0194"):
        page.click(".entry[data-index='0'] .toggle")
        page.until(lambda: page.has("#cell-1"), "the cells")
        assert page["cell-3"].get_attribute("value") == "line one\nline two"
        page["cell-1"].clear()
        page["cell-1"].send_keys(number, Keys.ENTER)
        page.until(lambda: page.has(".changes") and edits(page)[-1]["text"] == number and not page.has("[inert]"), number)
        assert [(each["column"], each["text"]) for each in edits(page)] == [(1, number)]
    page.click(".changes button", "Undo the last change")
    page.until(lambda: [each["text"] for each in edits(page)] == ["(415) 555-0193"] and not page.has("[inert]"), "the first change")
    page.click(".entry[data-index='3'] .toggle")
    page.until(lambda: page.focused() == "cell-1", "the field with the fault")
    assert page["cell-1"].get_attribute("aria-invalid") == "true"
    page.click(".entry button", "Cancel")


@step
def the_counts_of_a_result_agree(page, run):
    page.click("#enroll", "Enroll 2 people")
    page.until(lambda: page.has("h1", "Enrolled: 2 of 5 people") and page.has(".entry:not(.loading)"), "the result")
    assert page.has(".lead", "With changes in 1 row") and page.has(".entry .phone", "+14155550193")
    assert "`" not in page.js("document.getElementById('main').innerText")
    assert page.js("[...document.querySelectorAll('.entry .reason')].map((e) => e.innerText.split('Unsubscribed').length - 1)") == [0, 0, 1, 0, 0]
    page.size(390, 800)
    heights = "[...document.querySelectorAll('.entry')].map((e) => e.offsetHeight)"
    page.until(lambda: page.js(heights)[0] < 110 < page.js(heights)[2], "rows as high as their texts")
    cut = """[...document.querySelectorAll('.entry > *, .entry .reason p')].filter((e) => e.scrollHeight > e.clientHeight + 1).map((e) => e.innerText)"""
    assert page.js(cut) == [], page.js(cut)
    page.size(1280, 800)
    run.leads = page.js("location.hash")
    page.go("#/history")
    page.until(lambda: page.has("table.rows", "leads.csv"), "the history")
    assert page.js("[...document.querySelectorAll('table.rows strong')][0].innerText") == "5 people"
    page.go(run.leads.replace("lists", "enrollments"))
    page.until(lambda: page.has(".entry .name", "Ann Two") and page.has("main", "which has 1 person more"), "the enrollment")
    assert page.has(".entry .phone", "+14155550193")


@step
def people_who_are_in_the_step_already_are_named_and_left_out(page, run):
    answered(page, run, "renamed.csv", LEADS)
    preview_list(page)
    page.until(lambda: page.has(".notice.warn", "1 person of this list is in this step already."), "the notice")
    assert page.find(".notice.warn li a").get_attribute("href").endswith(run.leads) and page.has(".notice.warn li", "leads.csv")
    assert page.has("#enroll", "Enroll 2 people, 1 of them again") and page.has(".badge.reprocessed", "Starts again")
    page.check("again")
    page.click("#leave-out")
    page.until(lambda: page.has("h1", "1 of 4") and not page.has(".notice.warn"), "the list without this person")


@step
def a_list_that_was_accepted_shows_the_numbers_that_were_used(page, run):
    answered(page, run, "same.csv", LEADS.replace("0191", "0197"))
    preview_list(page)
    page.click("#enroll")
    page.until(lambda: page.has("h1", "Enrolled: "), "the result")
    answered(page, run, "same.csv", LEADS.replace("0191", "0197"))
    preview_list(page)
    page.until(lambda: page.has("h1", "Accepted before"), "the preview")
    assert page.has(".entry .phone", "+14155550190") and page.has(".lead", "nothing more happens")
    assert not page.has(".entry .phone", "see notes")


@step
def a_busy_service_is_tried_again_and_an_outage_is_reported(page, run):
    page.driver.execute_script("""const real = window.fetch; let busy = true;
      window.fetch = (...request) => { if (!busy) return real(...request); busy = false;
        return Promise.resolve(new Response('{"errors": []}', { status: 503, headers: { 'Retry-After': '1' } })); };""")
    page.go("#/history")
    page.until(lambda: "Trying again in 1 second" in page.js("document.getElementById('announcer').textContent"), "the message that the service is busy")
    page.until(lambda: page.has("table.rows", "many.csv"), "the history")
    page.driver.execute_script("window.fetch = () => Promise.reject(new TypeError('gone'));")
    page.go("#/history/enrollments")
    page.until(lambda: page.has(".notice.bad", "cannot be reached"), "the message that the service cannot be reached")
    page.driver.refresh()
    page.until(lambda: page.has("table.rows"), "the history")


@step
def no_request_goes_to_another_host_and_the_policy_is_kept(page, run):
    assert page.js("performance.getEntriesByType('resource').every((e) => e.name.startsWith(location.origin))")
    assert page.js("violations") == []


@step
def a_key_that_was_revoked_is_removed(page, run):
    page.js("(window.fetch = () => Promise.resolve(new Response('{}', { status: 401 })))")
    page.go("#/history")
    page.until(lambda: "revoked" in page["key-error"].text, "a revoked key")
    assert page.js("sessionStorage.getItem('key')") is None
    page.driver.refresh()


@step
def the_documentation_shows_every_operation(page, run):
    document = json.load(urllib.request.urlopen(f"{page.url}/openapi.json"))
    operations = sum(len(methods) for methods in document["paths"].values())
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
    write_lists(folder)
    run = type("Run", (), {"key": key, "folder": folder})
    try:
        for each in STEPS:
            each(page, run)
            print(f"ok    {each.__name__.replace('_', ' ')}", flush=True)
        unexpected = [line["message"] for line in page.driver.get_log("browser")
                      if line["level"] == "SEVERE" and not re.search(r"status of (401|404|422)", line["message"])]
        assert unexpected == [], unexpected
    except BaseException:
        page.driver.save_screenshot(str(ROOT / "target" / "page-failed.png"))
        raise
    finally:
        page.driver.quit()


main()
