"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const pad = (n) => String(n).padStart(2, "0");
  const mine = (iso) => {
    const t = new Date(iso);
    return `${t.getFullYear()}-${pad(t.getMonth() + 1)}-${pad(t.getDate())} ${pad(t.getHours())}:${pad(t.getMinutes())}:${pad(t.getSeconds())}`;
  };
  const zone = $("zone");
  const again = $("again");
  const times = () => {
    for (const t of document.querySelectorAll("time[data-local]")) {
      t.textContent = zone.checked ? mine(t.dateTime) : t.dataset.local;
    }
  };
  const sift = () => {
    const input = $("filter");
    if (!input) return;
    input.parentElement.hidden = false;
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of $("recent").tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) count += 1;
    }
    $("found").textContent = words.length ? `${count} found` : "";
  };
  const sort = (th) => {
    const table = th.closest("table");
    const column = [...th.parentElement.cells].indexOf(th);
    const up = th.getAttribute("aria-sort") !== "ascending";
    for (const other of th.parentElement.cells) other.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => {
      const cell = row.cells[column];
      const time = cell.querySelector("time");
      return time ? time.dateTime : (cell.querySelector("summary") || cell).textContent.trim();
    };
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => key(a).localeCompare(key(b), undefined, { numeric: true }) * (up ? 1 : -1));
    table.tBodies[0].append(...rows);
  };
  const ready = () => {
    times();
    sift();
    if ($("filter")) $("filter").addEventListener("input", sift);
    for (const th of document.querySelectorAll(".stack thead th")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      button.addEventListener("click", () => sort(th));
      th.append(button);
    }
    for (const code of document.querySelectorAll(".commands code")) {
      if (!navigator.clipboard) break;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "copy";
      button.setAttribute("aria-label", `copy: ${code.textContent}`);
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
        setTimeout(() => { button.textContent = "copy"; }, 1500);
      });
      code.parentElement.append(button);
    }
  };
  const show = () => {
    const target = location.hash.length > 1 && $(location.hash.slice(1));
    const details = target && target.querySelector("details");
    if (details) details.open = true;
  };
  const refresh = async () => {
    if (!again.checked || document.hidden) return;
    const fresh = $("fresh");
    try {
      const answer = await fetch(location.pathname, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = [...document.querySelectorAll("tr details[open]")].map((d) => d.closest("tr").id);
      const figures = document.querySelector(".figures[open]");
      const words = $("filter") ? $("filter").value : "";
      const scroll = document.querySelector(".scroll") ? document.querySelector(".scroll").scrollLeft : 0;
      const focus = document.activeElement && document.activeElement.id;
      $("main").replaceWith(page.getElementById("main"));
      document.title = page.title;
      const made = document.querySelector(".made time");
      const next = page.querySelector(".made time");
      made.dateTime = next.dateTime;
      made.dataset.local = next.dataset.local;
      for (const id of open) {
        const row = $(id);
        if (row && row.querySelector("details")) row.querySelector("details").open = true;
      }
      if (figures && document.querySelector(".figures")) document.querySelector(".figures").open = true;
      if ($("filter")) $("filter").value = words;
      if (document.querySelector(".scroll")) document.querySelector(".scroll").scrollLeft = scroll;
      ready();
      if (focus && $(focus)) $(focus).focus();
      fresh.textContent = "Live, as of";
      document.body.classList.remove("stale");
    } catch {
      fresh.textContent = "No answer; as of";
      document.body.classList.add("stale");
    }
  };
  $("tools").hidden = false;
  zone.addEventListener("change", times);
  addEventListener("hashchange", show);
  ready();
  show();
  const line = document.querySelector(".matrix");
  if (line) line.parentElement.scrollLeft = line.scrollWidth;
  if (again) setInterval(refresh, 10000);
})();
