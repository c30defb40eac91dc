"""The report: what it says, that nothing in it can act, and what it looks like in a browser."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag

from circuit_harness.report import page as report
from circuit_harness.report import text as report_text
from circuit_harness.report.page import render
from tests import documents
from tests.browser import BROWSERS, Pages, find_browser
from tests.documents import MYSQL_HOST, NODEJS_HOST, Document

PHONE = 360
DESKTOP = 1280

KINDS = pytest.mark.parametrize(
    "document", [made for _, made in documents.ALL], ids=[name for name, _ in documents.ALL]
)


def page(document: Document) -> BeautifulSoup:
    return BeautifulSoup(render(document), "html.parser")


def text(found: Tag | BeautifulSoup | None) -> str:
    """What a reader sees of an element, in one line."""
    assert found is not None
    return " ".join(found.get_text().split())


def verdict(document: Document) -> str:
    return text(page(document).h1)


# --- what it says


def test_the_verdict_of_a_good_run() -> None:
    assert verdict(documents.passing()) == "31 checks passed"


def test_the_verdict_names_what_failed_and_why() -> None:
    soup = page(documents.failing())
    assert text(soup.h1) == "2 of 31 checks failed: schema columns, HTTP put is seen in MySQL"
    assert "[('name', 'varchar(64)', 'NO'), ('value', 'text', 'YES')] == [('name', 'varchar(100)'" in text(soup.header)


def test_the_verdict_names_the_step_at_which_the_deployment_failed() -> None:
    soup = page(documents.not_deployed())
    assert text(soup.h1) == "The deployment failed at “MySQL: start mariadb”"
    remark = text(soup.header)
    assert f"on host {MYSQL_HOST}, 2.02 s into the run; 1 of 31 checks failed, 26 skipped" in remark
    assert "Can't start server: Bind on TCP/IP port" in remark


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (documents.interrupted(), "Interrupted after 3.40 s: 9 checks passed"),
        (documents.nothing(), "The run failed: no check ran"),
        (documents.nothing(outcome="passed"), "No check ran"),
        (documents.passing(left=["x"]) | {"outcome": "failed"}, "31 checks passed, but not everything could be undone"),
        (documents.passing() | {"outcome": "failed", "exit_status": 3}, "The run failed: 31 checks passed"),
    ],
)
def test_the_verdict_of_other_runs(document: Document, words: str) -> None:
    assert verdict(document).startswith(words)


def test_of_many_failures_those_that_tell_most_stand_first() -> None:
    """What others rest upon, and of each check only one; the headline stays short."""
    names = [f"checks/test_x.py::test_{name}" for name in ("a_b[1]", "a_b[2]", "c", "d", "e")]
    failed = [documents.result(name, "nodejs", 1, "failed", reason=f"reason of {name}") for name in names]
    failed.append(documents.result("schema_columns", "mysql", 2, "failed", reason="it is too short"))
    soup = page(documents.passing() | {"outcome": "failed", "exit_status": 1, "results": failed})
    assert text(soup.h1) == "6 of 6 checks failed"
    causes = [text(cause) for cause in soup.select(".causes li")]
    assert [cause.partition(" reason")[0] for cause in causes[1:]] == ["a b [1]", "c", "d", "2 more failures"]
    assert causes[0] == "schema columns it is too short"
    assert [text(title) for title in soup.select(".failure h3")][:2] == ["✕ schema columns", "✕ a b 1"]


def test_notes_stand_beside_the_verdict() -> None:
    assert "Note: read elsewhere" in text(page(documents.passing(notes=["read elsewhere"])).header)
    assert "Note" not in text(page(documents.passing()).header)


def test_an_undoing_that_failed_is_not_called_a_failed_deployment() -> None:
    document = documents.passing() | {"outcome": "failed", "exit_status": 1}
    document["steps"][-1]["ok"] = False
    assert verdict(document) == "31 checks passed, but “remove the 2 hosts” failed"


def test_the_window_has_the_verdict_for_a_title() -> None:
    assert text(page(documents.failing()).title).startswith("✕ 2 of 31 checks failed")
    assert text(page(documents.passing()).title).startswith("✓ 31 checks passed")


@pytest.mark.parametrize("document", [documents.failing(), documents.crowd(2000)], ids=["failing", "crowd"])
def test_every_check_is_named_with_its_outcome(document: Document) -> None:
    rows = {}
    for row in page(document).select("#checks ~ .groups tbody tr"):
        parameters = [code.get_text() for code in row.select("th > code")]
        for extra in row.select("th .word, th .why, th > code"):
            extra.extract()
        # With several parameters, a check that passed has one row.
        for each in parameters or [""]:
            rows[(text(row.select_one("th")), each)] = text(row.select_one(".unseen"))
    assert rows == {report_text.check_name(each["check"]): each["outcome"] for each in document["results"]}


def test_an_outcome_is_told_by_sign_and_word_too() -> None:
    found = {}
    for row in page(documents.crowd(60)).select("tbody tr"):
        found[text(row.select_one(".unseen"))] = text(row.select_one(".sign"))
    assert found == {"passed": "✓", "failed": "✕", "error": "✕", "skipped": "\u2013"}


def test_a_failure_has_its_text_and_evidence_folded_under_it() -> None:
    soup = page(documents.failing())
    failure = soup.select_one("article.failure")
    assert failure is not None
    assert [text(summary) for summary in failure.select("details > summary")] == [
        "The failure as pytest shows it",
        f"listening sockets on host {MYSQL_HOST}",
        f"journal of mariadb on host {MYSQL_HOST}",
    ]
    given = documents.failing()["results"][10]
    blocks = [block.get_text().strip() for block in failure.select("pre")]
    assert blocks == [given["text"].strip(), *(piece["text"].strip() for piece in given["evidence"])]
    assert "At index 0 diff" in text(failure.select("pre b")[2])


def test_all_failures_but_the_first_are_folded() -> None:
    soup = page(documents.failing())
    first, second = soup.select("article.failure")
    assert first.select("details[open]") == first.select("details")[:1]
    assert not second.select(":scope > details[open]")
    assert len(second.select("pre")) == 2


def test_a_link_leads_to_each_failure() -> None:
    soup = page(documents.crowd(2000))
    targets = {str(link["href"]).removeprefix("#") for link in soup.select("a[href]")}
    identifiers = [str(element["id"]) for element in soup.select("[id]")]
    assert len(identifiers) == len(set(identifiers))
    assert targets <= set(identifiers)
    assert len(targets - {"failures"}) == report.FULL_FAILURES


def test_the_hosts_are_drawn_with_what_runs_on_them() -> None:
    soup = page(documents.failing())
    api, mysql = soup.select(".host")
    for word in (NODEJS_HOST, "10.213.1.12", "10.213.1.112:8080", "1 of 16 checks failed"):
        assert word in text(api)
    for word in (MYSQL_HOST, "10.213.1.111", "10.213.1.11:3306", "10.11.6-MariaDB", "1 of 11 checks failed"):
        assert word in text(mysql)
    assert [text(title) for title in soup.select("svg title")] == [
        "The runner speaks HTTP to Node.js API at 10.213.1.112:8080",
        "Node.js API speaks SQL to MySQL at 10.213.1.11:3306",
    ]
    assert len(soup.select(".service.failed h4")) == 2


def test_what_was_not_deployed_is_drawn_so() -> None:
    soup = page(documents.not_deployed())
    assert [text(service) for service in soup.select(".host .service.failed")] == [
        "Node.js API ✕ was not deployed",
        "MySQL ✕ was not deployed",
    ]
    assert not soup.select("svg")


def test_one_host_has_both() -> None:
    soup = page(documents.one_host())
    (host,) = soup.select(".host")
    assert [text(name) for name in host.select("h4")] == ["Node.js API", "MySQL 10.11.6-MariaDB"]


def test_the_timeline_has_every_step_in_its_lane() -> None:
    document = documents.not_deployed()
    soup = page(document)
    lanes = {}
    for title in soup.select(".timeline h3"):
        steps = title.find_next_sibling("ol")
        assert isinstance(steps, Tag)
        lanes[text(title)] = [text(step.select_one(".label")) for step in steps.select("li")]
    assert set(lanes) == {"Runner", f"Host {MYSQL_HOST}", f"Host {NODEJS_HOST}", "Checks"}
    assert lanes[f"Host {MYSQL_HOST}"] == [
        "MySQL: bind to 10.213.1.11:3306 in /etc/mysql/mariadb.conf.d/50-server.cnf",
        "✕ failed: MySQL: start mariadb",
        "✕ failed: MySQL: drop database tutorial and its accounts",
        "MySQL: put the configuration back",
    ]
    assert lanes["Checks"] == ["1 of 5 checks failed"]


def test_bars_are_where_and_as_long_as_their_steps() -> None:
    document = documents.nothing(seconds=10, steps=[documents.step("half", "", 2.5, 5)])
    bar = page(document).select_one(".timeline li .track i")
    assert bar is not None
    assert bar["style"] == "left:25.0000%;width:50.0000%"


@KINDS
def test_bars_and_marks_stay_within_the_timeline(document: Document) -> None:
    for bar in page(document).select(".timeline [style*='left']"):
        left, width = (re.search(rf"{name}:([\d.]+)%", str(bar["style"])) for name in ("left", "width"))
        assert left is not None
        assert 0 <= float(left[1]) + (float(width[1]) if width else 0) <= 100.001


def test_steps_behind_the_checks_are_the_taking_down() -> None:
    undone = page(documents.passing()).select(".timeline .undone .label")
    assert {text(label) for label in undone} == {
        "Node.js: end the app",
        "Node.js: remove the app and its log",
        "MySQL: drop database tutorial and its accounts",
        "MySQL: stop, put the configuration back",
        "remove the 2 hosts",
    }


def test_what_is_left_behind_stands_before_all_else() -> None:
    first = page(documents.not_deployed()).select("main section")[0]
    assert text(first.h2) == "⚠ Left behind: 1 thing could not be undone"
    assert "drop database tutorial and its accounts: no answer" in text(first)
    assert text(first.select_one(".command")) == f"pytest --hosts={MYSQL_HOST} --circuit-teardown"


def test_what_can_be_done_next_is_told_as_the_run_has_it() -> None:
    """The page makes no command of its own: what takes down whose deployment is known to the run alone."""
    commands = {
        "check it again": "pytest --circuit-hmac=/key --hosts=X1 --attach",
        "take it down": "pytest --hosts=X1 --circuit-teardown",
    }
    listed = [{"to": words, "command": command} for words, command in commands.items()]
    for kept in (True, False):
        soup = page(documents.passing(kept=kept, commands=listed))
        told = {text(found.find_previous("dt")): text(found) for found in soup.select("#run ~ .facts .command")}
        assert told == {f"To {words}": command for words, command in commands.items()}
    for older in (documents.passing(kept=True), documents.passing(mode="attach"), documents.passing(left=["x"])):
        del older["commands"]
        assert page(older).select(".command") == []


def test_a_reason_that_holds_for_many_is_told_once() -> None:
    reasons = [text(why) for why in page(documents.not_deployed()).select(".why")]
    assert len(reasons) == 2


def test_of_very_many_checks_those_that_passed_are_folded() -> None:
    soup = page(documents.crowd(2000))
    for group in soup.select(".group"):
        folded = group.select("details tr.passed")
        assert len(folded) > 400
        assert not group.select("details tr.failed, details tr.error, details tr.skipped")
    assert len(soup.select("article.failure")) == report.FULL_FAILURES
    assert text(soup.select_one("details.failure summary")).startswith("100 more failures")


def test_checks_of_no_part_or_of_several_have_their_place() -> None:
    results = [documents.result("of_none", "x", 0), documents.result("of_new", "redis", 0)]
    results += [documents.result("of_two", "mysql", 0) | {"parts": ["mysql", "nodejs"]}]
    results[0]["parts"] = []
    soup = page(documents.nothing(results=results, outcome="passed", hosts=documents.passing()["hosts"]))
    titles = [text(title) for title in soup.select(".group h3")]
    assert titles == [f"{name} ✓ 1 check passed" for name in ("MySQL", "Other checks", "redis")]
    assert text(soup.select_one(".tag")) == "Node.js API"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, ["0 s", "0.0002 s", "0.0004 s", "0.0006 s", "0.0008 s"]),
        (1.9, ["0 s", "0.5 s", "1 s", "1.5 s"]),
        (3600, ["0 s", "1000 s", "2000 s", "3000 s"]),
    ],
)
def test_the_scale_has_round_numbers(seconds: float, words: list[str]) -> None:
    soup = page(documents.nothing(seconds=seconds, steps=[documents.step("look", "", 0, 0)]))
    assert [text(mark) for mark in soup.select(".scale .track span")] == words


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    services = {"mysql": documents.mysql() | {"address": "fd00::5"}}
    assert "[fd00::5]:3306" in text(page(documents.passing() | {"services": services}).select_one(".drawing"))


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 2"):
        render(documents.nothing(format=2))


def test_the_page_of_a_kept_run_json(tmp_path: Path) -> None:
    source, target = tmp_path / "run.json", tmp_path / "page.html"
    source.write_text(json.dumps(documents.failing()), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "circuit_harness.report.page", source, target], check=True, timeout=60)
    assert target.read_text(encoding="utf-8") == render(documents.failing())


# --- how it words things


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("checks/test_mysql.py::test_schema_columns", ("schema columns", "")),
        ("checks/test_a.py::TestIt::test_b_c[d_e]", ("b c", "d_e")),
        ("checks/test_a.py::test_http[http://[::1]/]", ("HTTP", "http://[::1]/")),
        ("checks/test_a.py::test_mysql_user_s_json_is_the_app_s", ("MySQL user's JSON is the app's", "")),
        ("checks/test_a.py::test_", ("test_", "")),
        ("checks/test_a.py", ("checks/test a.py", "")),
        ("", ("", "")),
    ],
)
def test_names_of_checks(node: str, name: tuple[str, str]) -> None:
    assert report_text.check_name(node) == name


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.00 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (59.96, "1 min 0 s"),
        (192, "3 min 12 s"),
        (7300, "2 h 1 min"),
    ],
)
def test_lengths_of_time(seconds: float, words: str) -> None:
    assert report_text.duration(seconds) == words


def test_moments() -> None:
    assert report_text.moment("2026-01-02T03:04:05+02:00") == "2 January 2026, 01:04:05 UTC"
    assert report_text.moment("some day") == "some day"


def test_control_characters_are_shown_and_terminal_sequences_are_not() -> None:
    given = "\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b(Bend\r\nnext\ttab\x00\x7f\x85\x1b\ud800\u202e"
    assert report_text.clean_text(given) == "red end\nnext\ttab\u2400\u2421\\x85\u241b\\ud800\\u202e"


def test_a_text_without_end_is_cut_and_says_so() -> None:
    cut = report_text.clean_text("a" * report_text.TEXT_LIMIT + "b" * report_text.TEXT_LIMIT)
    assert cut == f"{'a' * 100_000}\n\n[200,000 characters left out here]\n\n{'b' * 100_000}"


# --- that nothing in it can act

VOID = {"meta", "br", "path", "link", "img", "input", "hr", "col"}


class Balance(HTMLParser):
    """Fails where an element is not closed, or closed in the wrong place."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), self.getpos()
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack.pop() == tag, self.getpos()


