"use strict";
// Steps through the images of a window by keyboard, and fetches the next one ahead.
(() => {
  const steps = { ArrowLeft: "back", ArrowRight: "on", k: "back", j: "on" };

  document.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]") || event.target.closest("input, select, textarea, [role=tab], .scroll")) return;
    const link = document.querySelector(`#viewer a[data-step=${step}]`);
    if (!link) return;
    event.preventDefault();
    link.click();
  });

  function lookAhead() {
    const next = document.querySelector("#viewer [data-ahead]")?.dataset.ahead;
    if (next) new Image().src = next;
  }
  document.addEventListener("htmx:after:swap", lookAhead);
  lookAhead();
})();
