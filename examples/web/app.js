import { WorkerTranslator } from "./siskin/index.js";

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));

let translator = null;
let opening = 0;
let ownFile = null;
let running = false;
let changed = false;

function say(text, error = false) {
  page.status.textContent = text;
  page.status.classList.toggle("error", error);
}

/** Opens a model, a URL or a file, in place of the one before. */
async function open(model, name) {
  const turn = ++opening;
  translator?.close();
  translator = null;
  say(`Opening ${name} …`);
  try {
    const opened = await WorkerTranslator.open(model);
    if (turn !== opening) return opened.close();
    translator = opened;
  } catch (error) {
    if (turn === opening) say(`${name}: ${error.message}`, true);
    return;
  }
  const { card, instructionSet } = translator;
  const [from = "", to = ""] = (card.languages ?? "").split(" ");
  page.source.lang = from;
  page.target.lang = to || from;
  page.kernels.textContent = instructionSet;
  page.description.textContent = [card.description, card.attribution, card.licence].filter(Boolean).join(" · ");
  say(`${name} is ready.`);
  translate();
}

/** Translates what is typed; what is typed meanwhile is translated afterwards. */
async function translate() {
  changed = true;
  if (running) return;
  running = true;
  while (changed && translator) {
    changed = false;
    await translateOnce(translator);
  }
  running = false;
}

async function translateOnce(by) {
  const beam = Number(page.beam.value);
  const unit = by.card.task === "translation" ? "sentence" : undefined;
  let text = "";
  page.target.ariaBusy = "true";
  try {
    const onText = (part) => {
      text += part;
      page.target.textContent = text;
    };
    const translation = await by.translate(page.source.value, { beam, alternatives: beam, unit, onText });
    show(translation);
    if (page.status.classList.contains("error")) say("");
  } catch (error) {
    if (by === translator) say(error.message, true);
  }
  page.target.ariaBusy = "false";
}

function show({ text, tokens, alternatives, milliseconds, memory }) {
  page.target.textContent = text;
  const others = alternatives.slice(1).map((alternative) => {
    const item = document.createElement("li");
    item.textContent = alternative.text;
    item.lang = page.target.lang;
    return item;
  });
  page.alternatives.replaceChildren(...others);
  page.others.hidden = others.length === 0;
  page.memory.textContent = `${(memory / 1e6).toFixed(1)} MB`;
  page.time.textContent = tokens.length ? `${milliseconds.toFixed(1)} ms` : "–";
  page.speed.textContent = tokens.length ? `${Math.round(tokens.length / milliseconds * 1000)} tokens/s` : "–";
}

function openChosen() {
  const [choice] = page.models.selectedOptions;
  open(choice === page.own ? ownFile : `models/${choice.value}.siskin`, choice.textContent);
}

function openFile(file) {
  if (!file) return;
  ownFile = file;
  page.own.textContent = file.name;
  page.own.hidden = false;
  page.own.selected = true;
  openChosen();
}

page.controls.addEventListener("submit", (event) => event.preventDefault());
page.models.addEventListener("change", openChosen);
page.beam.addEventListener("change", translate);
page.source.addEventListener("input", translate);
page.file.addEventListener("change", () => openFile(page.file.files[0]));

for (const [event, dropping] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(event, (dragged) => {
    dragged.preventDefault();
    document.body.classList.toggle("dropping", dropping);
  });
}
document.addEventListener("drop", (event) => openFile(event.dataTransfer.files[0]));

openChosen();

try {
  await navigator.serviceWorker.register("service-worker.js");
  await navigator.serviceWorker.ready;
  page.offline.textContent = "Ready to work offline.";
} catch {
  page.offline.textContent = "This browser cannot keep the page for offline use: that takes HTTPS, and no private window.";
}
