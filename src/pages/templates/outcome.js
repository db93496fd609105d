(() => {
  const said = document.getElementById("said");
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        said.textContent = said.dataset.copied;
      } catch {
        getSelection().selectAllChildren(document.getElementById("code"));
        said.textContent = said.dataset.refused;
      }
    });
  }
  const shown = document.querySelector("[data-live]");
  if (!shown) return;
  // The page is shown anew once its state has changed. It asks less often as time passes, and after ten minutes only when
  // the human comes back to it.
  const until = Date.now() + 600000;
  let wait = 2000;
  const look = async () => {
    clearTimeout(next);
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store", redirect: "error" });
      if (answer.ok || answer.status === 410) {
        // Not by a DOMParser: its document has this page's policy, which refuses the style with another nonce.
        const now = / data-state=["']?(\w+)/.exec(await answer.text());
        if (now && now[1] !== shown.dataset.state) return location.reload();
      }
    } catch {
      // Offline, or signed out: the page stays as it is.
    }
    wait = Math.min(wait * 1.25, 15000);
    if (Date.now() < until) next = setTimeout(look, wait);
  };
  document.addEventListener("visibilitychange", look);
  let next = setTimeout(look, wait);
})();