@KINDS
def test_the_page_is_well_formed(document: Document) -> None:
    balance = Balance()
    balance.feed(render(document))
    balance.close()
    assert balance.stack == []


@KINDS
def test_nothing_is_loaded_or_run(document: Document) -> None:
    soup = page(document)
    assert not soup.select("script, link, img, iframe, object, embed, base, form, video, audio, image, use")
    for element in soup.find_all(True):
        for name, value in element.attrs.items():
            assert not name.startswith("on"), element
            if name in ("src", "href", "action", "srcset", "data", "xlink:href", "poster"):
                assert re.fullmatch(r"#[a-z0-9-]+", str(value)), element
    (style,) = soup.select("style")
    assert not re.search(r"url\(|@import|@font-face|expression|</", style.get_text())


def shapes(soup: BeautifulSoup) -> set[tuple[str, frozenset[str]]]:
    """Every kind of element in a page, with the names of its attributes."""
    return {(element.name, frozenset(element.attrs)) for element in soup.find_all(True)}


def test_what_others_wrote_is_text_and_nothing_else() -> None:
    hostile = page(documents.hostile())
    known = {shape for name, document in documents.ALL if name != "hostile" for shape in shapes(page(document))}
    assert shapes(hostile) <= known
    assert hostile.get_text().count(documents.HOSTILE) > 50
    assert "49" not in verdict(documents.hostile())


