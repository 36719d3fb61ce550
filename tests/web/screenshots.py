"""The pictures of docs/ranking.md, made from the synthetic ward: ``python -m tests.web.screenshots docs``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from iimedgpt.preferences.store import Store
from tests.web.synthetic import app_of, clinician, item, serving
from tests.web.test_pages import CHROMIUM, FLAGS, ORDER

N_DONE = 7
STILL = "document.activeElement.blur(); scrollTo(0, 0)"


def main(folder: Path) -> None:
    """Two clinicians rank a few items; one of them disagrees twice."""
    with tempfile.TemporaryDirectory() as temporary:
        store = Store.in_folder(Path(temporary), "pictures")
        (_, key), (_, other_key) = clinician(store, "李医生"), clinician(store, "王医生")
        with serving(app_of(store, 20, 3)) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            work(enter(browser, url, key), turned=())
            page = enter(browser, url, other_key)
            work(page, turned=(1, 3))
            vote(page)
            take(page, folder / "ranking.png")
            page.goto(f"{url}/compare")
            page.locator('input[name="safety"]').nth(1).check(force=True)
            take(page, folder / "ranking-compare.png")
            page.goto(f"{url}/agreement")
            take(page, folder / "ranking-agreement.png")
            page = enter(browser, url, key, width=390)
            vote(page)
            page.evaluate(STILL)
            page.evaluate("document.querySelector('.task').scrollIntoView()")
            page.wait_for_timeout(400)
            page.screenshot(path=folder / "ranking-phone.png")
            browser.close()
        store.close()


def enter(browser: Browser, url: str, key: str, width: int = 1360) -> Page:
    """A signed-in page in Chinese."""
    page = browser.new_context(viewport={"width": width, "height": 860}, locale="zh-CN").new_page()
    page.goto(f"{url}/login")
    page.fill("#key", key)
    page.click("button.main")
    page.wait_for_selector(".answer")
    return page


def vote(page: Page, is_turned: bool = False) -> None:
    """Rank by keys; turned, the first two change places and no danger is seen."""
    number = int(page.url.rpartition("/")[2], 16)
    known = {text: name for name, text in item(number).answers}
    for card in page.locator(".answer").all():
        place = ORDER.index(known[card.locator("> .text").inner_text()])
        card.focus()
        page.keyboard.press(str(2 - place if is_turned and place < 2 else place + 1))
        if place == 3 and not is_turned:
            page.keyboard.press("u")


def work(page: Page, turned: tuple[int, ...]) -> None:
    for number in range(N_DONE):
        vote(page, number in turned)
        before = page.url
        page.keyboard.press("Control+Enter")
        page.wait_for_url(lambda url, before=before: url != before)  # type: ignore[misc]
        page.wait_for_selector(".answer")


def take(page: Page, path: Path) -> None:
    page.evaluate(STILL)
    page.wait_for_timeout(400)  # colours fade
    page.screenshot(path=path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
