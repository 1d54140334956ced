// <form data-next>: sent by itself, once what came of the last step could be seen.

const SEEN = 600;
const form = document.querySelector("form[data-next]");
const timer = setTimeout(() => form.requestSubmit(), SEEN);

form.addEventListener("submit", () => clearTimeout(timer));
addEventListener("pagehide", () => clearTimeout(timer));
