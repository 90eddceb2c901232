// A part of a page that changes by itself is asked for again, as long as the page says so. Without this, people load the page again.
"use strict";

const MOST_FAILURES = 5;

function follow(part, failures) {
  const seconds = Number(part.dataset.refresh);
  if (!seconds) return;
  setTimeout(async () => {
    if (document.hidden) return follow(part, failures);
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = page.getElementById(part.id);
      if (!now) return;
      // Where somebody reads or has marked something, it stays.
      if (now.innerHTML !== part.innerHTML && !part.contains(document.activeElement) && getSelection().isCollapsed) {
        part.replaceWith(now);
        return follow(now, 0);
      }
      part.dataset.refresh = now.dataset.refresh || part.dataset.refresh;
      follow(part, 0);
    } catch {
      if (failures < MOST_FAILURES) follow(part, failures + 1);
    }
  }, seconds * 1000);
}

for (const part of document.querySelectorAll("[data-refresh]")) follow(part, 0);
