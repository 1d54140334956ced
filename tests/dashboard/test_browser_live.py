"""Pages that move, in a real browser: what somebody is doing stays theirs, and what goes wrong is said and passes."""

import pytest
from playwright.async_api import Route
from starlette.applications import Starlette
from starlette.requests import Request

from handlers.dashboard.page_route import error_page
from handlers.http.problems import away as database_away
from tests.dashboard.visitor import Visitor
from tests.system.conftest import System, order_body

pytestmark = pytest.mark.asyncio(loop_scope="session")

FOCUSED = "document.activeElement.outerHTML"
_MORPH = """async () => {
  const { morph } = await import("/assets/morph.js");
  let seed = 1;
  const less = (n) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
  const tree = (depth, ids) => {
    const element = document.createElement(["div", "p", "details"][less(3)]);
    const id = `i${less(12)}`;
    if (less(3) === 0 && !ids.has(id)) element.id = (ids.add(id), id);
    if (less(3) === 0) element.className = `c${less(3)}`;
    for (let i = depth && less(5); i > 0; i--) element.append(less(3) ? tree(depth - 1, ids) : `t${less(4)}`);
    return element;
  };
  const page = () => {
    const main = document.createElement("main"), ids = new Set();
    for (let i = less(6); i > 0; i--) main.append(tree(2, ids));
    main.normalize();
    return main;
  };
  let unequal = 0;
  for (let i = 0; i < 1000; i++) {
    const shown = page(), come = page();
    morph(shown, come);
    unequal += !shown.isEqualNode(come);
  }
  return unequal;
}"""

_BEHIND = """
  window.behind = true;
  window.streams = 0;
  Object.defineProperty(document, "hidden", { get: () => window.behind });
  window.EventSource = class extends EventSource {
    constructor(url) {
      super(url);
      window.streams += 1;
    }
  };
  // as a task after it, so that all others have heard of it
  addEventListener("pageshow", () => setTimeout(() => (window.shown = true)));
"""
"""A tab behind another: a browser without a screen has none."""


async def look_again(visitor: Visitor) -> None:
    """Come back from another tab: the page is fetched at once, and not only when its seconds are over."""
    await visitor.page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')


async def test_whatever_is_shown_becomes_what_has_come(visitor: Visitor) -> None:
    await visitor.open("/sagas")
    assert await visitor.page.evaluate(_MORPH) == 0


async def test_the_focus_and_the_place_on_the_page_stay_when_something_new_comes(
    visitor: Visitor, shop: System
) -> None:
    await shop.order(order_body())
    await visitor.open("/sagas")
    first = visitor.page.locator("#list tbody a").first
    await first.focus()
    before = await visitor.page.evaluate(FOCUSED)
    await visitor.page.evaluate("window.scrollTo(0, 77); window.same = true")
    place_before = await visitor.page.evaluate("window.scrollY")
    order_id = await shop.order(order_body())
    await look_again(visitor)
    await visitor.page.locator(f"#order-{order_id}").wait_for()
    assert await visitor.page.evaluate(FOCUSED) == before
    assert await visitor.page.evaluate("window.scrollY") == place_before
    assert await visitor.page.evaluate("window.same")


async def test_a_form_is_left_alone_while_somebody_fills_it_in(visitor: Visitor, shop: System) -> None:
    await visitor.open("/sagas")
    await visitor.field("Status").select_option("Failed")
    await visitor.page.evaluate("document.activeElement.blur()")
    order_id = await shop.order(order_body())
    await look_again(visitor)
    await visitor.sees("paused while you fill in the form")
    assert await visitor.page.locator(f"#order-{order_id}").count() == 0
    assert await visitor.field("Status").input_value() == "Failed"
    await visitor.field("Status").select_option("")
    await visitor.page.evaluate("document.activeElement.blur()")
    await look_again(visitor)
    await visitor.page.locator(f"#order-{order_id}").wait_for()


async def test_that_the_service_is_away_is_said_and_that_it_is_back(visitor: Visitor) -> None:
    visitor.expected += ["ERR_CONNECTION_REFUSED", "status of 503"]
    await visitor.open("/sagas")

    async def away(route: Route) -> None:
        await route.abort("connectionrefused")

    async def without_database(route: Route) -> None:
        await route.fulfill(status=503, body="")

    await visitor.page.route("**/sagas", away)
    await look_again(visitor)
    await visitor.sees("the service is away; trying again")
    assert await visitor.page.text_content("#said") == "the service is away; trying again"
    await visitor.page.unroute("**/sagas")
    await visitor.page.route("**/sagas", without_database)
    await look_again(visitor)
    await visitor.sees("the database is away; trying again")
    # what was seen last is still there
    assert await visitor.page.text_content("h1") == "Sagas"
    await visitor.page.unroute("**/sagas")
    await look_again(visitor)
    await visitor.page.locator("#pulse", has_text="live").wait_for()
    assert await visitor.page.text_content("#said") == "live"


async def test_a_page_that_stood_in_for_another_gives_way_to_it(visitor: Visitor, shop: System) -> None:
    path = f"/sagas/{await shop.order(order_body())}"
    request = Request({"type": "http", "method": "GET", "path": path, "headers": [], "app": Starlette()})
    stand_in = error_page(request, database_away("The database cannot be reached at the moment."))

    async def without_database(route: Route) -> None:
        await route.fulfill(status=503, body=bytes(stand_in.body), content_type="text/html")

    await visitor.page.route(f"**{path}", without_database)
    await visitor.open(path, 503)
    assert await visitor.page.text_content("h1") == "Not now"
    await visitor.page.unroute(f"**{path}")
    async with visitor.page.expect_request("**/events"):
        await look_again(visitor)
    await visitor.sees("The order")
    assert await visitor.page.locator('link[href$="saga.css"]').count() == 1


async def test_only_a_page_that_is_looked_at_keeps_a_stream(visitor: Visitor, shop: System) -> None:
    """A browser opens six connections to one server: as many tabs behind another would leave it none."""
    await visitor.page.add_init_script(_BEHIND)
    await visitor.open(f"/sagas/{await shop.order(order_body())}")
    await visitor.page.wait_for_function("window.shown")
    assert await visitor.page.evaluate("window.streams") == 0
    await visitor.page.evaluate("window.behind = false")
    await look_again(visitor)
    assert await visitor.page.evaluate("window.streams") == 1


async def test_an_id_is_copied_by_a_click(visitor: Visitor, shop: System) -> None:
    order_id = await shop.order(order_body())
    await visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await visitor.open(f"/sagas/{order_id}")
    await visitor.button("Copy the order's id").click()
    await visitor.page.locator("#said", has_text="Copied").wait_for(state="attached")
    assert await visitor.page.evaluate("navigator.clipboard.readText()") == order_id


async def test_where_a_page_may_not_copy_the_id_is_selected(visitor: Visitor, shop: System) -> None:
    order_id = await shop.order(order_body())
    await visitor.page.add_init_script("delete Navigator.prototype.clipboard")
    await visitor.open(f"/sagas/{order_id}")
    await visitor.button("Copy the order's id").click()
    assert await visitor.page.evaluate("getSelection().toString()") == order_id
