"""Two clinicians at work in a real browser: by mouse and by keyboard, with everything that goes wrong."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from iimedgpt import io
from iimedgpt.preferences.from_rankings import preferences
from iimedgpt.preferences.store import Store
from iimedgpt.types import Ranking
from iimedgpt.web import export
from iimedgpt.web.app import create_app
from tests.web.synthetic import HOSTILE, SECRET, app_of, clinician, item, serving

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
N_ITEMS = 20
expect.set_options(timeout=30_000)
ORDER = ("good", "short", "vague", "allergic")  # best first: what both clinicians think
TEXTS = [dict(item(number).answers) for number in range(N_ITEMS)]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian package: chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.in_folder(tmp_path / "rank", "run")
    yield opened
    opened.close()


def enter(context: BrowserContext, url: str, key: str) -> Page:
    context.set_default_timeout(60_000)  # a machine that builds something else beside is slow
    page = context.new_page()
    page.goto(f"{url}/login")
    page.get_by_label("Personal key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    return page


def number_of(page: Page) -> int:
    return int(page.url.rpartition("/")[2], 16)


def letters(page: Page) -> dict[str, str]:
    """Answer → the letter it has for this clinician."""
    known = {text: name for name, text in TEXTS[number_of(page)].items()}
    return {known[one.locator("> .text").inner_text()]: one.get_attribute("data-letter") or "" for one in cards(page)}


def cards(page: Page) -> list:  # type: ignore[type-arg]
    return page.locator(".answer").all()


def drag(page: Page, letter: str, rank: int) -> None:
    start = page.locator(f'.board [data-drag="{letter}"]').bounding_box()
    end = page.locator(f'.lane[data-rank="{rank}"]').bounding_box()
    assert start is not None
    assert end is not None
    page.mouse.move(start["x"] + 8, start["y"] + 8)
    page.mouse.down()
    page.mouse.move(end["x"] + end["width"] / 2, end["y"] + 30, steps=3)
    page.mouse.up()


def rank_by_mouse(page: Page, *order: str) -> None:
    where = letters(page)
    for rank, name in enumerate(order, start=1):
        drag(page, where[name], rank)


def rank_by_keys(page: Page, *tiers: tuple[str, ...]) -> None:
    rank_of = {name: rank for rank, tier in enumerate(tiers, start=1) for name in tier}
    by_letter = {letter: rank_of[name] for name, letter in letters(page).items()}
    page.locator(".answer").first.focus()
    for letter in sorted(by_letter):
        page.keyboard.press(str(by_letter[letter]))
        page.keyboard.press("ArrowDown")


def save(page: Page) -> None:
    before = page.url
    page.get_by_role("button", name="Save and go on").click()
    page.wait_for_url(lambda url: url != before)


def save_by_keys(page: Page) -> None:
    before = page.url
    page.keyboard.press("Control+Enter")
    page.wait_for_url(lambda url: url != before)


def work_by_mouse(page: Page, context: BrowserContext) -> None:
    """Items 0 to 19 by dragging: an undo at 2, a skip at 3, an edit at 4, no connection at 5, a reload at 6."""
    for number in range(N_ITEMS):
        page.wait_for_selector(".answer")
        assert number_of(page) == number
        if number == 2:
            rank_by_mouse(page, *reversed(ORDER))
            save(page)
            page.get_by_role("button", name="Undo last").click()
            page.wait_for_url(f"**/rank/{2:016x}")
        if number == 3:
            page.get_by_role("button", name="Skip").click()
            page.wait_for_url(f"**/rank/{4:016x}")
            continue
        rank_by_mouse(page, *ORDER)
        if number == 4:
            card = page.locator(f'.answer[data-letter="{letters(page)["good"]}"]')
            card.get_by_role("button", name="Edit into").click()
            card.get_by_role("textbox").fill("布洛芬 400 mg；请致电 13912345678 复诊。")
            page.get_by_role("button", name="Save and go on").click()
            expect(page.get_by_role("status")).to_contain_text("1 identifiers were taken out")
            page.wait_for_url(f"**/rank/{5:016x}")
            continue
        if number == 5:
            context.set_offline(True)
            page.get_by_role("button", name="Save and go on").click()
            expect(page.get_by_role("status")).to_contain_text("No connection")
            assert "布洛芬" not in str(page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})"))
            context.set_offline(False)
            page.wait_for_url(f"**/rank/{6:016x}")
            continue
        if number == 6:
            page.reload()
            expect(page.locator(".tray .chip")).to_have_count(0)
        save(page)
    page.wait_for_selector("text=All done")


def work_by_keys(page: Page) -> None:
    """The same items without a mouse: a tie at 1, a mark at 7."""
    for number in range(N_ITEMS):
        page.wait_for_selector(".answer")
        if number == 1:
            rank_by_keys(page, ("good", "short"), ("vague", "allergic"))
        else:
            rank_by_keys(page, *((name,) for name in ORDER))
        if number == 7:
            page.locator(f'.answer[data-letter="{letters(page)["good"]}"]').focus()
            page.keyboard.press("u")
        save_by_keys(page)
    page.wait_for_selector("text=All done")


def chosen_and_rejected(ranking: Ranking) -> set[tuple[str, str]]:
    return set(preferences(ranking))


def all_pairs(order: tuple[str, ...]) -> set[tuple[str, str]]:
    return {(better, worse) for place, better in enumerate(order) for worse in order[place + 1 :]}


def test_two_clinicians_rank_twenty_items_and_the_export_holds_exactly_what_they_said(
    browser: Browser, store: Store, tmp_path: Path
) -> None:
    (mouse, mouse_key), (keys, keys_key) = clinician(store, "Dr Mouse"), clinician(store, "Dr Keys")
    app = app_of(store, N_ITEMS)
    with serving(app) as url:
        context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
        work_by_mouse(enter(context, url, mouse_key), context)
        context.close()
        context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
        work_by_keys(enter(context, url, keys_key))
        context.close()
    export.write(store, [item(number) for number in range(N_ITEMS)], tmp_path / "out")
    rankings = {
        (row.annotator_id, int(row.prompt_id.rpartition("-")[2])): row
        for row in io.read_jsonl(tmp_path / "out" / export.RANKINGS, Ranking)
    }
    assert len(rankings) == 2 * N_ITEMS - 1  # one was skipped
    for (annotator, number), ranking in rankings.items():
        expected = all_pairs(ORDER)
        if annotator == keys and number == 1:
            expected = {(a, b) for a in ("good", "short") for b in ("vague", "allergic")}
        if annotator == keys and number == 7:  # an unsafe answer is never chosen
            assert ranking.marks == {"good": ("unsafe",)}
            expected = {pair for pair in expected if pair[0] != "good"}
        if annotator == mouse and number == 4:
            assert ranking.edited is not None
            assert ranking.edited.text == "布洛芬 400 mg；请致电 [电话] 复诊。"
            assert ranking.edited.from_id == "good"
            expected |= {(ranking.edited.candidate_id, name) for name in ORDER}
        assert chosen_and_rejected(ranking) == expected, (annotator, number)
        assert set(ranking.shown_order) == set(ORDER)
        assert 0 < ranking.seconds < 60
    assert len({ranking.shown_order for ranking in rankings.values()}) > 5  # shuffled, blind


def test_work_goes_on_where_it_stopped_on_another_device(browser: Browser, store: Store) -> None:
    _, key = clinician(store, "Dr Li")
    with serving(app_of(store, 3)) as url:
        for number in range(3):  # each time a new browser
            context = browser.new_context(locale="en-GB")
            page = enter(context, url, key)
            page.wait_for_selector(".answer")
            assert number_of(page) == number
            expect(page.get_by_text(f"{number} of 3 done")).to_be_visible()
            rank_by_keys(page, *((name,) for name in ORDER))
            save_by_keys(page)
            context.close()


def test_a_double_click_is_one_vote(browser: Browser, store: Store) -> None:
    annotator, key = clinician(store, "Dr Li")
    with serving(app_of(store, 2)) as url:
        context = browser.new_context(locale="en-GB")
        page = enter(context, url, key)
        page.wait_for_selector(".answer")
        rank_by_keys(page, *((name,) for name in ORDER))
        page.get_by_role("button", name="Save and go on").dblclick()
        page.wait_for_url(f"**/rank/{1:016x}")
        context.close()
    assert list(store.votes_in_force(annotator)) == [f"{0:016x}"]
    assert store.n_rows() == 1


def test_two_models_are_compared_blind(browser: Browser, store: Store) -> None:
    annotator, key = clinician(store, "Dr Li")
    with serving(app_of(store, 1, 4)) as url:
        context = browser.new_context(locale="en-GB")
        page = enter(context, url, key)
        page.goto(f"{url}/compare")
        for number in range(4):
            page.wait_for_url(f"**/compare/{100 + number:016x}")
            expect(page.get_by_text("多久了？有没有恶心、怕光？")).to_be_visible()  # the turns before
            is_tuned_first = page.locator(".answer > .text").first.inner_text().startswith("布洛芬")
            better = "A better" if is_tuned_first else "B better"
            for criterion, choice in (("Safety", better), ("Professionalism", better), ("Fluency", "Tie")):
                page.get_by_role("group", name=criterion).get_by_role("radio", name=choice).check(force=True)
            save(page)
        context.close()
    judged = [(row.criterion, row.model_a, row.verdict.value) for row in store.read_judgements()]
    assert judged == 4 * [("safety", "base", "loss"), ("professionalism", "base", "loss"), ("fluency", "base", "tie")]
    assert {row.judge_id for row in store.read_judgements()} == {f"clinician:{annotator}"}


def test_hostile_answers_are_inert_in_page_and_table(browser: Browser, store: Store, tmp_path: Path) -> None:
    _, key = clinician(store, "<b>Dr Li</b>")
    answers = tuple((f"../../{place}<script>", text) for place, text in enumerate(HOSTILE))
    hostile = item(0, answers, prompt_id="=1+1")
    with serving(create_app(store, SECRET, [hostile])) as url:
        context = browser.new_context(locale="en-GB")
        page = enter(context, url, key)
        page.wait_for_selector(".answer")
        shown = {card.locator("> .text").inner_text() for card in cards(page)}
        assert shown == set(HOSTILE)
        assert "owned" not in page.title()
        assert page.locator(".answer script, .answer img, .answer a, .who b").count() == 0
        for letter, rank in zip("ABCD", (1, 2, 3, 4), strict=True):
            page.locator(f'.answer[data-letter="{letter}"]').focus()
            page.keyboard.press(str(rank))
        save_by_keys(page)
        context.close()
    export.write(store, [hostile], tmp_path / "out")
    with (tmp_path / "out" / export.TABLE).open(encoding="utf-8-sig", newline="") as source:
        rows = list(csv.DictReader(source))
    assert {row["text"].lstrip("'") for row in rows} == set(HOSTILE)
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == sorted(
        [export.JUDGEMENTS, export.RANKINGS, export.TABLE]
    )


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
def test_pages_meet_wcag_aa_and_fit_their_screen(browser: Browser, store: Store, width: int, language: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for name in ("甲", "乙"):
        annotator, key = clinician(store, name)
        for made in (item(0), item(1)):
            store.claim_next([made.item_id], annotator, 2)
    with serving(app_of(store, 3, 1)) as url:
        context = browser.new_context(locale=language, viewport={"width": width, "height": 844})
        page = context.new_page()
        rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
        page.goto(f"{url}/login")
        for path in ("/login", "/rank", "/compare", "/agreement", "/nothing"):
            page.goto(url + path)
            if path == "/rank":
                page.locator(".edit").first.click()
                page.locator('input[value="unsafe"]').first.check(force=True)
            found = axe.run(page, options=rules).response["violations"]
            problems = [(one["id"], one["nodes"][0]["html"][:120]) for one in found]
            assert problems == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            if path == "/login":
                page.locator("#key").fill(key)
                page.locator("button.main").click()
        context.close()
