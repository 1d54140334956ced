// Keeps a page fresh without reloading it. Whatever it does not do, the page does by itself: nothing depends on it.
//
// <main data-live="5">            fetch the page every 5 seconds while somebody looks at it
// <main data-follow="…/events">   and at once upon an event of this stream
// <main data-said="…">            said to screen readers when it changes
// <main data-stands-in>           instead of the page, which is loaded as soon as it can be

import { morph } from "./morph.js";
import { tick } from "./countdown.js";
import "./copy.js";

const PATIENCE = 8000;
const main = document.getElementById("main");
const pulse = document.getElementById("pulse");
const said = document.getElementById("said");

document.documentElement.classList.add("live");
setInterval(() => tick(main), 1000);

// ----------------------------------------------------------------------------------------------- what is going on

function beat(words, away = false) {
  if (pulse.textContent === words) return;
  if (away || pulse.classList.contains("away")) said.textContent = words;
  pulse.textContent = words;
  pulse.classList.toggle("away", away);
  pulse.hidden = false;
}

// Whoever is filling in a form must not have it changed under their hands.
function busy() {
  return [...main.querySelectorAll("form")].some(
    (form) => form.contains(document.activeElement) || [...form.elements].some(changed),
  );
}

function changed(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.options) {
    const standing = [...field.options].findIndex((option) => option.defaultSelected);
    return field.selectedIndex !== Math.max(standing, 0);
  }
  return "defaultValue" in field && field.value !== field.defaultValue;
}

// ------------------------------------------------------------------------------------------------------ fetching

let fetching = null;
let again = false;

async function refresh() {
  if (document.hidden) return;
  if (busy()) return beat("paused while you fill in the form");
  if (fetching) {
    again = true;
    return;
  }
  fetching = new AbortController();
  const late = setTimeout(() => fetching.abort(), PATIENCE);
  try {
    const response = await fetch(location.href, { signal: fetching.signal, cache: "no-store" });
    // what a page needs beside its content, a page that stands in for it has not got; nor has the login, which is
    // another page
    if (response.ok && ("standsIn" in main.dataset || response.redirected)) location.reload();
    else if (response.ok) show(await response.text());
    else beat(response.status === 503 ? "the database is away; trying again" : "cannot be shown anew; reload", true);
  } catch {
    beat("the service is away; trying again", true);
  } finally {
    clearTimeout(late);
    fetching = null;
  }
  if (again) {
    again = false;
    await refresh();
  }
}

function show(html) {
  if (busy()) return;
  const come = new DOMParser().parseFromString(html, "text/html");
  const before = main.dataset.said;
  morph(main, come.getElementById("main"));
  document.title = come.title;
  tick(main);
  beat("live");
  if (main.dataset.said && main.dataset.said !== before) said.textContent = main.dataset.said;
}

// ------------------------------------------------------------------------------------------ when it is looked at

let timer = null;
let stream = null;

function begin() {
  const { live, follow } = main.dataset;
  if (!live || timer || document.hidden) return;
  timer = setInterval(refresh, Number(live) * 1000);
  if (follow) {
    // a browser opens few connections to one server: only a page that is looked at may keep one
    stream = new EventSource(follow);
    stream.addEventListener("saga", refresh);
    stream.addEventListener("end", () => stream?.close());
  }
}

function pause() {
  clearInterval(timer);
  stream?.close();
  timer = stream = null;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return pause();
  begin();
  if (main.dataset.live) refresh();
});
addEventListener("pagehide", pause);
addEventListener("pageshow", begin);
