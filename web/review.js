"use strict";
const token = new URLSearchParams(location.search).get("token"),
  $ = (id) => document.getElementById(id);
let items = [],
  at = 0,
  busy = false;
const ask = (path, body) =>
  fetch(path, {
    method: body ? "POST" : "GET",
    headers: { "X-Token": token, "Content-Type": "application/json" },
    body: body ? JSON.stringify(body) : undefined,
    cache: "no-store",
  });
const say = (text, kind) => {
  $("status").textContent = text;
  $("status").className = kind || "";
};
const decided = () => items.filter((i) => i.verdict).length;
function show() {
  $("count").textContent = decided() + " of " + items.length + " decided";
  $("bar").max = Math.max(1, items.length);
  $("bar").value = decided();
  $("details").hidden = $("editor").hidden = true;
  if (at >= items.length) {
    $("prompt").textContent = items.length
      ? "All done. You can close this page and stop the command."
      : "No label in this run needs review (--all shows every label).";
    $("why").replaceChildren();
    document.querySelector(".pair").hidden = true;
    return;
  }
  document.querySelector(".pair").hidden = false;
  const i = items[at];
  $("prompt").textContent = i.prompt;
  $("why").replaceChildren(
    ...i.why.map((w) => {
      const s = document.createElement("span");
      s.textContent = w;
      return s;
    }),
  );
  for (const side of ["a", "b"]) {
    $(side).querySelector("span").textContent = i[side];
    $(side).classList.toggle("chosen", i.verdict === side || i.verdict === "equal");
    $(side).scrollTop = 0;
  }
  $("details").textContent = i.details;
}
async function decide(verdict, edited) {
  if (busy || at >= items.length) return;
  busy = true;
  say("saving ...");
  const i = items[at];
  try {
    const reply = await ask("/decide", { number: i.number, verdict, edited });
    if (!reply.ok) throw new Error(await reply.text());
    i.verdict = verdict;
    i.edited = edited || "";
    say(
      "saved: " +
        (verdict === "edit"
          ? "your answer"
          : verdict === "a" || verdict === "b"
            ? verdict.toUpperCase() + " is better"
            : verdict),
      "good",
    );
    at++;
    while (at < items.length && items[at].verdict) at++;
    show();
  } catch (error) {
    say("NOT saved: " + error.message, "bad");
  }
  busy = false;
}
function back() {
  if (at > 0) {
    at--;
    say(items[at].verdict ? "decided before: " + items[at].verdict + "; decide again to change it" : "");
    show();
  }
}
function write() {
  if (at >= items.length) return;
  const i = items[at];
  $("editor").hidden = false;
  $("own").value = i.edited || (i.verdict === "b" ? i.b : i.a);
  $("own").focus();
}
const leave = () => {
  $("editor").hidden = true;
  $("write").focus();
};
const details = () => {
  if (at < items.length) $("details").hidden = !$("details").hidden;
};
for (const b of document.querySelectorAll("[data-verdict]")) b.onclick = () => decide(b.dataset.verdict);
$("write").onclick = write;
$("save").onclick = () => decide("edit", $("own").value);
$("leave").onclick = leave;
$("back").onclick = back;
$("more").onclick = details;
addEventListener("keydown", (e) => {
  if (!$("editor").hidden && !e.isComposing) {
    if (e.key === "Escape") {
      e.preventDefault();
      leave();
    } else if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) {
      e.preventDefault();
      decide("edit", $("own").value);
    }
  }
  if (e.target === $("own")) return;
  if (e.ctrlKey || e.metaKey || e.altKey || e.repeat) return;
  const verdict = {
    a: "a",
    1: "a",
    ArrowLeft: "a",
    b: "b",
    2: "b",
    ArrowRight: "b",
    e: "equal",
    "=": "equal",
    s: "skip",
  }[e.key];
  if (verdict) {
    e.preventDefault();
    decide(verdict);
  } else if (e.key === "u" || e.key === "Backspace") {
    e.preventDefault();
    back();
  } else if (e.key === "w") {
    e.preventDefault();
    write();
  } else if (e.key === "d") details();
});
(async () => {
  try {
    const reply = await ask("/queue");
    if (!reply.ok) throw new Error(await reply.text());
    items = await reply.json();
    at = items.findIndex((i) => !i.verdict);
    if (at < 0) at = items.length;
    show();
  } catch (error) {
    say("cannot load: " + error.message, "bad");
  }
})();
