// The console's live pages: refetch what changed when an event arrives, pick one task's log, post actions.
"use strict";
(() => {
  const live = document.getElementById("live");
  const state = document.getElementById("state");
  if (!live) return;
  let picked = null;
  let waiting = false;
  let again = false;
  let told = { post: null, text: "" };

  // What was picked and told outlives the page's parts, which are replaced whenever the run moves.
  const restore = () => {
    const place = document.getElementById("answer");
    const button = live.querySelector("button[data-post]");
    if (place && button && button.dataset.post === told.post) {
      place.textContent = ` ${told.text}`;
      button.disabled = told.done;
    }
    pick();
  };

  const pick = () => {
    const filter = document.getElementById("filter");
    if (filter) filter.textContent = picked ? ` of ${picked} (click it again for all)` : "";
    for (const row of live.querySelectorAll("tr[data-task], .log tr"))
      row.hidden = picked !== null && row.dataset.task !== picked;
    for (const node of live.querySelectorAll(".graph a"))
      node.classList.toggle("picked", node.getAttribute("href") === `#task-${picked}`);
  };

  const refresh = async () => {
    if (waiting) { again = true; return; }
    waiting = true;
    try {
      const answer = await fetch(live.dataset.watch.replace(/events$/, "state"), { credentials: "same-origin" });
      if (answer.ok) {
        const scroll = live.querySelector(".scroll")?.scrollLeft ?? 0;
        live.innerHTML = await answer.text();
        const box = live.querySelector(".scroll");
        if (box) box.scrollLeft = scroll;
        restore();
      }
    } finally {
      waiting = false;
      if (again) { again = false; refresh(); }
    }
  };

  const source = new EventSource(live.dataset.watch);
  source.addEventListener("open", () => { state.textContent = "live"; });
  source.addEventListener("error", () => { state.textContent = "not connected, trying again…"; });
  source.addEventListener("change", refresh);

  live.addEventListener("click", async (event) => {
    const task = event.target.closest(".graph a");
    if (task) {
      event.preventDefault();
      const id = task.getAttribute("href").slice("#task-".length);
      picked = picked === id ? null : id;
      pick();
      return;
    }
    const button = event.target.closest("button[data-post]");
    if (!button) return;
    button.disabled = true;
    const answer = await fetch(button.dataset.post, {
      method: "POST", credentials: "same-origin", headers: { "X-Harness-Console": "1" },
    });
    const said = await answer.json();
    told = { post: button.dataset.post, text: said.message ?? said.error ?? "", done: answer.ok };
    restore();
  });
})();
