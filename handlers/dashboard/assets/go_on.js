// <form data-next="1000">: sent by itself after so many milliseconds, once what came of the last step could be seen.

const SEEN = 600;
const form = document.querySelector("form[data-next]");
const timer = setTimeout(() => form.requestSubmit(), Math.max(SEEN, Number(form.dataset.next)));
const stop = () => clearTimeout(timer);

form.addEventListener("submit", stop);
addEventListener("pagehide", stop);
// whoever goes elsewhere must not be overtaken
addEventListener("click", ({ target }) => {
  if (target.closest?.("a")) stop();
});
