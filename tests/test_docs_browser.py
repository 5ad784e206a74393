"""The built documentation in a real browser: no error, no dead link, an offline search, both colour schemes."""

import importlib.util
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from support.browser import BROWSER, DRIVER, MISSING, headless

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.long,  # a build runs every tutorial
    pytest.mark.skipif(importlib.util.find_spec("myst_nb") is None, reason="sphinx is not installed (the extra docs)"),
    pytest.mark.skipif(not (BROWSER and DRIVER), reason=MISSING),
]
LOOKED_AT = [
    "index.html",
    "start.html",
    "tutorials/compose.html",
    "howto/ways.html",
    "architecture.html",
    "course.html",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site; REGOPT_DOCS_HTML names one that has been built already."""
    if built := os.environ.get("REGOPT_DOCS_HTML"):
        return Path(built)
    folder = tmp_path_factory.mktemp("html")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(ROOT / "docs"), str(folder)]
    environment = {**os.environ, "REGOPT_DOCS_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def served(site):
    """The address of the site, from a server of this machine."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    driver = headless()
    yield driver
    driver.quit()


def errors(browser):
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.parametrize("page", LOOKED_AT)
def test_a_page_has_no_error_and_is_as_wide_as_the_window(browser, served, page):
    browser.get_log("browser")
    browser.get(f"{served}/{page}")
    assert [message for message in errors(browser) if "favicon" not in message] == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.execute_script("return [...document.images].every((x) => x.complete && x.naturalWidth > 0)")


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self):
        super().__init__()
        self.links, self.anchors = set(), set()

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.links.add(value)
            elif value and name in ("id", "name"):
                self.anchors.add(value)


def read(page):
    found = Links()
    found.feed(page.read_text())
    return found


def test_no_internal_link_is_dead(site):
    dead, pages = [], {page.resolve(): read(page) for page in site.rglob("*.html") if "_static" not in page.parts}
    anchors = {page: found.anchors for page, found in pages.items()}
    for page, found in pages.items():
        for link in sorted(found.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and anchor not in anchors.get(target, {anchor})):
                dead.append(f"{page.relative_to(site.resolve())}: {link}")
    assert len(pages) > 400
    assert dead == []


def test_the_search_finds_a_penalty_without_a_network(browser, served):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get_log("browser")
    browser.get(f"{served}/search.html?q=group_lasso")
    found = "return [...document.querySelectorAll('#search-results li a')].map((x) => x.getAttribute('href'))"
    WebDriverWait(browser, 60).until(lambda _: len(browser.execute_script(found)) > 2)
    assert any("regopt.penalties/group_lasso" in link for link in browser.execute_script(found))
    assert [message for message in errors(browser) if "favicon" not in message] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground_in_both_schemes(browser, served, scheme):
    browser.get(f"{served}/howto/ways.html")
    browser.execute_script(f"document.documentElement.dataset.theme = '{scheme}'")
    luminance = """
        const channel = (x) => (x / 255 <= 0.03928 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4);
        const light = (rgb) => {
            const [r, g, b] = rgb.match(/[\\d.]+/g).map(Number);
            return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
        };
        const ground = light(getComputedStyle(document.body).backgroundColor);
        return [...document.querySelectorAll('article p, article td, article h2')].map((x) => {
            const text = light(getComputedStyle(x).color);
            return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
        });
    """
    contrasts = browser.execute_script(luminance)
    assert len(contrasts) > 20
    assert min(contrasts) >= 4.5  # WCAG 2, level AA
