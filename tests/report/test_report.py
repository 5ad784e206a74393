"""The report is one file that stands alone: nothing to load, no text that acts, and what it says is in the tables."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from regopt import sweep
from regopt.experiment import main
from regopt.sweep.results._findings import findings as findings_of
from support.saved_sweeps import findings, result

pytest.importorskip("plotly", reason="plotly is not installed (the extra report)")
pytest.importorskip("jinja2", reason="jinja2 is not installed (the extra report)")

from regopt.report import summary
from regopt.report._axes import log_ticks, window_of
from regopt.report._figures import draw
from regopt.report._landscape import surface as surface_of
from regopt.report._page import page
from regopt.report._selection import groups as groups_of

EVIL = "</script><script>hacked=1</script>"
TEXTS = (EVIL, '"><img src=x onerror="hacked=1">', "a & <b>b</b>")


class Tags(HTMLParser):
    """Every tag with its attributes, the text of scripts, and the text that a person sees."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.seen = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        inside = self.tags[-1][0] if self.tags else ""
        (self.scripts if inside == "script" else self.seen).append(data)


@pytest.fixture(scope="module")
def text():
    return page(findings(title="Digits", settings=60))


def blocks(text):
    """The page's data."""
    found = re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', text, flags=re.DOTALL)
    return {name: json.loads(content, parse_constant=pytest.fail) for name, content in found}


def test_nothing_is_loaded_from_anywhere(text):
    tags = Tags(text).tags
    assert not [attributes for _, attributes in tags if "src" in attributes or "srcset" in attributes]
    assert all(attributes["href"].startswith("#") for _, attributes in tags if "href" in attributes)
    assert {tag for tag, _ in tags} & {"link", "iframe", "object", "embed", "img", "base", "form"} == set()
    assert "url(" not in text[: text.index("</style>")]
    assert "://" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)  # outside Plotly's library


def test_the_browser_may_run_the_two_scripts_of_the_page_alone(text):
    policy = next(
        attributes["content"] for tag, attributes in Tags(text).tags if tag == "meta" and "content" in attributes
    )
    assert policy.startswith("default-src 'none'; ")
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "script-src 'unsafe-inline'" not in policy


def test_no_text_of_the_tables_is_markup():
    evil = page(findings_of(result(settings=60, names=(EVIL,), texts=TEXTS), EVIL, thorough=False))
    tags = Tags(evil)
    scripts = [attributes.get("type") for tag, attributes in tags.tags if tag == "script"]
    assert scripts == ["application/json", "application/json", None, None]
    assert "img" not in {tag for tag, _ in tags.tags}
    assert not [attributes for _, attributes in tags.tags if any(name.startswith("on") for name in attributes)]
    seen = "".join(tags.seen)
    assert all(each in seen for each in (EVIL, TEXTS[1]))
    drawn = blocks(evil)["figures"]
    del drawn["parallel"]  # Plotly writes the ticks of these as they are
    assert "<script" not in json.dumps(drawn)


def test_it_answers_in_the_order_of_the_questions(text):
    heads = re.findall(r"<section id=\"\w+\"><h2>(.*?)</h2>", text)
    assert heads[:4] == ["The best setting", "Where it lies", "Which number matters", "What diverged"]
    assert heads[4:] == ["Learning curves", "All settings", "Config and versions"]


def test_the_best_setting_can_be_copied_to_the_last_digit(text):
    best = result(settings=60).best()
    copied = next(data for data in Tags(text).seen if data.startswith("{'learning_rate'"))
    assert copied == repr(best.setting)
    assert f'<div class="value">{best.metrics["validation_loss"]:.4g}</div>' in text  # the mean over its seeds
    assert "The best single row is row" in text


def test_the_stars_and_the_thick_curves_are_the_best_setting_of_the_head():
    made = result(settings=60)
    history, best = made.history, made.best()
    history.first_bad_step[20:22] = 0
    history.last_step[20:22] = history.steps[-1]
    history.curves["validation_loss"][20:22] = [[0.01], [5.0]]  # the luckiest row is a repeat of another setting
    found = findings_of(made, thorough=False)
    assert found.order[0] == 20
    drawn = draw(found)
    for name in ("slice0", "contour0"):
        star = drawn[name].data[-1]
        assert star.marker.symbol == "star"
        assert sorted(np.array(star.customdata).reshape(2, -1)[:, 0]) == list(best.rows)
    assert sorted(each.meta for each in drawn["curve0"].data if each.line.width == 3) == list(best.rows)
    text = page(found)
    assert "Stars: the repeats of the best setting" in text
    assert blocks(text)["table"]["best"] in best.rows
    assert f"The best single row is row {found.order[0]}" in text


def test_the_table_holds_every_setting_to_the_last_digit(text):
    expected = findings(settings=60)
    table = blocks(text)["table"]
    assert table["order"][: len(expected.order)] == list(expected.order)
    assert sorted(table["order"]) == list(range(60))
    assert table["best"] in result(settings=60).best().rows
    heads = re.findall(r"<button>(.*?)</button></th>", text)
    columns = dict(zip(heads, table["columns"], strict=True))
    for name in ("learning_rate", "validation_loss"):
        values = [np.nan if value is None else value for value in columns[name]["values"]]
        np.testing.assert_array_equal(values, expected.table[name])
    assert columns["activation"]["text"]
    assert [value is None for value in columns["first_bad_step"]["values"]] == list(~expected.diverged)


def test_what_diverged_is_explained(text):
    found = sweep.separations(findings(settings=60).table, ["learning_rate", "dropout"]).iloc[0]
    assert found["number"] == "learning_rate"
    words = "".join(Tags(text).seen)
    assert (
        f"learning_rate {found['where']} ({found['diverged_inside']} of {found['inside']} diverged there, 0 of" in words
    )


