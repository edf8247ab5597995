// Refreshes the page in place, switches between devices, and copies settings.
// Everything else on the page works without this script.
"use strict";
(() => {
  const SECONDS = 5;
  const live = () => [...document.querySelectorAll("[data-live]")];
  const copied = document.getElementById("copied");

  // Changes only what differs, so that focus, selection and scroll position stay.
  function adopt(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    const same = old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName &&
      old.id === fresh.id;
    if (!same || old.nodeType !== Node.ELEMENT_NODE) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    for (const { name } of [...old.attributes]) {
      const mine = name === "open";
      if (!mine && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    adoptChildren(old, fresh);
  }

  function adoptChildren(old, fresh) {
    const known = new Map([...old.children].filter((e) => e.id).map((e) => [e.id, e]));
    let at = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      const same = next.id ? known.get(next.id) : at && !at.id ? at : null;
      if (!same) {
        old.insertBefore(document.importNode(next, true), at);
        continue;
      }
      if (same !== at) old.insertBefore(same, at);
      at = same.nextSibling;
      adopt(same, next);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  async function refresh() {
    if (document.hidden || !live().length) return;
    const held = document.activeElement && document.activeElement.id;
    let page;
    try {
      const answer = await fetch(location.pathname + location.search, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      page = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch (error) {
      document.documentElement.classList.add("stale");
      return;
    }
    document.documentElement.classList.remove("stale");
    for (const old of live()) {
      const fresh = page.getElementById(old.id);
      if (fresh) adopt(old, fresh);
    }
    // An element that was moved has lost the focus.
    const again = held && document.getElementById(held);
    if (again && document.activeElement !== again) again.focus({ preventScroll: true });
  }

  // A page that shows a key is the answer to a POST: a GET of its URL would remove the key.
  if (!document.getElementById("key")) {
    setInterval(refresh, SECONDS * 1000);
    document.addEventListener("visibilitychange", refresh);
  }

  for (const chooser of document.querySelectorAll("select[data-submits]")) {
    chooser.addEventListener("change", () => chooser.form.submit());
  }
  for (const chooser of document.querySelectorAll("select[data-chooses]")) {
    chooser.addEventListener("change", () => {
      for (const one of document.querySelectorAll("[data-snippet]")) {
        one.hidden = one.dataset.snippet !== chooser.value;
      }
    });
  }
  for (const button of document.querySelectorAll("button[data-copies]")) {
    const source = document.getElementById(button.dataset.copies);
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
        copied.textContent = button.textContent = "Copied";
      } catch (error) {
        // Without HTTPS there is no clipboard: select the text, so that Ctrl-C copies it.
        getSelection().selectAllChildren(source);
        copied.textContent = button.textContent = "Selected: press Ctrl-C";
      }
    });
  }
})();
