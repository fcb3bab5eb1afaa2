// Whoever looks at a page on which something is under way sees how far it is, without reloading: its part `data-refresh` is fetched
// again until the page has none, and then the whole page's content. Without this script the page has a link that does.

const SECONDS = 1;
const pause = () => new Promise((after) => setTimeout(after, SECONDS * 1000));

async function fetched() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
  if (answer?.redirected) location.reload(); // to sign in
  return answer?.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
}

for (let part; (part = document.querySelector("[data-refresh]")); ) {
  await pause();
  if (document.hidden) continue;
  const page = await fetched();
  if (page === null) continue;
  const newer = page.querySelector("[data-refresh]");
  if (newer === null) {
    document.title = page.title;
    document.querySelector("main").replaceWith(page.querySelector("main"));
    document.querySelector("main").focus({ preventScroll: true });
    break;
  }
  const before = part.querySelector("[role=status]").textContent;
  const after = newer.querySelector("[role=status]").textContent;
  if (after !== before) part.querySelector("[role=status]").textContent = after;
  part.querySelector("progress").value = newer.querySelector("progress").value;
}
