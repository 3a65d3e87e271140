"use strict";
// Asks as soon as images are dropped, chosen or pasted. Without it the button does.
(() => {
  const input = () => document.querySelector(".drop-zone input[type=file]");

  document.addEventListener("change", (event) => {
    if (event.target === input() && event.target.files.length) event.target.form.requestSubmit();
  });

  // The input lies over the whole zone and takes drops by itself; this only shows that it would.
  for (const [name, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
    document.addEventListener(name, (event) => event.target.closest?.(".drop-zone")?.classList.toggle("over", over));
  }

  document.addEventListener("paste", (event) => {
    if (!input() || !event.clipboardData?.files.length) return;
    event.preventDefault();
    input().files = event.clipboardData.files;
    input().form.requestSubmit();
  });

  // A message of an earlier choice does not stay beside the next one, and the same file can be chosen again.
  document.addEventListener("htmx:after:swap", () => {
    if (input()) input().value = "";
    document.querySelector("#answers .panel, #playground .error")?.scrollIntoView({ block: "nearest" });
  });
})();
