// Votes on their way: each has an id, is kept until the server has it, and is sent again when a
// connection comes back. Only ids and ranks are kept in the browser's storage, never text.

const desk = document.getElementById("desk");
const status = document.getElementById("say");
const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const QUEUE = `unsent:${meta("annotator")}`;
const RETRY_MS = 3000;

export function words(key, ...values) {
  return values.reduce((text, value, place) => text.replace(`{${place}}`, value), desk.dataset[key] || "");
}

export function say(text, kind = "") {
  status.textContent = text;
  status.className = kind;
}

export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function post(url, body) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": meta("csrf") },
    body: JSON.stringify(body),
  });
  const reply = await response.json().catch(() => ({}));
  return { ok: response.ok, status: response.status, reply };
}

const read = () => JSON.parse(localStorage.getItem(QUEUE) || "[]");
const write = (queue) => localStorage.setItem(QUEUE, JSON.stringify(queue));

function keep(url, body) {
  if (!body.edited) write([...read().filter((sent) => sent.body.vote_id !== body.vote_id), { url, body }]);
}

function forget(voteId) {
  write(read().filter((sent) => sent.body.vote_id !== voteId));
}

const pause = () =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, RETRY_MS);
    addEventListener("online", () => (clearTimeout(timer), resolve()), { once: true });
  });

// Sends until the server has answered; the reply, or null where it refused.
export async function send(url, body) {
  keep(url, body);
  const stay = (event) => event.preventDefault();
  for (;;) {
    try {
      const { ok, status: code, reply } = await post(url, body);
      if (code >= 500 || code === 429) throw new Error("busy");
      forget(body.vote_id);
      removeEventListener("beforeunload", stay);
      if (ok) return reply;
      if (code === 401) location.assign("/login");
      say(words("sayRefused", reply.error || code), "problem");
      return null;
    } catch {
      if (body.edited) addEventListener("beforeunload", stay);
      say(words(body.edited ? "sayOfflineText" : "sayOffline"), "problem");
      await pause();
    }
  }
}

// What an earlier page could not send.
export async function sendUnsent() {
  for (const { url, body } of read()) await send(url, body);
}

// Seconds that this item was in front, also over a reload.
export function stopwatch(item) {
  const key = `seconds:${item}`;
  let since = document.hidden ? 0 : performance.now();
  let before = Number(sessionStorage.getItem(key)) || 0;
  const seconds = () => Math.min(86400, before + (since ? (performance.now() - since) / 1000 : 0));
  document.addEventListener("visibilitychange", () => {
    before = seconds();
    since = document.hidden ? 0 : performance.now();
  });
  addEventListener("pagehide", () => sessionStorage.setItem(key, String(seconds())));
  return { seconds, reset: () => ((before = 0), (since = performance.now()), sessionStorage.removeItem(key)) };
}

// The three buttons that all items have; one vote is in flight at a time.
export function wireActions(collect) {
  const { item, mode } = desk.dataset;
  const watch = item ? stopwatch(item) : null;
  const buttons = ["undo", "skip", "save"].map((id) => document.getElementById(id)).filter(Boolean);
  let isBusy = false;

  async function once(url, body, then) {
    if (isBusy) return;
    isBusy = true;
    buttons.forEach((button) => button.setAttribute("aria-disabled", "true"));
    say(words("saySaving"));
    const reply = await send(url, body);
    if (reply) then(reply);
    isBusy = false;
    buttons.forEach((button) => button.removeAttribute("aria-disabled"));
  }

  function goOn(reply) {
    watch.reset();
    say(reply.n_replaced ? words("sayReplaced", reply.n_replaced) : words("saySaved"));
    setTimeout(() => location.assign(reply.next), reply.n_replaced ? 1500 : 0);
  }

  const vote = (body) => ({ vote_id: newId(), seconds: watch.seconds(), ...body });
  const on = (id, act) => document.getElementById(id)?.addEventListener("click", act);
  const save = () => {
    const body = collect();
    if (body && !isBusy) once(`/${mode}/${item}`, vote(body), goOn);
  };
  on("save", save);
  on("skip", () => once(`/${mode}/${item}`, vote({ kind: "skip" }), goOn));
  on("undo", () =>
    once(`/${mode}/undo/last`, { vote_id: newId() }, (reply) => {
      if (reply.next) location.assign(reply.next);
      else say(words("sayNothing"));
    }),
  );
  addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
  });
  sendUnsent();
}

export function wireFolding() {
  const button = document.getElementById("fold");
  const sections = document.querySelectorAll(".sections details");
  button?.addEventListener("click", () => {
    const isOpen = Array.from(sections).some((section) => section.open);
    sections.forEach((section) => (section.open = !isOpen));
    button.textContent = words(isOpen ? "unfold" : "fold");
  });
}
