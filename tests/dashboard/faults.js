// What is wrong with a page for who sees little, hears it read aloud, uses the keyboard, or looks at it on a phone.

function faultsOfThisPage() {
  const faults = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (element) => element.checkVisibility() && element.getClientRects().length > 0;
  const what = (element) => element.outerHTML.slice(0, 120);
  const named = (element) =>
    (element.getAttribute("aria-label") ?? "").trim() ||
    (element.getAttribute("aria-labelledby") ?? "").split(" ").some((id) => document.getElementById(id)?.textContent.trim());

  if (!document.documentElement.lang) faults.push("the page has no language");
  if (!document.title.trim()) faults.push("the page has no title");
  if (all("main").length !== 1) faults.push("the page has not one <main>");

  for (const field of all("input:not([type=hidden]), select, textarea")) {
    const labels = [...(field.labels ?? [])].filter((label) => label.textContent.trim());
    if (!labels.length && !named(field)) faults.push(`no label: ${what(field)}`);
  }
  for (const element of all("button, a[href], summary")) {
    if (!element.textContent.trim() && !named(element)) faults.push(`no name: ${what(element)}`);
  }
  for (const image of all("img, svg:not([aria-hidden=true])")) {
    if (!image.alt && !named(image) && !image.querySelector("title")) faults.push(`no description: ${what(image)}`);
  }

  const levels = all("h1, h2, h3, h4, h5, h6").filter(seen).map((heading) => Number(heading.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) faults.push("the page has not one <h1>");
  levels.reduce((before, level) => {
    if (level > before + 1) faults.push(`a heading of level ${level} follows one of level ${before}`);
    return level;
  }, 0);

  const ids = all("[id]").map((element) => element.id);
  for (const id of ids.filter((one, index) => ids.indexOf(one) !== index)) faults.push(`the id ${id} is there twice`);
  for (const attribute of ["for", "aria-describedby", "aria-labelledby"]) {
    for (const element of all(`[${attribute}]`)) {
      for (const id of element.getAttribute(attribute).split(/\s+/)) {
        if (!document.getElementById(id)) faults.push(`${attribute} names ${id}, which is not there: ${what(element)}`);
      }
    }
  }
  for (const table of all("table")) {
    if (!table.querySelector("th[scope=col]")) faults.push(`a table without heads of its columns: ${what(table)}`);
  }

  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) {
    const widest = all("main *").filter((element) => element.getBoundingClientRect().right > clientWidth + 1);
    faults.push(`wider than the window by ${scrollWidth - clientWidth}: ${widest.slice(0, 3).map(what).join(" ")}`);
  }

  for (const element of all("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !seen(element) || element.closest("svg, [disabled], .unseen, option")) continue;
    const ratio = contrast(element);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(1)}: ${what(element)}`);
  }
  return faults;
}

function focusThatCannotBeSeen() {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  const visible = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 && box.width > 4 && box.right > 0;
  return visible ? null : element.outerHTML.slice(0, 120);
}

function placesWithoutFocus() {
  const places = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")];
  return places
    .filter((element) => !element.disabled && element.checkVisibility())
    .map((element) => {
      element.focus();
      return document.activeElement === element ? focusThatCannotBeSeen() : `takes no focus: ${element.outerHTML.slice(0, 120)}`;
    })
    .filter(Boolean);
}

// ------------------------------------------------------------------------------------------------------- contrast

function contrast(element) {
  const [one, other] = [getComputedStyle(element).color, ground(element)].map(luminance);
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}

function ground(element) {
  for (let here = element; here; here = here.parentElement) {
    const colour = getComputedStyle(here).backgroundColor;
    if (channels(colour)[3] !== 0) return colour;
  }
  return "rgb(255, 255, 255)";
}

function channels(colour) {
  const numbers = colour.match(/[\d.]+/g).map(Number);
  return numbers.length === 3 ? [...numbers, 1] : numbers;
}

function luminance(colour) {
  const [red, green, blue] = channels(colour).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// whoever runs this before a page puts it into a scope of its own
Object.assign(globalThis, { faultsOfThisPage, focusThatCannotBeSeen, placesWithoutFocus });
