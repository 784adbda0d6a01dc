// "Wrong?": shows what is sent, sends a photo with its correct label to the service, and undoes it.

import { byId } from "./dom.js";
import { Failure } from "./failure.js";
import { kilobytes, labelText, text } from "./languages.js";
import * as service from "./service.js";
import { shrink } from "./shrink.js";
import { failureOf } from "./verdict.js";

let newest = 0; // what an earlier dialog waits for must not show in a later one

/**
 * Open the dialog for a result. After a photo is sent, the result keeps its receipt, so that it can be undone later.
 * @param labels the labels that can be right
 */
export async function openReport(result, labels) {
  const mine = ++newest;
  byId("feedback").showModal();
  if (result.receipt) return showSent(result);
  byId("feedback-buttons").replaceChildren();
  showReceipt(null);
  byId("feedback-photo").hidden = true;
  say("");
  const small = await shrink(result.photo).catch(() => null);
  if (mine !== newest) return;
  if (!small) return fail(new Failure("no-photo"));
  showPhoto(small.blob);
  say(text("wrong.text", { width: small.width, height: small.height, size: kilobytes(small.blob.size) }));
  byId("feedback-buttons").replaceChildren(...labels.map((label) => sendButton(result, small.blob, label)));
}

function say(words) {
  byId("feedback-text").textContent = words;
}

function sendButton(result, photo, label) {
  const button = document.createElement("button");
  button.className = "button";
  button.textContent = text("wrong.send", { label: labelText(label) });
  button.addEventListener("click", () => attempt(async () => {
    const { receipt } = await service.store(photo, label);
    Object.assign(result, { receipt, sent: { photo, label } });
    return () => showSent(result);
  }));
  return button;
}

function showSent(result) {
  byId("feedback-buttons").replaceChildren();
  showPhoto(result.sent.photo);
  say(text(result.receipt ? "wrong.sent" : "wrong.known", { label: labelText(result.sent.label) }));
  showReceipt(result.receipt);
  byId("undo").onclick = () => attempt(async () => {
    await service.unstore(result.receipt);
    result.receipt = null;
    return () => {
      say(text("wrong.undone"));
      showReceipt(null);
    };
  });
}

/** Send a request, then show what it returns or why it failed. */
async function attempt(request) {
  const mine = newest;
  setBusy(true);
  const show = await request().catch((failure) => () => fail(failure));
  setBusy(false);
  if (mine === newest) show();
}

function showReceipt(receipt) {
  byId("receipt").hidden = byId("undo").hidden = !receipt;
  byId("receipt").querySelector("code").textContent = receipt ?? "";
}

function showPhoto(blob) {
  const image = byId("feedback-photo");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
  image.hidden = false;
}

function fail(failure) {
  const { title, detail } = failureOf(failure);
  say(`${title}. ${detail}`);
}

function setBusy(isBusy) {
  for (const button of byId("feedback").querySelectorAll("button")) button.disabled = isBusy;
}
