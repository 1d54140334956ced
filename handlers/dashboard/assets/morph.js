// Makes what is shown equal to what came, touching only what differs: focus, selection, scroll and open details stay.

// What a person does with these is not to be undone.
const THEIRS = { DETAILS: ["open"] };

export function morph(shown, come) {
  if (shown.nodeType !== come.nodeType || shown.nodeName !== come.nodeName) {
    shown.replaceWith(document.importNode(come, true));
  } else if (shown.nodeType === Node.ELEMENT_NODE) {
    attributes(shown, come);
    children(shown, come);
  } else if (shown.data !== come.data) {
    shown.data = come.data;
  }
}

function attributes(shown, come) {
  const theirs = THEIRS[shown.nodeName] ?? [];
  for (const { name } of [...shown.attributes]) {
    if (!come.hasAttribute(name) && !theirs.includes(name)) shown.removeAttribute(name);
  }
  for (const { name, value } of come.attributes) {
    if (shown.getAttribute(name) !== value && !theirs.includes(name)) shown.setAttribute(name, value);
  }
}

// What is in both stays the same node, wherever it stands: an element by its id, all else where it is equal. What is left
// over is made equal to what has come in its place.
function children(shown, come) {
  const known = new Map([...shown.children].filter((one) => one.id).map((one) => [one.id, one]));
  const still = new Set([...come.children].map((one) => one.id).filter(Boolean));
  let here = shown.firstChild;
  for (const next of [...come.childNodes]) {
    while (here?.id && !still.has(here.id)) here = drop(here);
    if (!next.id && ahead(here, next)) while (!here.isEqualNode(next)) here = drop(here);
    const same = next.id ? known.get(next.id) : here?.id || ahead(next.nextSibling, here) ? null : here;
    if (!same) {
      shown.insertBefore(document.importNode(next, true), here);
    } else {
      if (same === here) here = here.nextSibling;
      else shown.insertBefore(same, here);
      morph(same, next);
    }
  }
  while (here) here = drop(here);
}

// Whether, from `first` on, there is an element equal to this one.
function ahead(first, wanted) {
  if (wanted?.nodeType !== Node.ELEMENT_NODE) return false;
  for (let one = first; one; one = one.nextSibling) if (one.isEqualNode(wanted)) return true;
  return false;
}

function drop(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}
