"""Somebody who looks at the dashboard with a real browser, and complains of whatever a page must not do."""

import asyncio
from pathlib import Path
from typing import Any, Self

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Error, Locator, Page, Request

from tests.waiting import until

SIZES = {"wide": (1280, 800), "narrow": (390, 844)}
PATIENCE_SECONDS = 10
_MOST_STOPS = 150
"""More places than any page has that the Tab key comes to."""
_TELL_OF_THE_POLICY = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`Content-Security-Policy: ${event.violatedDirective} ${event.blockedURI}`));
"""
_FAULTS = (Path(__file__).parent / "faults.js").read_text()


class Visitor:
    """A person at a browser of their own, wide and light at first: nothing is remembered of others.

    Args:
        browser: in which a context is made for them.
        url: where the service is.
        script: whether scripts run.
    """

    def __init__(self, browser: Browser, url: str, *, script: bool = True) -> None:
        self.look = "light-wide"
        self.complaints: list[str] = []
        self.expected: list[str] = []
        """Parts of complaints that the test asked for: that a page answers 409, say."""
        self._browser, self._url = browser, url
        width, height = SIZES["wide"]
        self._options: dict[str, Any] = {
            "base_url": url,
            "color_scheme": "light",
            "viewport": {"width": width, "height": height},
            # what moves for ever costs a browser without a graphics card a lot
            "reduced_motion": "reduce",
            "java_script_enabled": script,
        }
        self.context: BrowserContext
        self.page: Page

    async def __aenter__(self) -> Self:
        self.context = await self._browser.new_context(**self._options)
        self.context.set_default_timeout(PATIENCE_SECONDS * 1000)
        await self.context.add_init_script(_TELL_OF_THE_POLICY + _FAULTS)
        self.context.on("request", self._see_request)
        self.page = await self.context.new_page()
        self.page.on("console", self._see_message)
        self.page.on("pageerror", self._see_error)
        return self

    async def __aexit__(self, *error: object) -> None:
        # a browser that hangs is a failure with a name, and keeps no run from ending
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.context.close()

    def _see_request(self, request: Request) -> None:
        if not request.url.startswith(f"{self._url}/"):
            self.complaints.append(f"asks another origin: {request.url}")

    def _see_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            place = message.location["url"] or self.page.url
            self.complaints.append(f"{message.type} at {place}: {message.text}")

    def _see_error(self, error: Error) -> None:
        self.complaints.append(f"error at {self.page.url}: {error}")

    def unexpected(self) -> list[str]:
        """What it complains of that no test asked for."""
        return [one for one in self.complaints if not any(part in one for part in self.expected)]

    # ------------------------------------------------------------------------------------------------ what it does

    async def open(self, path: str, status: int = 200) -> None:
        """Go to a page."""
        if status >= 400:
            self.expected.append(f"status of {status}")
        answer = await self.page.goto(path)
        assert answer, path
        assert answer.status == status, await answer.text()

    async def turns_to(self, theme: str, size: str) -> None:
        """Look at the same page in another theme, or on another screen."""
        width, height = SIZES[size]
        await self.page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        await self.page.set_viewport_size({"width": width, "height": height})
        self.look = f"{theme}-{size}"

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def link(self, name: str) -> Locator:
        return self.page.get_by_role("link", name=name, exact=True)

    def field(self, name: str) -> Locator:
        return self.page.get_by_label(name, exact=True)

    async def sees(self, text: str) -> None:
        """Wait until this is somewhere to be seen."""
        await self.page.get_by_text(text).first.wait_for()

    async def comes_to(self, target: Locator) -> None:
        """Press Tab until the focus is there, and see each time where it is."""
        await target.wait_for()
        for _ in range(_MOST_STOPS):
            await self.page.keyboard.press("Tab")
            there, hidden = await target.evaluate(
                "element => [element === document.activeElement, focusThatCannotBeSeen()]"
            )
            assert not hidden, f"the focus cannot be seen on {hidden}"
            if there:
                return
        raise AssertionError(f"the Tab key does not come to {target}")

    async def hidden_focus(self) -> list[str]:
        """Wherever the focus can be, and cannot be seen."""
        # from then on the browser shows the focus as for who uses the keyboard
        await self.page.keyboard.press("Tab")
        found: list[str] = await self.page.evaluate("placesWithoutFocus()")
        return found

    async def complains_of(self, *parts: str) -> None:
        """Wait until it has complained of all of these."""

        async def has() -> bool:
            return all(any(part in one for one in self.complaints) for part in parts)

        await until(has, PATIENCE_SECONDS)

    async def presses(self, target: Locator, key: str = "Enter") -> None:
        """Come there by the Tab key, and press a key."""
        await self.comes_to(target)
        await self.page.keyboard.press(key)

    async def types(self, target: Locator, text: str) -> None:
        """Come to a field by the Tab key, and write into it."""
        await self.comes_to(target)
        await self.page.keyboard.press("Control+A")
        await self.page.keyboard.type(text)

    # ------------------------------------------------------------------------------------------------- what it sees

    async def faults(self) -> list[str]:
        """What is wrong with the page for who sees little, hears it read, or looks at it on a phone."""
        found: list[str] = await self.page.evaluate("faultsOfThisPage()")
        return found

    async def picture(self, folder: Path | None, name: str) -> None:
        """Write down how the whole page looks, where somebody wants that."""
        if folder:
            await self.page.screenshot(path=folder / f"{name}-{self.look}.png", full_page=True)
