// Counts down what the server wrote: <span data-left="27.4">27 s</span>. The server's clock counts, not this one.

const ends = new WeakMap();

export function tick(part) {
  const now = performance.now();
  for (const element of part.querySelectorAll("[data-left]")) {
    const { left } = element.dataset;
    if (ends.get(element)?.left !== left) ends.set(element, { left, at: now + Number(left) * 1000 });
    element.textContent = words((ends.get(element).at - now) / 1000);
  }
}

function words(seconds) {
  const whole = Math.round(seconds);
  if (whole <= 0) return "any moment";
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}
