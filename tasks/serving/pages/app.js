// What the page does beyond a plain form: drop, paste, previews, and the answer without a reload.
"use strict";

const form = document.getElementById("ask");

// Numbers of lesions are copied without their gaps. A page without TLS has no clipboard.
function offerCopies(place) {
  if (!navigator.clipboard) return;
  for (const button of place.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
      } catch (error) {
        return; // the browser forbids it; one click on the number marks the number
      }
      button.textContent = button.dataset.copied;
      button.setAttribute("aria-live", "polite");
    });
  }
}
offerCopies(document);

if (form) {
  document.documentElement.classList.add("js");
  const texts = JSON.parse(form.dataset.texts);
  const drop = document.getElementById("drop");
  const list = document.getElementById("chosen");
  const place = document.getElementById("result");
  const send = document.getElementById("send");
  const words = send.textContent;
  const first = place.querySelector("[data-first]");
  let images = []; // {file, address} in the order of the choice
  const consent = document.getElementById("consent"); // none where no image is kept
  let asking = null; // AbortController of the question that is under way

  const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);

  // A screen reader hears a text only if it differs from the text before.
  const say = (text, isProblem = false) => {
    const status = document.getElementById("status");
    status.textContent = status.textContent === text ? `${text}\u00a0` : text;
    status.classList.toggle("problem", isProblem);
  };

  // Images -------------------------------------------------------------------------------------

  const isImage = (file) => file.type.startsWith("image/") || file.type === "application/dicom"
    || /\.(dcm|dicom|jpe?g|png|tiff?|webp|bmp|gif|jp2|avif|hei[cf])$/i.test(file.name) || !file.type;

  function add(files) {
    const fitting = [...files].filter(isImage);
    if (!fitting.length) return say(texts.not_images, true);
    const taken = fitting.slice(0, texts.most - images.length);
    images.push(...taken.map((file) => ({ file, address: URL.createObjectURL(file) })));
    show();
    const left = files.length - taken.length;
    if (fitting.length > taken.length) say(filled(texts.too_many, { most: texts.most, n: left }), true);
    else if (left) say(`${texts.not_images} (${left})`, true);
    else say(filled(texts.added, { n: images.length }));
  }

  function remove(index) {
    URL.revokeObjectURL(images[index].address);
    images.splice(index, 1);
    show();
    say(filled(texts.added, { n: images.length }));
    const buttons = list.querySelectorAll("button");
    (buttons[Math.min(index, buttons.length - 1)] || document.getElementById("choose")).focus();
  }

  function clear() {
    images.forEach((each) => URL.revokeObjectURL(each.address));
    images = [];
    show();
  }

  // Other images make the answer that stands there an answer about another lesion.
  function show() {
    asking?.abort();
    asking = null;
    busy(false);
    place.replaceChildren(...(first ? [first] : []));
    list.replaceChildren(...images.map(preview));
    list.hidden = !images.length;
    if (!images.length) consentIsOver();
    drop.classList.toggle("filled", images.length > 0);
  }

  // Who agreed did so for this lesion; the next one is another patient's.
  function consentIsOver() {
    if (consent) consent.checked = false;
  }

  function preview({ file, address }, index) {
    const item = document.createElement("li");
    const picture = document.createElement("img");
    picture.alt = filled(texts.preview, { n: index + 1, name: file.name });
    picture.draggable = false;
    picture.addEventListener("error", () => picture.replaceWith(unseen(file, picture.alt)));
    picture.src = address;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "\u00d7";
    button.setAttribute("aria-label", filled(texts.remove, { n: index + 1 }));
    button.addEventListener("click", () => remove(index));
    item.append(picture, button);
    return item;
  }

  // Browsers do not show DICOM, TIFF and some others; the server reads them.
  function unseen(file, alternative) {
    const tile = document.createElement("span");
    tile.className = "tile";
    tile.setAttribute("role", "img");
    tile.setAttribute("aria-label", alternative);
    tile.textContent = (/\.(\w{1,5})$/.exec(file.name)?.[1] || "?").toUpperCase();
    return tile;
  }

  for (const input of form.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      if (input.files.length) add(input.files);
      input.value = ""; // the same file can be chosen again
    });
  }

  document.addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    add(event.clipboardData.files);
  });

  // What misses the frame must not make the browser leave the page.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    add(event.dataTransfer.files);
  });

  // Question and answer ------------------------------------------------------------------------

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (asking) return;
    const example = event.submitter?.name === "example" ? event.submitter.value : "";
    if (example) clear(); // and with the images the consent
    if (!example && !images.length) {
      say(texts.none, true);
      document.getElementById("choose").focus();
      return;
    }
    const question = new FormData(form);
    question.delete("images");
    if (example) question.set("example", example);
    else images.forEach(({ file }) => question.append("images", file, file.name || "image"));
    ask(question);
  });

  async function ask(question) {
    const own = new AbortController();
    asking = own;
    busy(true);
    say(texts.busy);
    try {
      const response = await fetch(form.dataset.answer, {
        method: "POST", body: question, signal: own.signal, credentials: "same-origin",
      });
      const answer = fragment(await response.text());
      if (own.signal.aborted) return;
      put(answer || failed(texts.unreachable, filled(texts.unexpected, { status: response.status })));
    } catch (error) {
      if (own.signal.aborted) return;
      put(failed(texts.unreachable, texts.unreachable_do));
    }
  }

  const fragment = (text) =>
    new DOMParser().parseFromString(text, "text/html").querySelector("[data-fragment]");

  function failed(heading, text) {
    const answer = document.createElement("div");
    answer.dataset.fragment = "failure";
    answer.className = "call unsure";
    const title = document.createElement("h2");
    title.dataset.focus = "";
    title.tabIndex = -1;
    title.textContent = heading;
    const told = document.createElement("p");
    told.textContent = text;
    answer.append(title, told);
    return answer;
  }

  // What stands above the answer takes its last size before the page scrolls to the answer.
  function put(answer) {
    asking = null;
    busy(false);
    const isAnswer = answer.dataset.fragment === "answer";
    say(isAnswer ? texts.ready : texts.failed, !isAnswer);
    place.replaceChildren(answer);
    if (isAnswer) consentIsOver();
    offerCopies(place);
    const heading = place.querySelector("[data-focus]");
    heading.focus({ preventScroll: true });
    const { top } = heading.getBoundingClientRect();
    if (top < 0 || top > innerHeight / 2) place.scrollIntoView();
  }

  function busy(is) {
    form.classList.toggle("busy", is);
    place.setAttribute("aria-busy", String(is));
    send.setAttribute("aria-disabled", String(is));
    send.textContent = is ? send.dataset.busy : words;
  }
}
