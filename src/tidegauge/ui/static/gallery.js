"use strict";
// Steps through the images of a window by keyboard; the next one is fetched ahead.
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

  // What was opened stays so at the next image.
  let opened = false;
  document.addEventListener("click", (event) => {
    const details = event.target.closest("#viewer .exchange > summary")?.parentElement;
    if (details) opened = !details.open;
  });

  function settle() {
    const details = document.querySelector("#viewer .exchange");
    if (details) details.open = opened;
    const next = document.querySelector("#viewer [data-ahead]")?.dataset.ahead;
    if (next) new Image().src = next;
  }
  document.addEventListener("htmx:after:swap", settle);
  settle();
})();
