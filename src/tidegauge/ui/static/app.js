"use strict";
// What HTML cannot do by itself: dialogs above lists, pages that follow what happens, choosing rows, the menu.
// Without it every link and form still works, as a page of its own.
(() => {
  const dialog = document.getElementById("dialog");

  let opened = 0;
  async function openSheet(path) {
    if (document.querySelector("main #sheet")) return location.assign(path); // one is a page already
    const mine = ++opened;
    if (!dialog.open) dialog.innerHTML = '<div id="sheet"></div>';
    // Requests of one source wait for each other: a list that is fetched again must not hold the dialog up.
    await htmx.ajax("GET", path, { source: dialog, target: "#sheet", select: "#sheet", swap: "outerHTML" });
    if (mine !== opened) return; // pressed again since
    if (!document.getElementById("sheet")?.childElementCount) return location.assign(path); // a page, no dialog
    if (!dialog.open) dialog.showModal();
    const wrong = dialog.querySelector("[aria-invalid]");
    (wrong || dialog.querySelector("input:not([type=hidden]), select, textarea, button"))?.focus();
  }

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("a[data-dialog]");
    if (opener && dialog && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      openSheet(opener.getAttribute("href"));
      return;
    }
    // A button that asks first, with what its form has chosen.
    const asker = event.target.closest("button[data-dialog]");
    if (asker && dialog) {
      event.preventDefault();
      openSheet(`${asker.getAttribute("formaction")}?${new URLSearchParams(new FormData(asker.form))}`);
      return;
    }
    if (event.target.closest("[data-close]") && dialog?.open) {
      event.preventDefault();
      if (mayLeave()) dialog.close();
      return;
    }
    const copier = event.target.closest("[data-copy]");
    if (copier) copy(copier);
    const tab = event.target.closest("[role=tab]");
    if (tab) chooseTab(tab);
    const menu = event.target.closest(".menu-button");
    if (menu) menu.setAttribute("aria-expanded", menu.getAttribute("aria-expanded") !== "true");
  });

  // A secret that is shown once is selected where it is focused, and copied by a button.
  document.addEventListener("focusin", (event) => event.target.matches?.("[data-select]") && event.target.select());

  async function copy(button) {
    const field = document.getElementById(button.dataset.copy);
    field.select();
    // Only https and this machine have the clipboard; elsewhere the old way.
    if (navigator.clipboard) await navigator.clipboard.writeText(field.value);
    else document.execCommand("copy");
    button.textContent = "Copied";
  }

  // What was typed into a dialog is thrown away only by who says so.
  let typed = false;
  const mayLeave = () => !typed || window.confirm("Close this and lose what you typed?");
  dialog?.addEventListener("input", () => (typed = true));
  // Browsers let the closing itself be prevented only once in a row; the key can be kept from them each time.
  dialog?.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !typed) return;
    event.preventDefault();
    if (mayLeave()) dialog.close();
  });
  dialog?.addEventListener("cancel", (event) => {
    if (event.target === dialog && !mayLeave()) event.preventDefault();
  });

  // What a dialog has made stands in the list below it once the dialog is closed.
  dialog?.addEventListener("close", () => {
    typed = false;
    if (dialog.querySelector("[data-reload]")) location.reload();
  });
  // A list behind a dialog follows what happens, which is no answer to the dialog.
  const isAnswer = (event) => event.detail?.ctx?.target?.id === "sheet";
  document.addEventListener("htmx:after:swap", (event) => {
    if (!isAnswer(event)) return;
    const sheet = dialog?.querySelector("#sheet");
    if (!sheet?.querySelector("form") || sheet.querySelector(".told")?.textContent) typed = false; // it is done
  });

  // An answer that is no form, or none at all, stands above the form that was sent, which stays as it is.
  document.addEventListener("htmx:after:request", (event) => {
    const { response, request, target, select, text, sourceElement } = event.detail.ctx;
    const form = sourceElement.closest("form");
    // A list that follows what happens behind a dialog may not lead away from it.
    if (request.method === "GET" && typed && response.headers.has("HX-Redirect")) event.preventDefault();
    if (request.method === "GET" || response.status < 400 || !form || !target.contains(form)) return;
    const page = new DOMParser().parseFromString(text, "text/html");
    const answer = page.querySelector(select);
    if (answer?.matches("form") || answer?.querySelector("form")) return;
    event.preventDefault();
    refuse(form, page.querySelector("#sheet p")?.textContent || `The server answered ${response.status}.`);
  });
  document.addEventListener("htmx:error", (event) => {
    const { request, sourceElement } = event.detail.ctx || {};
    const form = sourceElement?.closest("form");
    if (form && request.method !== "GET") refuse(form, "The form did not arrive: the server does not answer, or a file is too large for it.");
  });
  document.addEventListener("htmx:before:request", (event) => event.detail.ctx.sourceElement.closest("form")?.querySelector("[data-refusal]")?.remove());

  function refuse(form, message) {
    const line = Object.assign(document.createElement("p"), { className: "error", textContent: `${message} What you typed is still here.` });
    line.setAttribute("role", "alert");
    line.dataset.refusal = "";
    form.querySelector("[data-refusal]")?.remove();
    const title = form.querySelector("h1");
    if (title) title.after(line);
    else form.prepend(line);
    line.scrollIntoView({ block: "nearest" });
  }

  document.addEventListener("htmx:after:swap", () => showParts(document));

  // An error that came back is where the reader has to be next, and its tab the one that shows.
  document.addEventListener("htmx:after:swap", (event) => {
    if (!isAnswer(event)) return;
    const pressed = event.detail?.ctx?.sourceEvent?.submitter?.name;
    if (pressed === "add") [...document.querySelectorAll("#sheet .condition")].at(-1)?.querySelector("select:not([hidden] *), input:not([hidden] *, [type=hidden])")?.focus();
    if (pressed === "remove") document.querySelector("#sheet [name=add]")?.focus();
    const wrong = document.querySelector("#sheet [aria-invalid]");
    if (!wrong) return;
    const panel = wrong.closest("[role=tabpanel]");
    if (panel) chooseTab(document.getElementById(panel.getAttribute("aria-labelledby")));
    wrong.focus();
  });

  function chooseTab(tab) {
    for (const other of tab.closest("[role=tablist]").querySelectorAll("[role=tab]")) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", chosen);
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    }
  }

  document.addEventListener("keydown", (event) => {
    const tab = event.target.closest?.("[role=tab]");
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!tab || !step) return;
    const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]")];
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    chooseTab(next);
    next.focus();
  });

  // Parts that depend on a choice: data-when="field=value value" (a checkbox: field=true).
  function showParts(root) {
    for (const part of root.querySelectorAll("[data-when]")) {
      const [name, values] = part.dataset.when.split("=");
      const input = part.closest("form").elements[name];
      const value = input.type === "checkbox" ? String(input.checked) : input.value;
      part.hidden = !values.split(" ").includes(value);
    }
  }
  document.addEventListener("change", (event) => {
    if (event.target.form) showParts(event.target.form);
    if (event.target.matches("[data-all]")) {
      for (const box of document.querySelectorAll(`input[name="${event.target.dataset.all}"]`)) box.checked = event.target.checked;
    }
    countChosen();
  });

  // Buttons that act on chosen rows wait until one is chosen.
  function countChosen() {
    for (const bar of document.querySelectorAll("[data-chosen]")) {
      const count = document.querySelectorAll(`input[name="${bar.dataset.chosen}"]:checked`).length;
      for (const button of bar.querySelectorAll("button")) button.disabled = !count;
    }
  }

  // Pages follow what happens: the server says that something has changed, and the live part is fetched again.
  function follow() {
    const live = document.querySelector("[data-live]");
    if (!live || !window.EventSource) return;
    let source = null;
    let fetching = false;
    const listen = () => {
      source = new EventSource(`/live?of=${encodeURIComponent(live.dataset.live)}`);
      source.addEventListener("changed", refresh);
      // What happened between the page and the stream is in neither.
      source.addEventListener("open", () => setTimeout(refresh, 500), { once: true });
    };
    const refresh = async () => {
      if (fetching) return;
      fetching = true;
      const chosen = [...document.querySelectorAll(`#${live.id} input:checked`)].map((box) => [box.name, box.value]);
      try {
        await htmx.ajax("GET", location.pathname + location.search, { target: `#${live.id}`, select: `#${live.id}`, swap: "outerMorph" });
      } finally {
        fetching = false;
      }
      for (const [name, value] of chosen) {
        const box = [...document.getElementsByName(name)].find((one) => one.value === value);
        if (box) box.checked = true;
      }
      countChosen();
    };
    listen();
    // A browser has few connections to a server, and a hidden page needs none.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) source.close();
      else {
        listen();
        refresh();
      }
    });
  }

  // A log that grows keeps its end in sight, unless its reader has gone back in it.
  document.addEventListener("scroll", ({ target }) => {
    if (target.matches?.("[data-tail]")) target.away = target.scrollTop + target.clientHeight < target.scrollHeight - 8;
  }, true);
  function showTails() {
    for (const log of document.querySelectorAll("[data-tail]")) if (!log.away) log.scrollTop = log.scrollHeight;
  }
  document.addEventListener("htmx:after:swap", showTails);

  showTails();
  showParts(document);
  countChosen();
  follow();
})();
