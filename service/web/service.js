// The HTTP API of the service. Every function throws a Failure.

import { Failure } from "./failure.js";
import { recall, remember } from "./memory.js";

const SECONDS = 30;
// By the end of a problem's type, else by the status.
const FAILURES = {
  "feedback-quota": "quota",
  "feedback-off": "feedback-off",
  "unknown-label": "changed",
  "unknown-receipt": "gone",
  "gateway-timeout": "unreachable",
  400: "no-photo",
  401: "key",
  404: "absent",
  405: "absent",
  413: "too-large",
  415: "no-photo",
  429: "busy",
  502: "unreachable",
  503: "busy",
  504: "busy",
  507: "full",
};

/** Remember the API key until the tab is closed. */
export const setKey = (key) => remember("key", key, "sessionStorage");

/** Return what GET /v1/model says of the model. */
export const describe = () => send("v1/model");

/** Return the prediction of a photo, with its heatmap, and the milliseconds that the request took. */
export async function predict(photo) {
  const started = performance.now();
  const { predictions } = await send("v1/predict?heatmap=true", post(photo));
  return { ...predictions[0], milliseconds: performance.now() - started };
}

/** Store a photo with its correct label; returns {stored, receipt}. */
export const store = (photo, label) => send(`v1/feedback?label=${encodeURIComponent(label)}`, post(photo));

export const unstore = (receipt) => send(`v1/feedback/${encodeURIComponent(receipt)}`, { method: "DELETE" });

function post(photo) {
  const type = photo.type.startsWith("image/") ? photo.type : "image/jpeg"; // the service looks at the bytes
  return { method: "POST", body: photo, headers: { "Content-Type": type } };
}

async function send(path, options = {}) {
  const key = recall("key", "sessionStorage");
  if (/[^!-~]/.test(key ?? "")) throw new Failure("key"); // a header can't have it
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(SECONDS * 1000) });
  } catch {
    throw new Failure(navigator.onLine ? "unreachable" : "offline");
  }
  if (response.status === 204) return null;
  const isJson = response.headers.get("Content-Type")?.includes("json");
  if (response.ok && isJson) return response.json();
  if (response.ok) throw new Failure("absent");
  const problem = await response.json().catch(() => null);
  throw new Failure(FAILURES[String(problem?.type).split(":").at(-1)] ?? FAILURES[response.status] ?? "failed");
}
