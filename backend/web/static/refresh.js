// Refreshes the page in place, shows times in the reader's time zone, and copies settings.
// Everything else on the page works without this script.
"use strict";
(() => {
  const SECONDS = 5;
  const live = () => [...document.querySelectorAll("[data-live]")];
  const byId = (id) => document.getElementById(id);
  const copied = byId("copied");
  let ahead = 0; // milliseconds by which the clock of the service is ahead of ours

  // Changes only what differs, so that focus, selection and scroll position stay.
  function adopt(old, fresh) {
    if ("same" in fresh.dataset) return; // the service knows that we have it
    const same = old.nodeName === fresh.nodeName && old.id === fresh.id;
    if (!same) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    adoptChildren(old, fresh);
  }

  function adoptNode(old, fresh) {
    if (old.nodeType === Node.ELEMENT_NODE && fresh.nodeType === Node.ELEMENT_NODE) {
      adopt(old, fresh);
    } else if (!old.isEqualNode(fresh)) {
      old.replaceWith(document.importNode(fresh, true));
    }
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
      adoptNode(same, next);
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
      const headers = { "X-Have": live().map((one) => one.dataset.live).join() };
      const answer = await fetch(location.pathname + location.search, { cache: "no-store", headers });
      if (!answer.ok) throw new Error(String(answer.status));
      page = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch (error) {
      document.documentElement.classList.add("stale");
      return;
    }
    document.documentElement.classList.remove("stale");
    for (const old of live()) {
      const fresh = old.isConnected && page.getElementById(old.id);
      if (fresh) adopt(old, fresh);
    }
    show();
    // An element that was moved has lost the focus.
    const again = held && byId(held);
    if (again && document.activeElement !== again) again.focus({ preventScroll: true });
  }

  // Times: the service writes UTC, and durations as of the moment of its answer.
  const two = (number) => String(number).padStart(2, "0");
  const day = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const clock = (at) => `${two(at.getHours())}:${two(at.getMinutes())}`;
  const UTC = /(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC/g;
  const UNITS = [[86400, "day"], [3600, "h"], [60, "min"], [1, "s"]];

  function rough(seconds) {
    const [size, unit] = UNITS.find(([size]) => seconds >= size) || UNITS[3];
    const number = Math.floor(seconds / size);
    return `${number} ${unit}${unit === "day" && number !== 1 ? "s" : ""}`;
  }

  const FORMS = {
    ago: (at, now) => (now - at < 5000 ? "just now" : `${rough((now - at) / 1000)} ago`),
    lasting: (at, now) => rough(Math.max(0, now - at) / 1000),
    until: (at, now) => (at <= now ? "now" : `in ${rough((at - now) / 1000)}`),
    minute: (at) => `${day(at)} ${clock(at)}`,
    since: (at, now) => (day(at) === day(now) ? clock(at) : `${day(at)} ${clock(at)}`),
    clock: (at) => `${clock(at)}:${two(at.getSeconds())}`,
  };

  function write(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function show() {
    const fresh = byId("fresh");
    if (fresh && fresh.dataset.now !== show.seen) {
      show.seen = fresh.dataset.now;
      ahead = new Date(show.seen) - Date.now();
    }
    const now = new Date(Date.now() + ahead);
    for (const one of document.querySelectorAll("time[data-form]")) {
      const at = new Date(one.dateTime);
      write(one, FORMS[one.dataset.form](at, now));
      one.title = `${day(at)} ${FORMS.clock(at)}`;
    }
    for (const one of document.querySelectorAll(".timeline title")) {
      write(one, one.textContent.replace(UTC, (_, date, time) => {
        const at = new Date(`${date}T${time}Z`);
        return `${day(at)} ${clock(at)}`;
      }));
    }
    const month = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short" });
    for (const one of document.querySelectorAll("text[data-at]")) {
      const at = new Date(one.dataset.at);
      write(one, one.dataset.hours === "1" ? clock(at) : month.format(at));
    }
    const zone = Intl.DateTimeFormat("en", { timeZoneName: "short" })
      .formatToParts(now).find((part) => part.type === "timeZoneName").value;
    for (const one of document.querySelectorAll("[data-zone]")) write(one, zone);
    const summary = document.querySelector("[data-title]");
    if (summary) {
      if (document.title !== summary.dataset.title) document.title = summary.dataset.title;
      if (byId("icon").href !== summary.dataset.icon) byId("icon").href = summary.dataset.icon;
    }
  }

  show();
  setInterval(show, 1000);
  if (live().length) {
    const again = async () => {
      const start = Date.now();
      await refresh();
      // A page that takes long, as with thousands of hosts, is refreshed less often.
      setTimeout(again, Math.max(SECONDS * 1000, 10 * (Date.now() - start)));
    };
    setTimeout(again, SECONDS * 1000);
    document.addEventListener("visibilitychange", refresh);
  }

  for (const chooser of document.querySelectorAll("select[data-submits]")) {
    chooser.addEventListener("change", () => chooser.form.submit());
  }
  for (const button of document.querySelectorAll("button[data-copies]")) {
    const source = byId(button.dataset.copies);
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
        copied.textContent = `Copied ${button.dataset.copies}`;
      } catch (error) {
        // Without HTTPS there is no clipboard: select the text, so that Ctrl-C copies it.
        getSelection().selectAllChildren(source);
        copied.textContent = button.textContent = "Press Ctrl-C";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 3000);
    });
  }

  // The timeline: a tap shows what a mouse shows on hover. A bar may be narrower than a finger.
  const FINGER = 22; // pixels around a tap
  function partAt({ target, clientX, clientY }) {
    const distance = (part) => {
      const { left, right, top, bottom } = part.getBoundingClientRect();
      return Math.hypot(Math.max(left - clientX, 0, clientX - right), Math.max(top - clientY, 0, clientY - bottom));
    };
    const parts = [...target.closest(".timeline").querySelectorAll("g")];
    const [nearest] = parts.sort((one, other) => distance(one) - distance(other));
    return target.closest("g") || (nearest && distance(nearest) <= FINGER ? nearest : null);
  }
  document.addEventListener("click", (event) => {
    const part = event.target.closest && event.target.closest(".timeline") && partAt(event);
    if (part) {
      byId("detail").hidden = false;
      byId("detail").textContent = part.querySelector("title").textContent;
    }
  });
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("#entries-box, #service")) one.open = true;
  });
  // A link to a section opens it.
  const openTarget = () => {
    const box = location.hash && byId(`${location.hash.slice(1)}-box`);
    if (box) box.open = true;
  };
  addEventListener("hashchange", openTarget);
  openTarget();
})();
