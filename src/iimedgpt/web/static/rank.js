// Ranking by radio buttons, by keys, or by dragging letters: three ways to the same radios.

import { say, wireActions, wireFolding, words } from "./sending.js";

const desk = document.getElementById("desk");
const answers = Array.from(document.querySelectorAll(".answer"));
const lanes = Array.from(document.querySelectorAll(".lane"));
const letters = answers.map((answer) => answer.dataset.letter);
const DRAFT = `draft:${document.querySelector('meta[name="annotator"]').content}:${desk.dataset.item}`;
const MARK_KEYS = { u: "unsafe", s: "unsupported", w: "wrong" };

const radios = (letter) => Array.from(document.querySelectorAll(`input[name="rank-${letter}"]`));
const marks = (letter) => Array.from(document.querySelectorAll(`input[name="mark-${letter}"]`));
const rankOf = (letter) => Number(radios(letter).find((radio) => radio.checked)?.value) || 0;
const marksOf = (letter) => marks(letter).filter((mark) => mark.checked).map((mark) => mark.value);

function setRank(letter, rank) {
  radios(letter).forEach((radio) => (radio.checked = Number(radio.value) === rank));
  changed(letter);
}

function changed(letter) {
  draw();
  keepDraft();
  const rank = rankOf(letter);
  if (!rank) return;
  const tied = letters.filter((other) => other !== letter && rankOf(other) === rank);
  say(words("sayRank", letter, rank) + (tied.length ? ", " + words("sayTie", tied.join(", ")) : ""), "quietly");
}

// The board shows what the radios say.
function draw() {
  document.querySelectorAll(".chip").forEach((chip) => chip.remove());
  for (const letter of letters) {
    const lane = lanes.find((one) => Number(one.dataset.rank) === rankOf(letter));
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.dataset.drag = letter;
    chip.textContent = letter;
    lane.append(chip);
  }
  answers.forEach((answer) => answer.classList.toggle("ranked", rankOf(answer.dataset.letter) > 0));
}

// Letters and numbers only: text of a record stays out of the browser's storage.
function keepDraft() {
  const draft = letters.map((letter) => [letter, rankOf(letter), marksOf(letter)]);
  localStorage.setItem(DRAFT, JSON.stringify(draft));
}

function restoreDraft() {
  for (const [letter, rank, marked] of JSON.parse(localStorage.getItem(DRAFT) || "[]")) {
    radios(letter).forEach((radio) => (radio.checked = Number(radio.value) === rank));
    marks(letter).forEach((mark) => (mark.checked = marked.includes(mark.value)));
  }
}

function wireDragging() {
  let drag = null;
  const laneAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest(".lane");
  addEventListener("pointerdown", (event) => {
    const source = event.target.closest?.("[data-drag]");
    if (!source || event.button) return;
    const ghost = document.createElement("span");
    ghost.className = "chip ghost";
    ghost.textContent = source.dataset.drag;
    drag = { letter: source.dataset.drag, ghost, hasMoved: false };
    event.preventDefault();
  });
  addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (!drag.hasMoved) document.body.append(drag.ghost);
    drag.hasMoved = true;
    drag.ghost.style.left = `${event.clientX}px`;
    drag.ghost.style.top = `${event.clientY}px`;
    const over = laneAt(event);
    lanes.forEach((lane) => lane.classList.toggle("over", lane === over));
  });
  const drop = (event) => {
    if (!drag) return;
    drag.ghost.remove();
    const lane = event.type === "pointerup" && drag.hasMoved ? laneAt(event) : null;
    if (lane) setRank(drag.letter, Number(lane.dataset.rank));
    lanes.forEach((one) => one.classList.remove("over"));
    drag = null;
  };
  addEventListener("pointerup", drop);
  addEventListener("pointercancel", drop);
}

// Single keys act only while an answer has the focus.
function wireKeys(answer, place) {
  answer.addEventListener("keydown", (event) => {
    if (event.target.tagName === "TEXTAREA" || event.ctrlKey || event.metaKey || event.altKey) return;
    const { letter } = answer.dataset;
    const key = event.key.toLowerCase();
    const isOnCard = event.target === answer;
    if (/^[1-6]$/.test(key) && Number(key) <= letters.length) setRank(letter, Number(key));
    else if (MARK_KEYS[key]) marks(letter).find((mark) => mark.value === MARK_KEYS[key]).click();
    else if (key === "e") answer.querySelector(".edit").click();
    else if (isOnCard && key === "arrowdown") answers[place + 1]?.focus();
    else if (isOnCard && key === "arrowup") answers[place - 1]?.focus();
    else return;
    event.preventDefault();
  });
}

function openEditor(answer) {
  answers.filter((other) => other !== answer).forEach(closeEditor); // one ideal answer an item
  const area = answer.querySelector("textarea");
  area.value = area.value || answer.querySelector(".text").textContent;
  answer.querySelector(".edited").hidden = false;
  answer.querySelector(".edit").setAttribute("aria-expanded", "true");
  area.focus();
}

function closeEditor(answer) {
  answer.querySelector("textarea").value = "";
  answer.querySelector(".edited").hidden = true;
  answer.querySelector(".edit").setAttribute("aria-expanded", "false");
}

function wireEditor(answer) {
  answer.querySelector(".edit").addEventListener("click", () => openEditor(answer));
  answer.querySelector(".drop").addEventListener("click", () => (closeEditor(answer), answer.focus()));
}

function collect() {
  const missing = letters.filter((letter) => !rankOf(letter));
  if (missing.length) {
    say(words("sayMissing", missing.join(", ")), "problem");
    answers[letters.indexOf(missing[0])].focus();
    return null;
  }
  const body = { kind: "rank", ranks: {}, marks: {} };
  for (const letter of letters) {
    body.ranks[letter] = rankOf(letter);
    if (marksOf(letter).length) body.marks[letter] = marksOf(letter);
  }
  const edited = answers.find((answer) => answer.querySelector("textarea").value.trim());
  if (edited) body.edited = { letter: edited.dataset.letter, text: edited.querySelector("textarea").value };
  return body;
}

restoreDraft();
draw();
wireDragging();
wireFolding();
answers.forEach((answer, place) => (wireKeys(answer, place), wireEditor(answer)));
answers.forEach((answer) => answer.addEventListener("change", () => changed(answer.dataset.letter)));
wireActions(collect);