def test_config_and_versions_are_shown_with_the_nested_ones(tmp_path, capsys):
    result().save(tmp_path / "run", config={"space": {"rate": [1e-4, 3.0]}, "note": "<i>x</i>"})
    assert main(["sweep", "report", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    words = Tags((tmp_path / "page.html").read_text()).seen
    assert words[words.index("space.rate") + 1] == "[0.0001, 3.0]"
    assert words[words.index("note") + 1] == "<i>x</i>"
    assert {"jax", "numpy", "python"} <= set(words)


def test_a_page_that_cannot_be_written_is_one_line(tmp_path, capsys):
    result().save(tmp_path)
    assert main(["sweep", "report", str(tmp_path), "--out", str(tmp_path / "no" / "page.html")]) == 2
    assert re.fullmatch(r"regopt: .*--out.* must lie in a folder that exists, got .*\n", capsys.readouterr().err)


@pytest.mark.parametrize(("segments", "said"), [(0, "No setting has a finite value"), (2, "Not finished")])
def test_a_sweep_that_still_runs_has_a_page(segments, said):
    assert said in page(findings_of(result(segments=segments), thorough=False))


def test_what_the_scheduler_pruned_is_finished():
    found = findings(settings=60)
    found.table.loc[found.order[20:30], "status"] = "pruned"
    text = page(found)
    assert "Not finished" not in text
    assert '<i style="background:#cc79a7"></i>10 pruned' in text
    assert "<option>pruned</option>" in text
    shown = summary(found, rows=60)
    cells = list(shown.columns[-2].cells)
    assert {cell.style for cell in cells if str(cell) == "pruned"} == {"magenta"}
    assert "10 pruned" in str(shown.title)


def test_the_drawing_libraries_are_imported_only_for_a_page():
    """A sweep imports the report's names, and must run where the extra is not installed."""
    code = "import sys, regopt.sweep, regopt.report; print({'plotly', 'jinja2', 'tensorboardX'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


@pytest.mark.parametrize("rows", [0, -1, 2.5])
def test_the_rows_of_a_summary_are_checked(rows):
    with pytest.raises(ValueError, match=r"rows must be a whole number in \[1, inf\)"):
        summary(findings(settings=4), rows=rows)


def test_a_single_setting_has_a_page():
    alone = findings_of(result(settings=1, seeds=1))
    text = page(alone)
    assert "Too few settings to say" in text
    assert "Nothing varies" in text


def test_ten_thousand_settings_make_a_page_below_ten_megabytes_that_says_what_it_leaves_out():
    many = findings_of(result(settings=10_000, seeds=1, evaluations=300), thorough=False)
    text = page(many)
    assert len(text.encode()) < 10e6
    words = " ".join("".join(Tags(text).seen).split())
    assert "1,000 of " in words
    assert re.search(
        r"best, middle and worst 20 of \d,\d{3} settings, and 20 of [\d,]+ that diverged; 200 of 300", words
    )
    drawn = blocks(text)["figures"]
    assert len(drawn["curve0"]["data"]) == 80 + 2  # four groups and the two ends of the band
    assert len(blocks(text)["table"]["columns"][0]["values"]) == 10_000


def test_curves_of_a_large_sweep_are_the_best_the_middle_and_the_worst():
    many = findings_of(result(settings=200, seeds=1), thorough=False)
    groups = {name: rows for name, _, rows in groups_of(many)}
    np.testing.assert_array_equal(groups["best"], many.order[:20])
    np.testing.assert_array_equal(groups["worst"], many.order[-20:])
    assert many.order[len(many.order) // 2] in groups["middle"]
    assert many.diverged[groups["diverged"]].all()


def test_a_contour_of_two_numbers_alone_has_the_settings_own_values():
    """With nothing else varying a point of the grid is the nearest setting's, so at the best it is the best."""
    settings = sweep.grid({"a": sweep.log_uniform(1e-3, 1.0), "b": sweep.uniform(0.0, 1.0)}, points=9)
    from dataclasses import replace

    made = result(settings=81, seeds=1)
    record = replace(made.history, settings=settings)
    record.first_bad_step[:] = 0
    record.curves["validation_loss"][:, -1] = (np.log10(settings.numbers["a"]) + 1.5) ** 2 + settings.numbers["b"]
    record.last_step[:] = record.steps[-1]
    found = findings_of(replace(made, history=record), thorough=False)
    across, up, surface = surface_of(found, "a", "b")
    row, column = np.unravel_index(np.argmin(surface), surface.shape)
    best = found.table.loc[found.order[0]]
    assert surface.min() == pytest.approx(best["validation_loss"])
    assert np.log10(across[column]) == pytest.approx(np.log10(best["a"]), abs=3 / 16)  # half a cell of the grid
    assert up[row] == pytest.approx(best["b"], abs=1 / 16)


def test_ticks_of_logarithmic_axes_are_round_numbers_inside():
    for low, high in ((1e-4, 3.0), (0.08, 2.0), (1e-9, 1e9), (0.5, 0.9)):
        ticks, texts = log_ticks(low, high)
        assert all(0.97 * low <= tick <= 1.03 * high for tick in ticks)
        assert [float(each) for each in texts] == ticks
        assert 1 <= len(ticks) <= 10
        assert max(map(len, texts)) <= 5


def test_a_few_absurd_losses_do_not_squeeze_the_others_out_of_sight():
    values = np.concatenate([np.linspace(0.1, 0.5, 99), [1e9]])
    window = window_of(values, "min")
    assert (window.high < 1, window.beyond) == (True, 5)
    assert window_of(-values, "max").low > -1
    assert window_of(np.linspace(0.1, 0.5, 99), "min").beyond == 0
