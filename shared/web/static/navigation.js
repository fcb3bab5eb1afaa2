// How much waits for the reader, beside the links that lead there. Each service knows only its own figures, so the page
// asks the one that does; without this script the entry is still there, and so is the list behind it.

const badges = [...document.querySelectorAll("[data-waiting]")];
const number = new Intl.NumberFormat(document.documentElement.lang);

for (const address of new Set(badges.map((badge) => badge.dataset.waiting))) {
  const answer = await fetch(address, { headers: { accept: "application/json" } }).catch(() => null);
  if (!answer?.ok) continue;
  const { total } = await answer.json();
  for (const badge of badges.filter((one) => one.dataset.waiting === address)) {
    badge.querySelector("[data-n]").textContent = number.format(total);
    badge.hidden = total === 0;
  }
}
