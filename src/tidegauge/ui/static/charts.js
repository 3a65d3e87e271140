"use strict";
// Charts: each is drawn when it comes into view, from the JSON that its data-chart names, and again when the
// theme changes or a new window has come. What cannot be drawn is shown as a picture that the server made.
(() => {
  const vega = document.currentScript.dataset.vega;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map(); // the view of each chart, to be ended when it is drawn again
  const loaded = new Map(); // what each address gave
  let library = null;
  let queue = Promise.resolve(); // one after the other: a phone stays usable meanwhile

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true"); // the numbers are in the table
  document.body.append(tip);

  // Names of classes and features may hold anything: they are text, never markup.
  function showTip(_handler, event, _item, value) {
    tip.replaceChildren();
    tip.hidden = !value || typeof value !== "object";
    if (tip.hidden) return;
    for (const [name, text] of Object.entries(value)) {
      if (text === "" || text === "NaN" || text === "null" || text === "undefined") continue;
      const row = document.createElement("div");
      const label = document.createElement("span");
      label.textContent = name;
      const number = document.createElement("b");
      number.textContent = text;
      row.append(label, number);
      tip.append(row);
    }
    const box = tip.getBoundingClientRect();
    const left = event.clientX + 14 + box.width > innerWidth ? event.clientX - 14 - box.width : event.clientX + 14;
    const top = event.clientY + 14 + box.height > innerHeight ? event.clientY - 14 - box.height : event.clientY + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, top)}px`;
  }
  addEventListener("scroll", () => (tip.hidden = true), { passive: true });

  function themed(spec, box) {
    const style = getComputedStyle(document.documentElement);
    const canvas = getComputedStyle(box);
    const quiet = canvas.color;
    const made = structuredClone(spec);
    for (const part of ["axis", "legend"]) Object.assign(made.config[part], { labelColor: quiet });
    Object.assign(made.config.axis, { titleColor: quiet });
    if (style.fontFamily) for (const part of ["axis", "legend"]) made.config[part].labelFont = style.fontFamily;
    made.width = "container";
    made.height = "container";
    made.autosize = { type: "fit", contains: "padding" };
    if (box.clientWidth < 420) made.config.legend.columns = 2;
    return made;
  }

  async function read(path) {
    if (!loaded.has(path)) {
      const answer = await fetch(path, { headers: { Accept: "application/json" } });
      if (!answer.ok || answer.redirected) throw new Error(`${path}: ${answer.status}`);
      loaded.set(path, await answer.json());
    }
    return loaded.get(path);
  }

  async function draw(box) {
    const path = box.dataset.chart;
    const place = document.createElement("div");
    place.className = "drawing";
    try {
      library ??= import(vega);
      const [found] = await Promise.all([read(path), library]);
      const note = box.parentElement.querySelector(".note");
      if (note && found.note) note.textContent = found.note;
      if (found.empty) {
        const none = document.createElement("p");
        none.className = "quiet nothing";
        none.textContent = "Nothing was measured in this range.";
        place.append(none);
        box.replaceChildren(place);
        return;
      }
      place.classList.add("coming"); // above the old one, unseen: nothing flickers
      box.append(place);
      const result = await window.vegaEmbed(place, themed(found.spec, box), {
        mode: "vega-lite", actions: false, ast: true, defaultStyle: false, renderer: "canvas", tooltip: showTip,
      });
      place.querySelector("canvas")?.setAttribute("aria-hidden", "true");
      drawn.get(box)?.finalize();
      drawn.set(box, result);
      for (const other of [...box.children]) if (other !== place) other.remove();
      place.classList.remove("coming");
    } catch (error) {
      const image = document.createElement("img");
      image.className = "chart";
      image.alt = box.getAttribute("aria-label");
      image.src = path.replace(".json?", ".svg?");
      box.replaceChildren(image);
      console.info(`A chart is shown as a picture: ${error.message}`);
    }
  }

  const later = (box) => (queue = queue.then(() => draw(box)));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      later(entry.target);
    }
  }, { rootMargin: "300px" });
  const all = () => document.querySelectorAll("[data-chart]");
  for (const box of all()) seen.observe(box);

  function again() {
    for (const box of all()) {
      if (!box.firstElementChild) continue;
      seen.unobserve(box);
      seen.observe(box);
    }
  }
  dark.addEventListener("change", again);

  // The table is read from the very CSV that can be saved; its first column leads to the run.
  async function fill(details) {
    const place = details.querySelector(".numbers");
    if (place.dataset.from === details.dataset.numbers) return;
    place.dataset.from = details.dataset.numbers;
    const answer = await fetch(details.dataset.numbers);
    if (!answer.ok) {
      place.textContent = "The numbers could not be read; open the page again.";
      return;
    }
    const [head, ...rows] = parse(await answer.text());
    const table = document.createElement("table");
    const run = head.indexOf("run");
    const names = head.filter((_, index) => index !== run);
    const top = table.createTHead().insertRow();
    for (const name of names) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name.replaceAll("_", " ");
      top.append(cell);
    }
    const body = table.createTBody();
    for (const row of run < 0 ? rows : rows.reverse()) {
      const line = body.insertRow();
      row.forEach((text, index) => {
        if (index === run) return;
        const cell = line.insertCell();
        if (run >= 0 && index === 0) {
          const link = document.createElement("a");
          link.href = details.dataset.runs + encodeURIComponent(row[run]);
          link.textContent = text.replace("T", " ").replace(":00Z", " UTC");
          cell.append(link);
        } else cell.textContent = (/^\d{4}-.*Z$/.test(text) ? text.replace("T", " ").replace(":00Z", " UTC") : text) || "-";
      });
    }
    place.replaceChildren(table);
  }

  function parse(text) {
    const rows = [[]];
    for (const found of text.matchAll(/(?:"((?:[^"]|"")*)"|([^,\n]*))(,|\n|$)/g)) {
      if (found[0] === "" && found.index === text.length) break;
      rows.at(-1).push(found[1] !== undefined ? found[1].replaceAll('""', '"') : found[2]);
      if (found[3] === "\n") rows.push([]);
    }
    return rows.filter((row) => row.length > 1 || row[0]);
  }

  document.addEventListener("toggle", (event) => {
    if (event.target.matches?.("details[data-numbers]") && event.target.open) fill(event.target);
  }, true);

  // A new window has come: what is shown up to now is drawn again, with its new name in each address.
  let newest = document.getElementById("now")?.dataset.newest;
  document.addEventListener("htmx:after:swap", () => {
    const now = document.getElementById("now")?.dataset.newest;
    if (!now || now === newest) return;
    const renamed = (path) => path.replace(`newest=${newest}`, `newest=${now}`);
    for (const box of all()) box.dataset.chart = renamed(box.dataset.chart);
    for (const link of document.querySelectorAll(".files a")) link.href = renamed(link.getAttribute("href"));
    for (const details of document.querySelectorAll("details[data-numbers]")) {
      details.dataset.numbers = renamed(details.dataset.numbers);
      if (details.open) fill(details);
    }
    newest = now;
    loaded.clear();
    again();
  });
})();
