// What a prediction, or a failure, is in words.

import { labelText, percent, text } from "./languages.js";

const MOST = 0.99; // the calibration does not support a higher probability

/**
 * Return {kind, title, detail, unfamiliar} of a prediction; kind is yes, no or unsure.
 * An unfamiliar photo gets no probability: it was calibrated on photos that are like those of training.
 */
export function verdictOf(prediction) {
  const isPositive = prediction[prediction.label] === true;
  const unfamiliar = Boolean(prediction.unfamiliar);
  if (prediction.uncertain) {
    const share = percent(isPositive ? prediction.probability : 1 - prediction.probability);
    const detail = unfamiliar ? "" : text("unsure.detail", { label: labelText(prediction.label), percent: share });
    return { kind: "unsure", title: text("unsure"), detail, unfamiliar };
  }
  const chance = Math.min(MOST, isPositive ? prediction.probability : 1 - prediction.probability);
  return {
    kind: isPositive ? "yes" : "no",
    title: labelText(prediction.label),
    detail: unfamiliar ? text("unfamiliar.detail") : text("sure", { percent: percent(chance) }),
    unfamiliar,
  };
}

/** Return {kind, title, detail} of a Failure. */
export function failureOf(failure, name) {
  return {
    kind: "error",
    title: text(`error.${failure.kind}`),
    detail: text(`error.${failure.kind}.detail`, { name: name || text("preview") }),
    unfamiliar: false,
  };
}
