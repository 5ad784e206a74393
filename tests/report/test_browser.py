"""The report in a real browser: no error, nothing loaded, sorting and hovering work, on a phone too."""

import json
import threading
from pathlib import Path

import jax
import pytest

from regopt.sweep.results._findings import findings
from support.browser import BROWSER, DRIVER, MISSING, headless
from support.saved_sweeps import result

pytestmark = [
    pytest.mark.skipif(not (BROWSER and DRIVER), reason=MISSING),
    pytest.mark.skipif(jax.config.read("jax_enable_x64"), reason="a page is the same in 64 bit"),
]
pytest.importorskip("plotly", reason="plotly is not installed (the extra report)")
pytest.importorskip("jinja2", reason="jinja2 is not installed (the extra report)")
pytest.importorskip("selenium", reason="selenium is not installed (the extra test)")

EVIL = "</script><script>hacked=1</script>"


@pytest.fixture(scope="module")
def browser():
    # parallel coordinates without a graphics card
    driver = headless("--enable-unsafe-swiftshader", logs=("browser", "performance"))
    driver.set_script_timeout(120)
    yield driver
    driver.quit()


def opened(browser, path: Path, thorough=False, **options):
    """Open the page of a made-up sweep and draw all its figures."""
    from regopt.report import write_page

    write_page(path, findings(result(**options), "A sweep", thorough=thorough))
    browser.get_log("browser")  # forget those of the page before
    browser.get_log("performance")
    browser.get(path.as_uri())
    drawn = "return [...document.querySelectorAll('.figure')].every((x) => x.classList.contains('js-plotly-plot'))"
    for _ in range(60):
        if browser.execute_script(drawn):
            return
        browser.execute_async_script("scrollBy(0, 400); setTimeout(arguments[0], 20)")
    pytest.fail("not every figure was drawn")


def check_silence(browser):
    """No error in the console, no request but for the page itself, no script that came with a name."""
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in requests) == 1
    assert not [message for message in messages if message["method"] == "Network.loadingFailed"]
    assert browser.execute_script("return typeof hacked") == "undefined"


def column(browser, name):
    """The head of a column of the table, and its first cells as numbers."""
    heads = browser.find_elements("css selector", "#settings th")
    place = [head.text for head in heads].index(name)
    cells = browser.find_elements("css selector", f"#settings tbody td:nth-child({place + 1})")
    return heads[place], [float(cell.get_attribute("title")) for cell in cells[:30] if cell.get_attribute("title")]


def click(browser, element):
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def test_the_page_opens_in_silence_sorts_and_answers_the_pointer(browser, tmp_path):
    from selenium.webdriver import ActionChains

    texts = (EVIL, "<img src=x onerror=hacked=1>")
    opened(browser, tmp_path / "page.html", thorough=True, settings=60, seeds=1, names=(EVIL,), texts=texts)
    for turn in (1, -1):
        click(browser, column(browser, "learning_rate")[0].find_element("tag name", "button"))
        head, values = column(browser, "learning_rate")
        assert values == sorted(values, reverse=turn < 0)
        assert len(set(values)) > 10
        assert head.get_attribute("aria-sort") == ("ascending" if turn > 0 else "descending")
    click(browser, column(browser, "setting")[0].find_element("tag name", "button"))
    assert column(browser, "setting")[1] == list(range(30))  # as numbers, not as text
    browser.find_element("css selector", "#filter").send_keys("diverged")
    assert 0 < len(browser.find_elements("css selector", "#settings tbody tr")) < 20

    groups = browser.find_elements("css selector", "#figure-slice0 .scatterlayer .trace")
    star = groups[-1].find_element("css selector", ".point")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", star)
    ActionChains(browser).move_to_element(star).pause(0.4).perform()
    hover = browser.find_element("css selector", "#figure-slice0 .hoverlayer .hovertext")
    assert "best: validation_loss" in hover.text
    check_silence(browser)


@pytest.mark.long
def test_ten_thousand_settings_open_and_sort(browser, tmp_path):
    opened(browser, tmp_path / "large.html", settings=10_000, seeds=1)
    click(browser, column(browser, "learning_rate")[0].find_element("tag name", "button"))
    values = column(browser, "learning_rate")[1]
    assert values == sorted(values)
    assert values[0] == pytest.approx(1e-4, rel=0.01)
    check_silence(browser)


def test_a_phone_shows_all_without_scrolling_sideways(browser, tmp_path):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    opened(browser, tmp_path / "phone.html", settings=60)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    check_silence(browser)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def rows(browser):
    return browser.find_elements("css selector", "#settings tbody tr")


def test_a_text_filters_columns_are_chosen_and_a_row_highlights_its_curve(browser, tmp_path):
    opened(browser, tmp_path / "page.html", settings=60, seeds=1)
    everything = len(rows(browser))
    search = browser.find_element("css selector", "#search")
    search.send_keys("DIVERGED")
    assert 0 < len(rows(browser)) < everything
    search.clear()
    search.send_keys("no such text")
    assert rows(browser) == []
    search.clear()
    search.send_keys(" ")
    heads = [head.text for head in browser.find_elements("css selector", "#settings th")]
    browser.execute_script("document.querySelectorAll('#columns input')[1].click()")
    shown = [head.text for head in browser.find_elements("css selector", "#settings th") if head.is_displayed()]
    assert shown == [name for place, name in enumerate(heads) if place != 1]
    assert len(rows(browser)[0].find_elements("css selector", "td")) == len(heads) - 1

    def widths():
        return browser.execute_script("return document.getElementById('curve').data.map((t) => [t.meta, t.line.width])")

    before = dict(widths())
    row = int(rows(browser)[3].get_attribute("data-row"))
    click(browser, rows(browser)[3])
    after = dict(widths())
    assert after == before | {row: 5}
    assert "chosen-row" in rows(browser)[3].get_attribute("class")
    assert f"The curve of setting {row} stands out" in browser.find_element("css selector", "#chosen").text
    click(browser, rows(browser)[3])
    assert dict(widths()) == before
    check_silence(browser)


def test_a_watched_page_follows_its_sweep_and_keeps_what_was_chosen(browser, tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    from regopt.experiment._sweeps import watch

    def text(*_):
        return browser.find_element("css selector", "body").text

    served = watch([tmp_path], 0)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        browser.get(f"http://127.0.0.1:{served.server_port}/")
        assert "The sweep has saved nothing yet" in text()
        result(settings=12, seeds=1).save(tmp_path)
        WebDriverWait(browser, 60).until(lambda _: "12 settings" in text())
        browser.find_element("css selector", "#search").send_keys("e")
        click(browser, rows(browser)[2])
        chosen = browser.find_element("css selector", "tr.chosen-row").get_attribute("data-row")
        result(settings=16, seeds=1).save(tmp_path)
        WebDriverWait(browser, 60).until(lambda _: "16 settings" in text())
        assert browser.find_element("css selector", "#search").get_attribute("value") == "e"
        assert browser.find_element("css selector", "tr.chosen-row").get_attribute("data-row") == chosen
        severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert [message for message in severe if "favicon" not in message] == []
    finally:
        served.shutdown()
        served.server_close()
