"""What a notebook shows: the numbers, with every value escaped."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from regopt import sweep
from regopt.testing import MEAN_DATA, MEAN_TASK

pytest.importorskip("jinja2", reason="jinja2 is not installed (the extra report)")
EVIL = "<script>hacked=1</script>"
SETTINGS = sweep.from_columns({"rate": [0.1, 0.5, 1e30], EVIL: [EVIL, "b", "c"]})
OPTIONS = {"steps": 4, "eval_every": 1}


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data)


def shown(thing):
    parsed = Tags(thing._repr_html_())
    assert set(parsed.tags) <= {"div", "p", "b", "svg", "polyline", "br", "small", "table"} | {
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    return " ".join(" ".join(parsed.words).split()), parsed.tags


def test_a_result_shows_counts_the_best_and_its_curve():
    result = sweep.run(MEAN_TASK, SETTINGS, MEAN_DATA, **OPTIONS)
    text, tags = shown(result)
    assert "3 settings: 1 diverged, 2 done; the best:" in text
    assert f"{result.best().metrics['validation_loss']:.4g}" in text
    assert EVIL in text
    points = re.search(r'points="([^"]*)"', result._repr_html_())
    assert points is not None
    heights = [float(point.split(",")[1]) for point in points[1].split()]
    assert len(heights) == 4
    np.testing.assert_array_equal(np.argsort(heights), [0, 1, 2, 3])  # the loss falls, so the line goes down
    assert tags.count("polyline") == 1


def test_a_result_without_a_finite_value_says_so():
    settings = sweep.from_columns({"rate": [1e30, 1e35]})
    text, tags = shown(sweep.run(MEAN_TASK, settings, MEAN_DATA, **OPTIONS))
    assert "no setting has a finite validation_loss" in text
    assert "polyline" not in tags


def test_settings_show_their_first_rows():
    text, tags = shown(sweep.from_columns({"rate": np.linspace(0.1, 0.9, 30), EVIL: [EVIL] * 30}))
    assert "30 settings in 1 group(s)" in text
    assert "and 20 more" in text
    assert tags.count("tr") == 11
    assert EVIL in text


def test_a_plan_shows_its_groups():
    plan = sweep.plan(MEAN_TASK, SETTINGS, MEAN_DATA, **OPTIONS)
    text, tags = shown(plan)
    assert str(plan).split("\n")[0] in text
    assert tags.count("tr") == 1 + 3
