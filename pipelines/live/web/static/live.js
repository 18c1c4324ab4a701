// Answers without leaving the page, again and again until they are saved; keys; and pages that show what is new as it
// comes. Everything works without it, by reloading.
"use strict";

const RETRY_MS = [300, 700, 1500, 3000, 6000];
// Nobody sees and judges pictures so fast: it is the second half of a double click.
const LEAST_MS = 250;
let shownAt;
let stream = null;

const main = () => document.getElementById("main");
const say = (words) => (document.getElementById("status").textContent = words);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function show(html, url) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const next = page.getElementById("main");
  if (!next) return location.assign(url);
  const kept = main().dataset.keep && document.getElementById(main().dataset.keep);
  document.title = page.title;
  const focused = document.activeElement?.getAttribute?.("aria-keyshortcuts");
  const both = document.getElementById("both")?.checked;
  main().replaceWith(next);
  if (both && next.querySelector("#both")) next.querySelector("#both").checked = true;
  if (kept) document.getElementById(kept.id)?.replaceWith(kept);
  const at = next.dataset.at ?? new URL(url).pathname; // of an answer's page: where a reload finds it
  if (at !== location.pathname) history.pushState(null, "", at);
  say("");
  const again = focused && next.querySelector(`[aria-keyshortcuts="${focused}"]`);
  (kept ?? again ?? next).focus({ preventScroll: true });
  settle();
  listen();
}

// The page is there to be seen; a moment later it takes answers.
function settle() {
  const shown = main();
  shownAt = performance.now();
  setTimeout(() => (shown.dataset.settled = ""), LEAST_MS);
}

// While a page waits for something, it asks for itself again whenever the server says that there is news.
function listen() {
  stream?.close();
  stream = null;
  const since = main().dataset.since;
  if (since === undefined) return;
  stream = new EventSource(`/events?since=${since}`);
  const source = stream;
  let asking = false, asked = false;
  source.onmessage = async () => {
    if (asking) return void (asked = true);
    asking = true;
    do {
      asked = false;
      try {
        const answer = await fetch(location.pathname);
        const html = await answer.text();
        if (stream !== source || document.querySelector(".busy")) return;
        return show(html, answer.url);
      } catch {
        await pause(500);
      }
    } while (asked || stream === source);
  };
}

async function send(form, body) {
  for (let attempt = 0; ; attempt++) {
    let why = "";
    try {
      const answer = await fetch(form.action, { method: "POST", body });
      const html = await answer.text();
      if (answer.status < 500 && answer.status !== 429) return show(html, answer.url);
      why = new DOMParser().parseFromString(html, "text/html").querySelector(".lede")?.textContent ?? "";
    } catch {
      // no connection: the same as a server that is starting again
    }
    say(`Not saved yet. ${why} Trying again …`);
    await pause(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[data-swap]")) return;
  event.preventDefault();
  const button = event.submitter;
  if (main().classList.contains("busy") || !("settled" in main().dataset)) return;
  const both = form.querySelector("#both")?.checked;
  const best = form.querySelector(".chosen");
  const body = new URLSearchParams(new FormData(form));
  if (both && button.classList.contains("picture") && !best) {
    button.classList.add("chosen");
    document.querySelector(".question").textContent = "And which the least?";
    return;
  }
  if (both && best && best !== button && button.classList.contains("picture")) {
    button.classList.add("worst");
    body.set("worst", button.value);
    body.set("best", best.value);
  } else if (button?.name) {
    body.set(button.name, button.value);
    button.classList.add("chosen");
  }
  main().classList.add("busy");
  if ("timed" in form.dataset) {
    body.set("response_ms", Math.round(performance.now() - shownAt));
    const [first, second] = [...form.querySelectorAll(".picture")].map((picture) => picture.getBoundingClientRect());
    body.set("layout", second.top >= first.bottom ? "stacked" : "side");
  }
  send(form, body);
});

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.repeat || event.target.matches("input:not([type=checkbox])")) return;
  const chosen = document.querySelector(`main [aria-keyshortcuts~="${CSS.escape(event.key)}"]`);
  if (!chosen) return;
  event.preventDefault();
  chosen.click();
});

settle();
addEventListener("pageshow", listen);
// A browser has six connections to a server, and a tab that nobody sees shall not keep one.
document.addEventListener("visibilitychange", () => (document.hidden ? stream?.close() : listen()));
addEventListener("popstate", () => location.reload());
