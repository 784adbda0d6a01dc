// Chooses who answers a photo: the model on this phone, or the service.

import * as device from "./device.js";
import { Failure } from "./failure.js";
import { recall, remember } from "./memory.js";
import * as service from "./service.js";
import { shrink } from "./shrink.js";

const FAST = 300; // milliseconds of one inference, up to which the phone answers
const AWAY = ["offline", "unreachable", "absent"]; // the service does not answer; the phone can

/**
 * where: automatic, phone or service; what the person chose.
 * phone: none, waiting, loading, ready, failed or inexact (the browser changes the pixels of a canvas).
 * service: false if this page has no service behind it.
 * model: what web/model.json says of the phone's model; described: what the service says of its own; null if not known.
 * loaded, total: bytes of the model.
 */
export const state = {
  where: recall("where") ?? "automatic",
  phone: "none",
  service: true,
  model: null,
  described: null,
  loaded: 0,
  total: 0,
};

let changed = () => {};
let known = Promise.resolve(); // until it is known whether there is a model
let ready; // a promise that the model waits for

/**
 * Find out who can answer, and load the model where that was chosen.
 * @param listener called after every change of `state`
 */
export async function startClassifier(listener, before) {
  changed = listener;
  ready = before;
  known = describeDevice();
  await Promise.all([describeService(), known]);
  const isWanted = state.where === "phone" || (state.where === "automatic" && !navigator.connection?.saveData);
  if (state.phone === "waiting" && isWanted) loadModel().catch(() => {});
}

/** Ask the service for its model again, for example with another key. */
export async function describeService() {
  try {
    state.described = await service.describe();
    state.service = true;
  } catch (failure) {
    if (failure.kind === "absent") state.service = false;
  }
  changed();
}

export function choose(where) {
  remember("where", where);
  state.where = where;
  changed();
  if (where !== "service" && ["waiting", "failed"].includes(state.phone)) loadModel().catch(() => {});
}

/** Return who answers the next photo: phone or service. */
export function place() {
  if (state.where !== "automatic") return state.where;
  if (!state.service && state.phone !== "none" && state.phone !== "inexact") return "phone";
  return state.phone === "ready" && device.speed.milliseconds < FAST ? "phone" : "service";
}

/**
 * Return {prediction, source} of a photo; source is phone or service. Throws a Failure.
 * @param isSmall whether the photo is already as small as it should be sent
 */
export async function classify(photo, isSmall = false) {
  if (state.where !== "service") await known;
  const other = state.where === "automatic";
  if (place() === "phone") {
    try {
      return await byPhone(photo);
    } catch (failure) {
      if (!other || !state.service) throw failure;
      return byService(photo, isSmall);
    }
  }
  try {
    return await byService(photo, isSmall);
  } catch (failure) {
    const canAnswer = other && !["none", "inexact"].includes(state.phone);
    if (!AWAY.includes(failure.kind) || !canAnswer) throw failure;
    return byPhone(photo).catch((second) => { throw second.kind === "model" ? failure : second; });
  }
}

async function byPhone(photo) {
  if (state.phone === "none") throw new Failure("no-model");
  await loadModel();
  return { prediction: await device.predict(photo), source: "phone" };
}

async function byService(photo, isSmall) {
  const sent = isSmall ? photo : await shrink(photo).then(({ blob }) => blob, () => photo); // the service may know its format
  return { prediction: await service.predict(sent), source: "service" };
}

async function describeDevice() {
  state.model = await device.describe();
  if (state.model) state.phone = "waiting";
  changed();
}

async function loadModel() {
  if (state.phone === "ready") return;
  state.phone = "loading";
  changed();
  try {
    await ready;
    await device.load((loaded, total) => {
      Object.assign(state, { loaded, total });
      changed();
    });
    state.phone = "ready";
  } catch (failure) {
    state.phone = failure.kind === "canvas-not-exact" ? "inexact" : "failed";
    // A photo that was meant to stay here is not sent: the person sees the new choice first.
    if (state.phone === "inexact" && state.where === "phone") state.where = "service";
    throw failure;
  } finally {
    changed();
  }
}