def test_the_page_can_be_encoded() -> None:
    encoded = render(documents.hostile()).encode("utf-8")
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", encoded)


def test_headings_descend_one_by_one() -> None:
    levels = [int(heading.name[1]) for heading in page(documents.failing()).select("h1, h2, h3, h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))


# --- what it looks like

MEASURE = """<!DOCTYPE html><meta charset="utf-8"><title>measures</title>
<iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe>
<pre id="measures"></pre>
<script>
function luminance(c) {{
  const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
}}
function parse(color) {{ return color.match(/[\\d.]+/g).map(Number); }}
window.onload = () => {{
  const view = document.querySelector("iframe").contentWindow, page = view.document, root = page.documentElement;
  for (const fold of page.querySelectorAll("details")) fold.open = true;
  const faint = [], wide = [];
  let texts = 0;
  for (const element of page.body.querySelectorAll("*")) {{
    if (element.closest(".unseen, pre *, svg")) continue;
    const box = element.getBoundingClientRect();
    if (box.right > root.clientWidth + 1 && !element.closest("pre")) wide.push(element.outerHTML.slice(0, 120));
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const style = view.getComputedStyle(element);
    let behind = element, back;
    do back = parse(view.getComputedStyle(behind).backgroundColor);
    while ((back[3] === 0) && (behind = behind.parentElement));
    const pair = [luminance(parse(style.color).slice(0, 3)), luminance(back.slice(0, 3))].sort((a, b) => b - a);
    const ratio = (pair[0] + .05) / (pair[1] + .05);
    texts += 1;
    if (ratio < 4.5) faint.push(ratio.toFixed(2) + " " + element.outerHTML.slice(0, 120));
  }}
  const body = parse(view.getComputedStyle(page.body).backgroundColor);
  document.getElementById("measures").textContent = JSON.stringify({{
    width: root.clientWidth, content: root.scrollWidth, dark: luminance(body.slice(0, 3)) < .2, texts, faint, wide,
    checks: [...page.querySelectorAll("tbody tr")].reduce(
      (sum, row) => sum + Math.max(row.querySelectorAll("th > code").length, 1), 0),
  }});
}};
</script>"""


def measure(pages: Pages, document: Document, width: int, *options: str) -> dict[str, Any]:
    """Lay a page out in a frame of this width, unfold everything, and measure it."""
    (pages.folder / "page.html").write_text(render(document), encoding="utf-8")
    (pages.folder / "measure.html").write_text(MEASURE.format(width=width), encoding="utf-8")
    dumped = pages.run("measure.html", "--dump-dom", "--window-size=1400,1000", *options)
    found = BeautifulSoup(dumped, "html.parser").select_one("#measures")
    assert found is not None, dumped
    measures: dict[str, Any] = json.loads(found.get_text())
    return measures


@pytest.fixture(scope="module")
def browser() -> str:
    """Chromium, or what is built from it. Without one these tests fail: unseen, a page is not tested."""
    found = find_browser()
    if found is None:
        pytest.fail(f"the report is tested in a browser, and there is none of {', '.join(BROWSERS)}", pytrace=False)
    return found


@pytest.fixture
def pages(tmp_path: Path, browser: str) -> Iterator[Pages]:
    served = Pages(tmp_path, browser)
    yield served
    served.close()


DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"


@KINDS
def test_a_phone_need_not_scroll_sideways(pages: Pages, document: Document) -> None:
    measures = measure(pages, document, PHONE)
    assert measures["width"] == PHONE
    assert measures["content"] == PHONE
    assert measures["wide"] == []
    assert measures["checks"] == len(document["results"])


def test_a_page_of_very_many_checks_and_failures_is_laid_out(pages: Pages) -> None:
    document = documents.large(1000, 150)
    measures = measure(pages, document, DESKTOP)
    assert measures["checks"] == 1000
    assert measures["content"] == DESKTOP
    soup = page(document)
    articles = soup.select("article.failure")
    assert len(articles) == report.FULL_FAILURES
    # What pytest shows, and five pieces of evidence.
    assert {len(article.select("pre")) for article in articles} == {6}
    assert text(soup.select_one("details.failure summary")).startswith("50 more failures")
    assert text(soup.select_one("#checks")) == "Checks 150 of 1,000 checks failed"


def test_a_page_that_is_too_wide_would_be_noticed(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = render(documents.passing()).replace("</h1>", "<div style='width:500px'>x</div></h1>")
    monkeypatch.setitem(globals(), "render", lambda document: wide)
    measures = measure(pages, documents.passing(), PHONE)
    assert measures["content"] > PHONE
    assert measures["wide"]


@pytest.mark.parametrize("scheme", [DARK, LIGHT], ids=["dark", "light"])
@pytest.mark.parametrize("name", ["passing", "failing", "not deployed", "interrupted", "nothing"])
def test_all_text_stands_out_from_what_is_behind_it(pages: Pages, name: str, scheme: str) -> None:
    document = dict(documents.ALL)[name]
    measures = measure(pages, document, DESKTOP, scheme)
    assert measures["dark"] == (scheme == DARK)
    assert measures["texts"] > 15
    assert measures["faint"] == []
    assert measures["content"] == DESKTOP


def test_a_browser_asks_for_nothing_but_the_page(pages: Pages) -> None:
    measure(pages, documents.hostile(), DESKTOP)
    assert [path for path in pages.asked if path != "/favicon.ico"] == ["/measure.html", "/page.html"]
