// Sends answers without leaving the page, again and again until they are saved; keys; response times; the untouched slider.
// Everything but the slider works without it.
"use strict";

const RETRY_MS = [500, 1000, 2000, 4000, 8000];
const MOST_PATIENCE_MS = 30000;
// Nobody sees and judges two images so fast: it is the second half of a double click on the trial before.
const LEAST_MS = 300;
let shownAt = null;

// The sentences stand on the page, in its language.
function say(sentence) {
  document.getElementById("status").textContent = sentence ? document.body.dataset[sentence] : "";
}

// Response time counts from the moment when every image of the trial can be seen.
async function begin() {
  const form = document.querySelector("form[data-trial]");
  if (!form) return;
  shownAt = null;
  const images = [...form.querySelectorAll("img")];
  form.classList.add("loading", "busy");
  try {
    await Promise.all(images.map((image) => image.decode()));
  } catch {
    say("notLoaded");
    return;
  }
  form.classList.remove("loading", "busy");
  form.dataset.shown = "";
  shownAt = performance.now();
  for (const name of form.dataset.ahead.split(" ").filter(Boolean)) fetchAhead(images[0], name);
}

// In the size in which it will be shown.
function fetchAhead(like, name) {
  const image = new Image();
  if (!like.srcset) {
    image.src = `/assets/${name}.png`;
    return;
  }
  image.sizes = like.sizes;
  image.srcset = like.srcset.replaceAll(like.getAttribute("src").slice(0, -".png".length), `/assets/${name}`);
}

function show(html, url) {
  const page = new DOMParser().parseFromString(html, "text/html");
  if (!page.querySelector("form[data-trial]")) {
    location.assign(url); // a break, the end, or a refusal: a page of its own
    return;
  }
  document.title = page.title;
  document.getElementById("main").replaceWith(page.getElementById("main"));
  history.replaceState(null, "", new URL(url).pathname);
  say("");
  scrollTo(0, 0);
  document.getElementById("main").focus({ preventScroll: true });
  begin();
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function post(form, body) {
  const waits = new AbortController();
  const timer = setTimeout(() => waits.abort(), MOST_PATIENCE_MS);
  try {
    const answer = await fetch(form.action, { method: "POST", body, signal: waits.signal });
    return { status: answer.status, url: answer.url, html: await answer.text() };
  } catch {
    return { status: 0 }; // no connection: the same as a server that is starting again
  } finally {
    clearTimeout(timer);
  }
}

// The server counts an answer once, however often it arrives.
async function send(form, body) {
  for (let attempt = 0; ; attempt++) {
    const answer = await post(form, body);
    if (answer.status >= 200 && answer.status < 300) return show(answer.html, answer.url);
    if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) {
      say("notTaken");
      return;
    }
    say("retrying");
    await pause(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
  }
}

// However slow the second half of a double click is, it answers nothing.
document.addEventListener("click", (event) => {
  if (event.detail > 1 && event.target.closest("form.pair")) event.preventDefault();
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[data-trial]")) return;
  event.preventDefault();
  if (form.classList.contains("busy") || shownAt === null) return;
  if (form.querySelector("[data-untouched]")) return;
  if (performance.now() - shownAt < LEAST_MS) return;
  form.classList.add("busy");
  if (form.elements.layout) {
    const stacked = getComputedStyle(document.querySelector(".pair .stacked")).display !== "none";
    form.elements.layout.value = stacked ? "stacked" : "side";
  }
  form.elements.response_ms.value = Math.round(performance.now() - shownAt);
  const body = new URLSearchParams(new FormData(form));
  if (event.submitter?.name) {
    body.set(event.submitter.name, event.submitter.value);
    event.submitter.classList.add("chosen");
  }
  send(form, body);
});

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z") {
    const undo = document.querySelector(".undo button");
    if (undo && getComputedStyle(undo).visibility === "visible") {
      event.preventDefault();
      undo.click();
    }
    return;
  }
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.repeat) return;
  const chosen = document.querySelector(`form.pair button[aria-keyshortcuts="${event.key}"]`);
  if (chosen) {
    event.preventDefault();
    chosen.click();
    return;
  }
  const slider = document.querySelector("form.rating input[type=range]");
  if (!slider) return;
  if (/^[1-5]$/.test(event.key)) {
    event.preventDefault();
    move(slider, (Number(event.key) - 1) * 25);
  } else if (document.activeElement !== slider && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
    event.preventDefault();
    const forwards = (event.key === "ArrowRight") === (getComputedStyle(slider).direction === "ltr");
    move(slider, Number(slider.value) + (forwards ? 1 : -1));
  } else if (event.key === "Enter" && document.activeElement === slider) {
    event.preventDefault();
    slider.form.requestSubmit(slider.form.querySelector("button[type=submit]:enabled") ?? undefined);
  }
});

function move(slider, value) {
  slider.focus();
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}

function touch(slider) {
  const scale = slider.closest(".slider");
  scale.removeAttribute("data-untouched");
  slider.form.querySelector("button[type=submit]").disabled = false;
  const words = [...document.querySelectorAll("#anchor-words li")].map((word) => word.textContent.trim());
  const nearest = words[Math.round((Number(slider.value) / 100) * (words.length - 1))];
  const said = scale.dataset.value.replace("{value}", Math.round(slider.value)).replace("{anchor}", nearest);
  slider.setAttribute("aria-valuetext", said);
}

// A click on the very middle changes no value, but is an answer.
for (const kind of ["input", "change", "pointerup"]) {
  document.addEventListener(kind, (event) => {
    if (event.target.matches?.(".slider input[type=range]")) touch(event.target);
  });
}

addEventListener("pageshow", begin);
