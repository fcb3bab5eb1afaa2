// Keeps the overview live: figures and events come over one EventSource, and go into the page the server rendered.
// The page is complete without this script; with it, nothing needs reloading.

const page = document.querySelector("[data-stream]");
const language = document.documentElement.lang || "en";
const number = new Intl.NumberFormat(language);
const written = { sv: "sv-SE", en: "en-GB" }[language]; // day before month, as the server writes it
const timeZone = page.dataset.zone; // the reader's, wherever this browser is
const day = new Intl.DateTimeFormat(written, { day: "numeric", month: "long", year: "numeric", timeZone });
const clock = new Intl.DateTimeFormat(written, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone });
const MOST_ROWS = 20;
const SHOW_RECONNECTING_AFTER = 1500; // the server asks everybody to come again now and then; that is not worth a word

// --- the connection, and how it is shown ---------------------------------------------------------------------------

const badge = document.querySelector("[data-connection]");
let position = Number(page.dataset.position);
let source = null;
let attempts = 0;
let doubt = null;

function show(state) {
  clearTimeout(doubt);
  doubt = null;
  if (badge.dataset.connection === state) return;
  badge.dataset.connection = state;
  badge.querySelector("[data-words]").textContent = badge.dataset[state];
}

function doubtful() {
  doubt ??= setTimeout(() => show("reconnecting"), SHOW_RECONNECTING_AFTER);
}

function connect() {
  source?.close();
  const address = new URL(page.dataset.stream, location.href); // keeps the page's own filters
  address.searchParams.set("after", position);
  const here = (source = new EventSource(address));
  const on = (name, handle) => here.addEventListener(name, (event) => handle(JSON.parse(event.data)));
  here.addEventListener("open", () => {
    attempts = 0;
    show("live");
  });
  on("snapshot", showFigures);
  on("figures", showFigures);
  on("message", (entry) => {
    position = entry.position;
    enqueue(entry);
  });
  on("gap", (gap) => {
    position = gap.kept_after;
    document.querySelector("[data-gap]").hidden = false;
  });
  here.addEventListener("error", () => {
    doubtful();
    if (here.readyState === EventSource.CLOSED) reconnectLater(); // the browser gives up on anything but 200
  });
}

async function reconnectLater() {
  const wait = Math.min(30_000, 1000 * 2 ** attempts++) * (0.5 + Math.random());
  await new Promise((resolve) => setTimeout(resolve, wait));
  const answer = await fetch(page.dataset.overview, { cache: "no-store" }).catch(() => null);
  if (answer?.status === 401) show("signed_out");
  else connect();
}

addEventListener("offline", () => show("reconnecting"));
addEventListener("online", connect);

// --- figures -------------------------------------------------------------------------------------------------------

const valueOf = (figures, path) => path.split(".").reduce((at, key) => at?.[key], figures);

function showFigures(figures) {
  for (const place of document.querySelectorAll("[data-figure]")) {
    const value = valueOf(figures, place.dataset.figure) ?? 0;
    const words = number.format(value);
    if (place.textContent === words) continue;
    place.textContent = words;
    flash(place);
  }
  for (const chart of document.querySelectorAll("[data-bars]")) {
    const bars = [...chart.querySelectorAll("[data-bar]")];
    const values = bars.map((bar) => valueOf(figures, bar.dataset.bar) ?? 0);
    const most = Math.max(1, ...values);
    bars.forEach((bar, nth) => bar.setAttribute("width", `${(100 * values[nth]) / most}%`));
  }
  if (figures.position > 0) {
    document.querySelector("[data-empty]")?.setAttribute("hidden", "");
    document.querySelector("[data-filled]")?.removeAttribute("hidden");
  }
}

function flash(place) {
  place.classList.remove("live-changed");
  requestAnimationFrame(() => place.classList.add("live-changed"));
}

// --- events --------------------------------------------------------------------------------------------------------

const list = document.querySelector("[data-events]");
const pattern = document.querySelector("template[data-event]");
const pause = document.querySelector("[data-pause]");
let fresh = []; // rows not drawn yet, oldest first: { words, entry, times }
let missed = 0; // events that came while paused
let paused = false;
let drawing = false;

// The same thing again is one row with a count: an import of a thousand people is one line, not a thousand. Rows are
// merged before they are drawn, so a burst, or a page in a background tab, costs no more than the rows it shows.
function enqueue(entry) {
  const words = entry.text[language] ?? entry.text.en;
  const last = fresh.at(-1);
  if (last?.words === words) Object.assign(last, { entry, times: last.times + 1 });
  else fresh.push({ words, entry, times: 1 });
  if (fresh.length > MOST_ROWS) fresh.shift();
  if (paused) {
    missed += 1;
    pause.querySelector("[data-words]").textContent = `${pause.dataset.resume} (${number.format(missed)} ${pause.dataset.waiting})`;
  } else if (!drawing) {
    drawing = true;
    requestAnimationFrame(draw);
  }
}

function draw() {
  drawing = false;
  if (paused) return;
  document.querySelector("[data-no-events]")?.remove();
  for (const { words, entry, times } of fresh.splice(0)) {
    let row = list.firstElementChild;
    if (row?.dataset.words !== words) list.prepend((row = rowFor(entry, words)));
    fill(row, entry, Number(row.dataset.times) + times);
  }
  while (list.children.length > MOST_ROWS) list.lastElementChild.remove();
}

function rowFor(entry, words) {
  const row = pattern.content.firstElementChild.cloneNode(true);
  row.dataset.words = words;
  row.dataset.times = "0";
  row.dataset.about = entry.event.type.split(".")[1];
  row.classList.add("live-arrived");
  row.querySelector("[data-text]").textContent = words;
  return row;
}

function fill(row, entry, times) {
  row.dataset.times = String(times);
  const count = row.querySelector("[data-count]");
  count.hidden = times === 1;
  count.textContent = `× ${number.format(times)}`;
  const time = row.querySelector("time");
  time.dateTime = entry.event.time;
  const at = new Date(entry.event.time);
  time.textContent = `${day.format(at)} ${clock.format(at)}`;
  const trace = row.querySelector("[data-trace]");
  trace.dataset.trace = trace.title = entry.trace;
  trace.querySelector("[data-short]").textContent = entry.trace.slice(0, 8);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  missed = 0;
  pause.querySelector("[data-words]").textContent = paused ? pause.dataset.resume : pause.dataset.pause;
  if (!paused) draw();
});

list.addEventListener("click", async (event) => {
  const trace = event.target.closest("[data-trace]");
  if (!trace) return;
  await navigator.clipboard.writeText(trace.dataset.trace);
  const short = trace.querySelector("[data-short]");
  const before = short.textContent;
  short.textContent = list.dataset.copied;
  setTimeout(() => (short.textContent = before), 1200);
});

show("connecting");
connect();
