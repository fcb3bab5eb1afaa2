// How much waits for the reader, beside the entry that leads there. Each service knows only its own figures, so the page
// asks the one that does; without this script the entry is still there, and so is the list behind it.

for (const badge of document.querySelectorAll("[data-waiting]")) {
  const answer = await fetch(badge.dataset.waiting, { headers: { accept: "application/json" } }).catch(() => null);
  if (!answer?.ok) continue;
  const { total } = await answer.json();
  badge.querySelector("[data-n]").textContent = new Intl.NumberFormat(document.documentElement.lang).format(total);
  badge.hidden = total === 0;
}
